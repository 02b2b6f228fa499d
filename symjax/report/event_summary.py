"""Figures of many events: by class, particle and number of points, with intervals.

Everything is a ratio of sums over events, so that its interval follows from
:func:`symjax.report.intervals.ratio_interval`.
"""

import dataclasses
import math
from collections.abc import Iterable
from typing import Literal, NamedTuple, get_args

from symjax.metrics import Totals
from symjax.report.event_schema import (
    Breaking,
    BreakingFigures,
    EventFigures,
    PointGroupFigures,
)
from symjax.report.intervals import LEVEL, ratio_interval
from symjax.report.leaves import Leaf
from symjax.report.structure_report import StructureReport
from symjax.so3.irreps import Irrep

SOURCES = ("network", "tokenisation", "voxelisation", "total")
SHARES = ("changing", "disagreement", "accuracy", "majority_accuracy")
_By = Literal["all", "class", "particle", "points"]


def summarise_events(events: Iterable[StructureReport]) -> EventFigures:
    """Figures over measured events, as the object ``events`` of ``report.json``.

    Returns:
      For every output its figures over all points, by class, by particle and by number
      of points of the event, and for every group the sources of symmetry breaking.
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
    """One event in the list of all.

    Attributes:
      place: Its position among the structures of the report.
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
