"""The smallest built-in symmetry that would help, in words."""

from collections.abc import Sequence

from symjax.so3.irreps import Irrep


def irrep_remedy(irrep: Irrep) -> str:
    """What brings an irrep into features that lack it.

    Args:
      irrep: The irrep that lacks.

    Returns:
      An imperative without a final full stop.

    Example:
      >>> from symjax.diagnose.remedies import irrep_remedy
      >>> from symjax.so3 import Irrep
      >>> irrep_remedy(Irrep(2, 1))
      'Embed the directions of edges in real spherical harmonics through degree 2'
    """
    if irrep == Irrep(0, 1):
        return "Add invariant channels, such as distances and angles between edges"
    if irrep == Irrep(0, -1):
        return "Add a pseudoscalar channel, such as triple products of edge vectors"
    if irrep.sigma == -1:
        return (
            "Add channels of pseudotensors, such as cross products of edge vectors, "
            f"and couple them through degree {irrep.degree}; or read the output with "
            "an equivariant readout"
        )
    if irrep.degree == 1:
        return "Embed the directions of edges, or read the output as a sum over edges"
    return (
        "Embed the directions of edges in real spherical harmonics through degree "
        f"{irrep.degree}"
    )


def missing_note(reasons: Sequence[str]) -> str:
    """Reasons why something was not looked at, as the end of a note.

    Args:
      reasons: The reasons; repeated ones are told once.

    Returns:
      Empty where there is none.

    Example:
      >>> from symjax.diagnose.remedies import missing_note
      >>> missing_note(["forces is a derivative of the energy"])
      '; not looked at: forces is a derivative of the energy'
    """
    told = "; ".join(dict.fromkeys(reasons))
    return f"; not looked at: {told}" if told else ""
