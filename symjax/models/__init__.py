"""Models that symjax can measure layer by layer: loading and saving."""

from symjax.models.io import fingerprint, save_model, shipped_models
from symjax.models.loading import load_model

__all__ = ["fingerprint", "load_model", "save_model", "shipped_models"]
