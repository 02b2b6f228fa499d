"""Figures of many events: by class, particle and number of points, with intervals.

Everything is a ratio of sums over events, so that its interval follows from
:func:`symjax.report.intervals.ratio_interval`.
"""

import math
from collections.abc import Iterable
from typing import Any

from symjax.metrics import Totals
from symjax.report.event_schema import Breaking
from symjax.report.intervals import LEVEL, Interval, ratio_interval
from symjax.report.leaves import Leaf
from symjax.report.structure_report import StructureReport
from symjax.so3.irreps import Irrep

SOURCES = ("network", "tokenisation", "voxelisation", "total")
SHARES = ("changing", "disagreement", "accuracy", "majority_accuracy")


def summarise_events(events: Iterable[StructureReport]) -> dict[str, Any]:
    """Figures over measured events, as the object ``events`` of ``report.json``.

    Returns:
      For every output its figures over all points, by class, by particle and by number
      of points of the event, and for every group the sources of symmetry breaking. A
      figure is a list of value, lower and upper end of its interval; null where it is
      not known.
    """
    rows: dict[str, dict[tuple[str, str], list[tuple[float, ...]]]] = {}
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
    return {
        "level": LEVEL,
        "outputs": {
            name: [_row(key, groups[key]) for key in sorted(groups, key=_order)]
            for name, groups in rows.items()
        },
        "breaking": {group: _sources(part) for group, part in parts.items()},
    }


_BY = ("all", "class", "particle", "points")


def _order(key: tuple[str, str]) -> tuple[int, int]:
    # Classes and particles in the order in which they are met, sizes by size.
    by, name = key
    return _BY.index(by), int(name.split("-")[0]) if by == "points" else 0


def _groups(leaf: Leaf, size: int) -> Iterable[tuple[tuple[str, str], Totals]]:
    yield ("all", "all points"), leaf.totals
    for by, parts in (("class", leaf.species), ("particle", leaf.particles)):
        for name, totals in parts.items():
            yield (by, name), totals
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


def _row(key: tuple[str, str], sums: list[tuple[float, ...]]) -> dict[str, Any]:
    variance, norm, count, expected = (
        list(column) for column in zip(*sums, strict=True)
    )
    return {
        "by": key[0],
        "name": key[1],
        "events": len(sums),
        "equivariance_error": _plain(ratio_interval(variance, count, root=True)),
        "relative_error": _plain(ratio_interval(variance, norm, root=True, most=1.0)),
        "expected": _plain(ratio_interval(expected, norm, most=1.0)),
    }


def _sources(parts: list[Breaking]) -> dict[str, Any]:
    points = [float(part.num_points) for part in parts]
    known = [float(part.num_known) for part in parts]
    value: dict[str, Any] = {
        "events": len(parts),
        "num_elements": parts[0].num_elements,
    }
    for name in SOURCES:
        squares = [
            n * getattr(p, name) ** 2 for n, p in zip(points, parts, strict=True)
        ]
        value[name] = _plain(ratio_interval(squares, points, root=True))
    for name in SHARES:
        weights = known if "accuracy" in name else points
        shares = [
            n * getattr(part.labels, name) if n else 0.0
            for n, part in zip(weights, parts, strict=True)
        ]
        value[name] = _plain(ratio_interval(shares, weights, most=1.0))
    return value


def _plain(interval: Interval) -> list[float | None]:
    return [None if math.isnan(number) else number for number in interval]


def event_lines(events: Iterable[StructureReport]) -> list[dict[str, Any]]:
    """One line for each measured event, the largest error first.

    Position, label, number of points, and A of the first output with its unit; where
    labels are predicted, the sources over O(3) too.
    """
    lines = []
    for index, event in enumerate(events):
        outputs = [leaf for leaf in event.leaves if leaf.kind == "output"]
        if event.failure is not None or not outputs:
            continue
        first = outputs[0]
        line: dict[str, Any] = {
            "index": index,
            "label": event.label,
            "points": event.num_atoms,
            "output": first.name,
            "unit": first.unit,
            "error": first.totals.equivariance_error,
            "relative": first.totals.relative_error,
            "resolved": all(leaf.resolved for leaf in event.leaves),
        }
        for part in event.breaking:
            if part.group == "O(3)":
                line |= {name: getattr(part, name) for name in SOURCES}
                line["changing"] = part.labels.changing
                accuracy = part.labels.accuracy
                line["accuracy"] = None if math.isnan(accuracy) else accuracy
        lines.append(line)
    return sorted(lines, key=lambda line: -line["error"])
