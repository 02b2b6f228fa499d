"""Verdicts on results: convergence, certificates, and checks of physical laws."""

import dataclasses

CONFIDENCE = 0.95
"""Confidence of the statement that no larger part of the orbit was missed."""
# A law holds if the deviation is at most this many times its error.
_OF_A_LAW = 5.0


@dataclasses.dataclass(frozen=True)
class Convergence:
    """Whether a result has converged as an integral over the group.

    For random elements, ``content_change``, ``error_change`` and ``error_uncertainty``
    are two standard errors, and ``degree_to_try`` is a number of rotations.

    Attributes:
      resolved: Whether the grid resolves the response.
      content_change: Largest change of B between the grid and the coarser grid
        nested in it, over the degrees that the coarser grid should resolve.
      error_change: Relative change of A between the two grids.
      remainder: Content above the largest projected degree.
      degree_to_try: A grid degree expected to resolve the response; the present
        degree if it is resolved.
      reason: Why the response is not resolved; empty if it is.
      excess: Misfit of the projected sectors at random elements off the grid, beyond
        the remainder, as a fraction of the norm.
      error_uncertainty: Relative uncertainty of A: half of the ratio to V of what the
        projected sectors miss at these elements. 0 if A is round-off.
      excluded: With 95 % confidence, no part of the orbit larger than this fraction was
        missed, because random elements would have met it. A resolved result does not
        exclude features in a smaller part, such as a jump at a neighbor cap.

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
    """Comparison of a result on a grid with Haar-random elements off the grid.

    Attributes:
      num: Number of random rotations R, each paired with -R.
      misfit: Mean squared difference between the response and its projected sectors,
        as a fraction of the norm: the content that these miss.
      misfit_error: Its standard error.
      excess: Misfit beyond what the rule itself misses: aliased content.
      excess_error: Its standard error.
      overlap: Twice the mean inner product of the projected sectors with what they
        miss, as a fraction of the norm: 0 unless aliased content interferes.
      overlap_error: Its standard error.
      spread: Mean of ||z - mean||^2 over V, minus 1.
      spread_error: Its standard error.
      round_off: Machine epsilon of the responses. For an adaptive measurement, a tenth
        of the relative change of responses between orientations that differ by a few
        epsilon, if that is larger.

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
    """Largest fraction of an orbit that random elements can all have missed.

    N independent elements miss a fraction p with probability (1 - p)^N. With confidence
    C, larger fractions than p = 1 - (1 - C)^(1 / N) are excluded.

    Example:
      >>> from symjax.metrics.verdicts import excluded_part
      >>> round(excluded_part(600), 4)
      0.005
    """
    return 1 - (1 - CONFIDENCE) ** (1 / num)


@dataclasses.dataclass(frozen=True)
class Certificate:
    """The certified accuracy of the measurement of one output.

    For adaptive rules, the checks behind it are described in
    :mod:`symjax.metrics.adaptive`. The uncertainties are estimates, not bounds: the
    actual error can exceed them, in particular if it is far below the tolerances. A
    certificate only claims that the error is within the tolerances. For random
    elements, the uncertainties are two standard errors.

    Attributes:
      certified: Whether both uncertainties are within the requested tolerances and no
        check contradicts them.
      degree: Degree of the last rule; 0 for random elements.
      projected_degree: Largest projected degree; B of higher sectors is reported as 0.
      content_uncertainty: Estimated error of each B, including unprojected sectors.
      error_uncertainty: Estimated relative error of A.
      tail: Content above the projected degrees, from random elements, plus two standard
        errors.
      reason: Why the result is not certified; empty if it is.
      degree_to_try: The next degree, or number of random rotations, to try; the present
        one if the result is certified.
      excluded: No part of the orbit larger than this fraction was missed, with the
        confidence below, because random elements would have met it. Features in a
        smaller part, such as a jump at a neighbor cap, are not excluded.
      confidence: Confidence of that statement.
      noise: If A cannot be distinguished from the round-off of the function, the
        relative error below which this is so; otherwise 0.
      samples: Number of random rotations R, each paired with -R, if there was no rule;
        otherwise 0.

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
    """A physical law, and the deviation of a calculator from it on a structure.

    Attributes:
      law: The test, for instance ``"moved by 0.1 angstrom"``.
      quantity: The quantity that should not change, or should agree.
      deviation: Root mean square of the difference, in ``unit``.
      error: Estimated contribution of round-off and finite steps to the deviation, in
        ``unit``.
      scale: Root mean square of the quantity itself, in ``unit``; NaN for an energy,
        whose zero is arbitrary.
      unit: Unit of deviation, error and scale.

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
        """Whether the deviation is at most five times its error."""
        return bool(self.deviation <= _OF_A_LAW * self.error)
