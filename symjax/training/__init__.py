"""Training: augmentation, losses and the scripts that made the shipped models."""
