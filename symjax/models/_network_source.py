"""Base class of the networks that a run measures."""

from typing import Any

from symjax.models import io


class NetworkSource:
    """A symjax model, with the name and the digest that a run records."""

    note = ""

    def __init__(self, model: Any):
        self.model = model

    @property
    def name(self) -> str:
        """Name of the model."""
        return str(self.model.name)

    @property
    def digest(self) -> str:
        """SHA-256 digest of the configuration and parameters."""
        return io.fingerprint(self.model)
