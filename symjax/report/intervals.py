"""Intervals of ratios over events: how much another set of events would differ."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import t as student

LEVEL = 0.95
"""Coverage of the intervals."""


class Interval(NamedTuple):
    """A figure with its interval over events.

    Attributes:
      value: The figure; NaN without events.
      low: Lower end; NaN for fewer than two events.
      high: Upper end; NaN likewise.
    """

    value: float
    low: float
    high: float


def ratio_interval(
    numerators: Sequence[float],
    denominators: Sequence[float],
    *,
    root: bool = False,
    most: float = math.inf,
) -> Interval:
    """A ratio of sums over events, r = sum a_i / sum b_i, with its interval.

    Events are the independent draws, not the points in them: the residuals
    d_i = a_i - r b_i of n events give the standard error

        s = sqrt(n / (n - 1) sum d_i^2) / sum b_i,

    and the interval is r -+ t s, with Student's t of n - 1 degrees of freedom at 95 %.
    Source: Cochran, Sampling Techniques, 3rd ed., Sec. 2.11. It ends where the figure
    can be no smaller or larger. For figures such as A the root of ratio and ends is
    taken, which keeps the coverage.

    Args:
      numerators: a_i, not negative.
      denominators: b_i, not negative; events with b_i = 0 count as none.
      root: Whether the figure is the square root of the ratio.
      most: The largest value that the ratio can have, such as 1 for a share.
    """
    a, b = np.asarray(numerators, float), np.asarray(denominators, float)
    a, b = a[b > 0], b[b > 0]
    if not len(b):
        return Interval(math.nan, math.nan, math.nan)
    ratio = float(a.sum() / b.sum())
    ends = (math.nan, math.nan)
    if len(b) > 1:
        n = len(b)
        spread = float(np.square(a - ratio * b).sum())
        error = math.sqrt(n / (n - 1) * spread) / float(b.sum())
        reach = float(student.ppf((1 + LEVEL) / 2, n - 1)) * error
        ends = (max(ratio - reach, 0.0), min(ratio + reach, most))
    values = (max(ratio, 0.0), *ends)
    return Interval(*(math.sqrt(v) if root else v for v in values))
