"""Bridges to other packages; none of them is imported before it is needed."""

from symjax.interop.metatrain import load_metatrain

__all__ = ["load_metatrain"]
