"""The section of the page of a report on averages: a drawing and a table."""

import math
from collections.abc import Mapping
from typing import Any

from symjax.metrics import AveragedError
from symjax.report._markup import SCROLLS, escape, show_table
from symjax.report.average_tables import averages_table
from symjax.report.schema import Report
from symjax.report.worth import known_frontier

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP, _RIGHT = 560, 256, 64, 40, 28, 90
# Between ticks, and between names of curves.
_APART, _LINE = 20, 14
# Dashes tell the curves apart without color.
_DASHES = ("none", "6 3", "2 3", "8 3 2 3")


def averages_section(report: Report) -> str:
    """Error against cost as a drawing and a table; empty if no response is known."""
    spectra, leaves = report.responses, report.aggregate()
    if not spectra:
        return ""
    found = {name: known_frontier(spectrum) for name, spectrum in spectra.items()}
    drawn = {name: errors for name, errors in found.items() if len(errors) > 1}
    unresolved = {name for name in spectra if not leaves[name].resolved}
    return (
        "<p>A after an average over rotations, predicted from this measurement; "
        "its cost is the number of evaluations of the model. Content above the "
        "measured degrees may remain in full: the bound is A + uncertainty, which is "
        "shown with &lt; where A is not larger than its uncertainty.</p>\n"
        + _drawing(drawn)
        + show_table(
            averages_table("A after averages", spectra, unresolved, "averages")
        )
    )


def _drawing(frontiers: Mapping[str, tuple[AveragedError, ...]]) -> str:
    """A relative to A without averaging, as steps on two logarithmic axes."""
    if not frontiers:
        return ""
    most = max(one.num_elements for errors in frontiers.values() for one in errors)
    least = min(
        max(one.largest, 1e-9 * errors[0].error) / errors[0].error
        for errors in frontiers.values()
        for one in errors
    )
    decades = max(1, math.ceil(-math.log10(least)))
    width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def x(elements: float) -> float:
        return _LEFT + width * math.log(elements) / math.log(max(most, 2))

    def y(share: float) -> float:
        down = min(max(-math.log10(max(share, 1e-300)), 0.0), decades)
        return _TOP + height * down / decades

    parts = [
        f'<line x1="{_LEFT}" y1="{_TOP + height}" x2="{_LEFT + width}" '
        f'y2="{_TOP + height}" class="axis"/>'
    ]
    for decade in range(decades + 1):
        at = y(10.0**-decade)
        label = "1" if decade == 0 else f"1e-{decade}"
        parts.append(
            f'<line x1="{_LEFT}" y1="{at:.1f}" x2="{_LEFT + width}" y2="{at:.1f}" '
            f'class="grid"/><text x="{_LEFT - 6}" y="{at + 4:.1f}" '
            f'text-anchor="end">{label}</text>'
        )
    ticks = [n for n in (1, 2, 4, 12, 24, 48, 120, 240) if x(n) < x(most) - _APART]
    ticks.append(most)
    for tick in ticks:
        parts.append(
            f'<text x="{x(tick):.1f}" y="{_TOP + height + 16}" '
            f'text-anchor="middle">{tick}</text>'
        )
    parts.append(
        f'<text x="{_LEFT + width / 2:.0f}" y="{_HEIGHT - 6}" text-anchor="middle">'
        "evaluations for one prediction</text>"
    )
    parts.append(f'<text x="{_LEFT}" y="{_TOP - 10}">A / A as it is</text>')
    ends: dict[str, float] = {}
    for number, (name, errors) in enumerate(frontiers.items()):
        whole = errors[0].error
        points: list[Any] = []
        for one in errors:
            if points:
                points.append((x(one.num_elements), points[-1][1]))
            points.append((x(one.num_elements), y(one.largest / whole)))
        points.append((float(_LEFT + width), points[-1][1]))
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
        dashes = f'stroke-dasharray="{_DASHES[number % len(_DASHES)]}"'
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="currentColor" '
            f'stroke-width="1.5" {dashes}/>'
        )
        ends[name] = points[-1][1]
    lowest = 0.0
    for name in sorted(ends, key=ends.__getitem__):
        # Names of curves that end close together are written one below the other.
        lowest = max(ends[name] + 4, lowest + _LINE)
        parts.append(
            f'<text x="{_LEFT + width + 6}" y="{lowest:.1f}">{escape(name)}</text>'
        )
    drawing = "\n".join(parts)
    return (
        f'{SCROLLS}<div class="scroll"><svg class="frontier" width="{_WIDTH}" '
        f'height="{_HEIGHT}" role="img" aria-label="A after averages over A as it is, '
        f'against the number of evaluations; the numbers are in the table below">\n'
        f"{drawing}\n</svg></div>\n"
    )
