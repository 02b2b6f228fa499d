"""The smallest built-in symmetry that would help, in words."""

from collections.abc import Sequence

from symjax.so3.irreps import Irrep


def irrep_remedy(irrep: Irrep) -> str:
    """What brings an irrep into an output whose features lack it.

    The same as :func:`~symjax.diagnose.recommend` puts into a configuration.
    """
    if irrep == Irrep(0, 1):
        return "Add invariant channels, such as distances and angles between edges"
    return (
        "Read the output with an equivariant readout beside its own, which makes "
        f'{irrep} of the directions of edges (readout = "sum" in [model.biases])'
    )


def missing_note(reasons: Sequence[str]) -> str:
    """Reasons why something was not looked at, each once, as the end of a note."""
    told = "; ".join(dict.fromkeys(reasons))
    return f"; not looked at: {told}" if told else ""
