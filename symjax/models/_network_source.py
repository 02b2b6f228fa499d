"""What networks have in common as a run uses them."""

from typing import Any

from symjax.models import io


class NetworkSource:
    """A network of symjax with its name, and the digest of what it computes."""

    note = ""

    def __init__(self, model: Any):
        self.model = model

    @property
    def name(self) -> str:
        """The name of the model."""
        return str(self.model.name)

    @property
    def digest(self) -> str:
        """Of its configuration and parameters."""
        return io.fingerprint(self.model)
