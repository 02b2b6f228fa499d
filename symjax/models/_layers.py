"""Selection of layers by name patterns, shared by all models."""

import re
from collections.abc import Sequence

from symjax._patterns import matching
from symjax.errors import ModelError


def match_layers(layers: str | Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """Names of the layers whose full name matches a pattern, in the order of ``known``.

    Args:
      layers: Names or regular expressions, as a sequence or separated by commas.
      known: Names of all layers.

    Returns:
      The names that match at least one pattern.

    Raises:
      ModelError: A pattern matches no layer, or is not a regular expression.
    """
    patterns = layers.split(",") if isinstance(layers, str) else list(layers)
    chosen: set[str] = set()
    for pattern in (pattern.strip() for pattern in patterns):
        try:
            matches = set(matching(pattern, known))
        except re.error as error:
            raise ModelError(
                "layers", pattern, f"is not a regular expression: {error}", "Escape it"
            ) from error
        if not matches:
            raise ModelError(
                "layers",
                pattern,
                "matches no layer of the model",
                f"Use 'all', 'none', or patterns of these names: {', '.join(known)}",
            )
        chosen |= matches
    return tuple(name for name in known if name in chosen)
