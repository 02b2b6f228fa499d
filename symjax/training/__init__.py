"""Fitting models, with and without augmentation by elements of O(3)."""

from symjax.training.augmentation import random_elements
from symjax.training.fit import Samples, Settings, State, fit, stack_samples

__all__ = ["Samples", "Settings", "State", "fit", "random_elements", "stack_samples"]
