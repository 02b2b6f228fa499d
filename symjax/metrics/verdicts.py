"""How far results can be trusted, and whether laws hold: verdicts as records."""

import dataclasses

CONFIDENCE = 0.95
"""With which a verdict excludes that a part of the orbit was missed."""
# Deviations from a law below this many times their own error are none.
_OF_A_LAW = 5.0


@dataclasses.dataclass(frozen=True)
class Convergence:
    """How far a result can be trusted as an integral over the group.

    Attributes:
      resolved: Whether the grid resolves the response.
      content_change: Largest change of B between the grid and the coarser grid
        nested in it, over the degrees that the coarser grid should resolve.
      error_change: Relative change of A between the two grids.
      remainder: Content above the largest projected degree.
      degree_to_try: A grid degree expected to resolve the response; the present
        degree where it is resolved.
      reason: Why it is not resolved; empty where it is.
      excess: Misfit of the projected sectors at random elements off the grid, beyond
        the remainder, as a fraction of the norm.
      error_uncertainty: Relative uncertainty of A: half of the share in V of what the
        projected sectors miss at these elements. 0 where A is round-off.
      excluded: No part of the orbit larger than this was missed, with 95 % confidence:
        random elements would have met it. What happens in a smaller part, such as a
        jump at a neighbor cap, a resolved result does not exclude.

    Example:
      >>> from symjax.metrics import Convergence
      >>> verdict = Convergence(False, 0.3, 0.1, 0.2, 11, "content changes by 0.3")
      >>> verdict.degree_to_try
      11
    """

    resolved: bool
    content_change: float
    error_change: float
    remainder: float
    degree_to_try: int
    reason: str = ""
    excess: float = 0.0
    error_uncertainty: float = 0.0
    excluded: float = 1.0


@dataclasses.dataclass(frozen=True)
class RandomCheck:
    """What Haar-random elements off the grid say about a result on the grid.

    Attributes:
      num: Number of random rotations, each paired with -R.
      misfit: Mean squared difference between the response and its projected sectors,
        as a fraction of the norm: the content that these miss.
      misfit_error: Its standard error.
      excess: Misfit beyond what the rule itself misses: content folded back.
      excess_error: Its standard error.
      overlap: Twice the mean inner product of the projected sectors with what they
        miss, as a fraction of the norm: 0 unless folded content interferes.
      overlap_error: Its standard error.
      spread: Mean of ||z - mean||^2 over V, minus 1.
      spread_error: Its standard error.
      round_off: Machine epsilon of the responses; or a tenth of the relative change
        of responses between orientations that differ by a few epsilon, where that was
        looked at and is more.

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.metrics import measure
      >>> from symjax.so3 import FEATURE
      >>> f = lambda x: x[0] + 0.1 * x[1] ** 4
      >>> leaf = measure(f, jnp.eye(3), representations=FEATURE, max_degree=3)["output"]
      >>> leaf.check.misfit > 1e-6, abs(leaf.check.excess) < 1e-3
      (True, True)
    """

    num: int
    misfit: float
    misfit_error: float
    excess: float
    excess_error: float
    overlap: float
    overlap_error: float
    spread: float
    spread_error: float
    round_off: float


def excluded_part(num: int) -> float:
    """Largest part of an orbit that all of some random elements can have missed.

    N independent elements miss a part p with the probability (1 - p)^N, so that with
    the confidence C of a verdict p = 1 - (1 - C)^(1 / N).

    Example:
      >>> from symjax.metrics.verdicts import excluded_part
      >>> round(excluded_part(600), 4)
      0.005
    """
    return 1 - (1 - CONFIDENCE) ** (1 / num)


@dataclasses.dataclass(frozen=True)
class Certificate:
    """How accurate a measurement of one output is, and how that is known.

    Of a climb through rules see :mod:`symjax.metrics.adaptive` for the checks behind
    it. The uncertainties are estimates, not bounds: the actual error can exceed them,
    most where it is far below the tolerances. What a certificate claims is that it is
    within the tolerances. Of random elements they are two standard errors.

    Attributes:
      certified: Whether both uncertainties are within the tolerances that were asked
        for and no check contradicts them.
      degree: Degree of the last rule; 0 for random elements.
      projected_degree: Largest degree that was projected; B of sectors above is
        reported as 0.
      content_uncertainty: Estimated error of each B, of unprojected sectors too.
      error_uncertainty: Estimated relative error of A.
      tail: Content above the projected degrees, from random elements, with two
        standard errors added.
      reason: Why it is not certified; empty where it is.
      degree_to_try: The next degree, or number of random rotations; the present one
        where it is certified.
      excluded: No part of the orbit larger than this was missed, with the confidence
        below: random elements would have met it. What happens in a smaller part, such
        as a jump at a neighbor cap, no certificate excludes.
      confidence: Of that statement.
      noise: Where A is not told from the round-off of the function, the relative error
        below which it is not; else 0.
      samples: Number of random rotations, each paired with -R, where there
        was no rule; else 0.

    Example:
      >>> from symjax.metrics import Certificate
      >>> Certificate(True, 11, 5, 2e-4, 3e-3, 1e-4).certified
      True
    """

    certified: bool
    degree: int
    projected_degree: int
    content_uncertainty: float
    error_uncertainty: float
    tail: float
    reason: str = ""
    degree_to_try: int = 0
    excluded: float = 1.0
    confidence: float = 0.0
    noise: float = 0.0
    samples: int = 0


@dataclasses.dataclass(frozen=True)
class PhysicalCheck:
    """One law, and how far a calculator is from it on a structure.

    Attributes:
      law: What was done, for instance ``"moved by 0.1 angstrom"``.
      quantity: What should not have changed, or should agree.
      deviation: Root mean square of the difference, in ``unit``.
      error: What round-off and finite steps make of it; a deviation below five times
        this is none.
      scale: Root mean square of the quantity itself, in ``unit``; NaN for an energy,
        whose zero has no meaning.
      unit: Unit of the three.

    Example:
      >>> from symjax.metrics.verdicts import PhysicalCheck
      >>> PhysicalCheck("moved", "forces", 1e-7, 1e-6, 0.5, "eV/angstrom").holds
      True
    """

    law: str
    quantity: str
    deviation: float
    error: float
    scale: float
    unit: str

    @property
    def holds(self) -> bool:
        """Whether the deviation is within its error."""
        return bool(self.deviation <= _OF_A_LAW * self.error)
