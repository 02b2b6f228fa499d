"""Figures over many events: by class, particle and number of points, with intervals.

Each is a ratio of sums over events, so that :func:`ratio_interval` gives its interval,
which says how much the figure would differ for another set of events.
"""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np
from scipy.special import stdtrit

from symjax.metrics import Totals
from symjax.report.event_schema import (
    Breaking,
    BreakingFigures,
    EventFigures,
    PointGroupFigures,
)
from symjax.report.leaves import Leaf
from symjax.report.structure_report import StructureReport
from symjax.so3.irreps import Irrep

LEVEL = 0.95
"""Coverage of the intervals over events."""


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

    and the interval is r -+ t s, with Student's t of n - 1 degrees of freedom at 95 %,
    cut off at 0 and at ``most``. Source: Cochran, Sampling Techniques, 3rd ed.,
    Sec. 2.11. For figures such as A the square root of the ratio and of both ends is
    taken, which keeps the coverage.

    Args:
      numerators: a_i, not negative.
      denominators: b_i, not negative; events with b_i = 0 are left out.
      root: Whether the figure is the square root of the ratio.
      most: The largest possible value of the ratio, such as 1 for a fraction.

    Returns:
      The figure with its interval; NaN for what too few events leave unknown.
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
        reach = float(stdtrit(n - 1, (1 + LEVEL) / 2)) * error
        ends = (max(ratio - reach, 0.0), min(ratio + reach, most))
    values = (max(ratio, 0.0), *ends)
    return Interval(*(math.sqrt(v) if root else v for v in values))


SOURCES = ("network", "tokenisation", "voxelisation", "total")
SHARES = ("changing", "disagreement", "accuracy", "majority_accuracy")
_By = Literal["all", "class", "particle", "points"]


def summarise_events(events: Iterable[StructureReport]) -> EventFigures:
    """Figures over measured events, as the object ``events`` of ``report.json``.

    Returns:
      For every output, figures over all points, by class, by particle and by number of
      points of the event; for every group, the sources of symmetry breaking.
    """
    rows: dict[str, dict[tuple[_By, str], list[tuple[float, ...]]]] = {}
    parts: dict[str, list[Breaking]] = {}
    for event in events:
        if event.failure is not None:
            continue
        for leaf in event.leaves:
            if leaf.kind == "output":
                groups = rows.setdefault(leaf.name, {})
                for key, totals in _groups(leaf, event.num_atoms):
                    groups.setdefault(key, []).append(_sums(leaf, totals))
        for part in event.breaking:
            parts.setdefault(part.group, []).append(part)
    return EventFigures(
        LEVEL,
        {
            name: tuple(_row(key, groups[key]) for key in sorted(groups, key=_order))
            for name, groups in rows.items()
        },
        {group: _sources(part) for group, part in parts.items()},
    )


def _order(key: tuple[_By, str]) -> tuple[int, int]:
    # Classes and particles in the order in which they are met, sizes by size.
    by, name = key
    return get_args(_By).index(by), int(name.split("-")[0]) if by == "points" else 0


def _groups(leaf: Leaf, size: int) -> Iterable[tuple[tuple[_By, str], Totals]]:
    yield ("all", "all points"), leaf.totals
    yield from ((("class", name), part) for name, part in leaf.species.items())
    yield from ((("particle", name), part) for name, part in leaf.particles.items())
    low = 2 ** int(math.log2(max(size, 1)))
    yield ("points", f"{low}-{2 * low - 1} points"), leaf.totals


def _sums(leaf: Leaf, totals: Totals) -> tuple[float, ...]:
    """Variance, norm, components, and power in the sectors of the output."""
    power = totals.power.sum(axis=0)
    irreps = [Irrep.parse(label) for label in dict.fromkeys(leaf.irreps)]
    expected = sum(
        float(power[irrep.degree, 0 if irrep.sigma == 1 else 1])
        for irrep in irreps
        if irrep.degree < len(power)
    )
    return (
        max(float(totals.variance.sum()), 0.0),
        float(totals.norm.sum()),
        float(totals.count.sum()),
        expected,
    )


def _row(key: tuple[_By, str], sums: list[tuple[float, ...]]) -> PointGroupFigures:
    variance, norm, count, expected = (
        list(column) for column in zip(*sums, strict=True)
    )
    return PointGroupFigures(
        *(*key, len(sums)),
        equivariance_error=ratio_interval(variance, count, root=True),
        relative_error=ratio_interval(variance, norm, root=True, most=1.0),
        expected=ratio_interval(expected, norm, most=1.0),
    )


def _sources(parts: list[Breaking]) -> BreakingFigures:
    points = [float(part.num_points) for part in parts]
    known = [float(part.num_known) for part in parts]
    figures = {}
    for name in SOURCES:
        squares = [
            n * getattr(p, name) ** 2 for n, p in zip(points, parts, strict=True)
        ]
        figures[name] = ratio_interval(squares, points, root=True)
    for name in SHARES:
        weights = known if "accuracy" in name else points
        shares = [
            n * getattr(part.labels, name) if n else 0.0
            for n, part in zip(weights, parts, strict=True)
        ]
        figures[name] = ratio_interval(shares, weights, most=1.0)
    return BreakingFigures(len(parts), parts[0].num_elements, **figures)


class EventLine(NamedTuple):
    """One event in the list of all events.

    Attributes:
      place: Its index among the structures of the report.
      event: The event, without its points.
      output: Its first output.
      resolved: Whether all its responses are resolved.
    """

    place: int
    event: StructureReport
    output: Leaf
    resolved: bool


def event_lines(events: Iterable[StructureReport]) -> list[EventLine]:
    """The measured events, the largest error first."""
    lines = []
    for index, event in enumerate(events):
        outputs = [leaf for leaf in event.leaves if leaf.kind == "output"]
        if event.failure is None and outputs:
            alone = dataclasses.replace(event, leaves=(), points=None)
            resolved = all(leaf.resolved for leaf in event.leaves)
            lines.append(EventLine(index, alone, outputs[0], resolved))
    return sorted(lines, key=lambda line: -line.output.totals.equivariance_error)
