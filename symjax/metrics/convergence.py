"""Whether a grid resolves a response, and which degree to try if it does not.

A rule of degree d integrates products of sectors l, l' exactly if l + l' <= d.
Content at l' > d - l is aliased onto the coefficients of degree l. Five signs reveal
this. A response that is band-limited within L <= d / 2 shows none of them, so an exact
result is never refused:

1. the nominal variance is negative beyond round-off (Lebedev rules of some degrees
   have negative weights), or the sectors sum to more than the norm;
2. B of a degree l <= d' - L changes between the grid and a coarser rule of degree
   d' on a subset of its nodes: that rule is exact there for content through L;
3. at random elements off the grid, the response differs from what its projected
   sectors predict by more than the content that is missing from them: aliased content
   fits the response at the nodes of the grid only;
4. most of the content lies above L, according to the grid or the random elements, so
   that even the norm is not exact;
5. according to the random elements, the content above L is not a small part of V: the
   rule is not exact for the squares of that content, which enter A (if d > 2 L + 1 it
   is exact for some of them; then V itself must differ from that of the random
   elements).
"""

import math
from typing import NamedTuple

import numpy as np

from symjax.errors import AliasingError
from symjax.metrics.verdicts import Convergence

# A misfit at random elements is significant beyond this many standard errors.
_SIGNIFICANCE = 3.0
# A remainder above this makes the norm, the denominator of every B, uncertain if the
# grid is no finer than the projected degrees need.
_LARGE_REMAINDER = 0.5


def degree_to_try(content: np.ndarray, degree: int, tolerance: float) -> int:
    """Grid degree expected to resolve a response, from the decay of its content.

    ``content`` is B summed over sigma. It is extrapolated geometrically from the last
    projected degrees until the tail is below the tolerance. The result is at most twice
    ``degree``, which is also the answer for a spectrum that does not decay.
    """
    limit = 2 * degree
    ratio = tail_ratio(content)
    if ratio is None:
        return limit
    band = band_limit(content, ratio, tolerance)
    return int(min(max(2 * band + 1, degree + 2), limit))


def tail_ratio(content: np.ndarray) -> float | None:
    """Ratio of the content of successive degrees; None if it does not decay.

    The geometric mean over the last three degrees.
    """
    tail = np.maximum(content[-3:], 1e-300)
    if len(tail) < 2:
        return None
    ratio = float((tail[-1] / tail[0]) ** (1 / (len(tail) - 1)))
    return ratio if 0 < ratio < 1 else None


def band_limit(content: np.ndarray, ratio: float, tolerance: float) -> int:
    """Degree above which geometrically decaying content sums to less than tolerance."""
    last = max(float(content[-1]), 1e-300)
    # tail beyond l: B_L ratio^(l - L) ratio / (1 - ratio); the product B_L ratio may
    # be too small for a number
    allowed = math.log(tolerance * (1 - ratio)) - math.log(last)
    steps = allowed / math.log(ratio) - 1
    return len(content) - 1 + max(0, math.ceil(steps))


class Evidence(NamedTuple):
    """Results for one output from a grid, its nested rule, and random elements.

    Attributes:
      content: B of the grid, ``(degrees, 2)``.
      coarse_content: B of the nested rule, for the degrees that can be compared.
      error: sqrt(V) of the grid.
      coarse_error: sqrt(V) of the nested rule.
      variance: V of the grid, not clamped.
      noise: Bound on its round-off.
      excess: Squared misfit at random elements, less the content above the largest
        degree, as a fraction of the norm.
      excess_error: Its standard error.
      error_uncertainty: Relative uncertainty of A from the content above the largest
        degree; 0 where A is round-off.
      degree: Degree of the grid.
    """

    content: np.ndarray
    coarse_content: np.ndarray
    error: float
    coarse_error: float
    variance: float
    noise: float
    excess: float
    excess_error: float
    error_uncertainty: float
    degree: int


def judge(evidence: Evidence, tolerance: float) -> Convergence:
    """Verdict on one output: not resolved if any of the five signs is seen.

    ``tolerance`` is the largest acceptable change of B.
    """
    content, coarse = evidence.content, evidence.coarse_content
    excess, degree = evidence.excess, evidence.degree
    total = float(content.sum())
    remainder = 1.0 - total if total > 0 else 0.0
    # A few random elements show that something is wrong before they show how much.
    above = min(remainder + max(excess, 0.0), 1.0)
    content_change = float(np.abs(content[: len(coarse)] - coarse).max(initial=0.0))
    larger = max(evidence.error, evidence.coarse_error)
    change = abs(evidence.coarse_error - evidence.error)
    error_change = change / larger if larger > 0 else 0.0

    reason = ""
    if evidence.variance < -evidence.noise:
        reason = "the nominal variance is negative"
    elif remainder < -tolerance:
        reason = f"the sectors sum to {total:.3g} times the norm"
    elif content_change > tolerance:
        reason = (
            f"content changes by {content_change:.2g} between this grid and the "
            "coarser one nested in it"
        )
    elif excess > tolerance and excess > _SIGNIFICANCE * evidence.excess_error:
        reason = (
            f"at random elements the projected sectors miss {excess:.2g} of the norm "
            "more than the grid shows"
        )
    elif above > _LARGE_REMAINDER and degree < 2 * len(content) + 1:
        reason = (
            f"{above:.0%} of the content lies above degree {len(content) - 1}, "
            "where this grid does not even resolve the norm"
        )
    elif evidence.error_uncertainty > 2 * tolerance:
        reason = (
            f"A is uncertain by {evidence.error_uncertainty:.0%}: at random elements, "
            f"that much of it lies above degree {len(content) - 1}"
        )
    suggestion = (
        degree_to_try(content.sum(axis=1), degree, tolerance) if reason else degree
    )
    return Convergence(
        not reason,
        content_change,
        error_change,
        remainder,
        suggestion,
        reason,
        excess,
        evidence.error_uncertainty,
    )


def refuse(name: str, degree: int, convergence: Convergence) -> AliasingError:
    """The error for an output that is not resolved, to be raised by the caller."""
    return AliasingError(
        "grid",
        degree,
        f"does not resolve {name!r} ({convergence.reason})",
        f"Try Grid({convergence.degree_to_try})",
    )
