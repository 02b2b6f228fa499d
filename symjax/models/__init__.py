"""Models that symjax measures layer by layer, and their files."""

from symjax.models.io import fingerprint, load_model, save_model, shipped_models

__all__ = ["fingerprint", "load_model", "save_model", "shipped_models"]
