"""Does a grid resolve a response? The verdict, and the degree to try if not.

A rule of degree d integrates products of sectors l, l' exactly while l + l' <= d.
Content at l' > d - l is therefore folded onto the coefficients of degree l. Five
signs tell, and none of them can be produced by a response that is band-limited
within L <= d / 2, so an exact result is never refused:

1. the nominal variance is negative beyond round-off (Lebedev rules of some degrees
   have negative weights), or the sectors sum to more than the norm;
2. B of a degree l <= d' - L changes between the grid and a coarser rule of degree
   d' on a subset of its nodes: that rule is exact there for content through L;
3. at random elements off the grid, the response differs from what its projected
   sectors predict by more than the content that is missing from them: folded content
   fits the nodes of the grid and nothing else;
4. most of the content lies above L, as the grid or the random elements show it, where
   the norm itself is no longer exact;
5. the content above L, as the random elements show it, is no small part of V: the rule
   is not exact for the squares of that content, of which A consists (where d > 2 L + 1,
   it is for some: there V itself must differ from that of the random elements).
"""

import math
from typing import NamedTuple

import numpy as np

from symjax.errors import AliasingError
from symjax.metrics.verdicts import Convergence

# Standard errors beyond which a misfit at random elements is not chance.
_SIGNIFICANCE = 3.0
# A remainder above this makes the norm, the denominator of every B, uncertain
# where the grid is no finer than the projected degrees need.
_LARGE_REMAINDER = 0.5


def degree_to_try(content: np.ndarray, degree: int, tolerance: float) -> int:
    """Grid degree expected to resolve a response, from the decay of its content.

    Content of the last projected degrees, B summed over sigma, is extrapolated
    geometrically until the tail is below the tolerance; a spectrum that does not decay
    asks for twice the degree, which is also the most.
    """
    limit = 2 * degree
    ratio = tail_ratio(content)
    if ratio is None:
        return limit
    band = band_limit(content, ratio, tolerance)
    return int(min(max(2 * band + 1, degree + 2), limit))


def tail_ratio(content: np.ndarray) -> float | None:
    """Factor by which content decays from one of the last degrees to the next.

    The geometric mean over the last three degrees; None if it does not decay.
    """
    tail = np.maximum(content[-3:], 1e-300)
    if len(tail) < 2:
        return None
    ratio = float((tail[-1] / tail[0]) ** (1 / (len(tail) - 1)))
    return ratio if 0 < ratio < 1 else None


def band_limit(content: np.ndarray, ratio: float, tolerance: float) -> int:
    """Degree above which content that decays by a ratio sums to less than a limit."""
    last = max(float(content[-1]), 1e-300)
    # tail beyond l: B_L ratio^(l - L) ratio / (1 - ratio); the product B_L ratio may
    # be too small for a number
    allowed = math.log(tolerance * (1 - ratio)) - math.log(last)
    steps = allowed / math.log(ratio) - 1
    return len(content) - 1 + max(0, math.ceil(steps))


class Evidence(NamedTuple):
    """What a grid, its nested rule and random elements say of one leaf.

    Attributes:
      content: B of the grid, ``(degrees, 2)``.
      coarse_content: B of the nested rule, for its comparable degrees.
      error: A of the grid.
      coarse_error: A of the nested rule.
      variance: Total nominal variance, not clamped.
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
    """Verdict on one leaf: it is not resolved if any of the five signs is seen.

    The tolerance is the largest admitted change of B.
    """
    content, coarse = evidence.content, evidence.coarse_content
    excess, degree = evidence.excess, evidence.degree
    total = float(content.sum())
    remainder = 1.0 - total if total > 0 else 0.0
    # Few random elements tell that something is wrong long before they tell how much.
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
    """The error for a leaf that is not resolved, to be raised by the caller."""
    return AliasingError(
        "grid",
        degree,
        f"does not resolve {name!r} ({convergence.reason})",
        f"Try Grid({convergence.degree_to_try})",
    )
