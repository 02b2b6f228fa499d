"""The heat map of the page: the content B(l, sigma) of every output and layer."""

from typing import Any

from symjax.metrics import Totals
from symjax.report._markup import SCROLLS, escape, folded, pointer, select, what_of
from symjax.report.contents import above_form, content_form
from symjax.report.layout import Table
from symjax.report.schema import Report
from symjax.report.summary import Summary
from symjax.report.table_cells import Cell, Name, Number, Row

# Logarithmic colors end here, as in the figures: round-off of float32.
_DECADES = 8
_CELL, _ROW, _GAP, _TOP = 32, 22, 14, 48


def _columns(degree: int) -> list[str]:
    """Names of the columns of the heat map, in the order of its cells."""
    plus, minus = (
        [f"B({degree}, {sign})" for degree in range(degree + 1)]
        for sign in ("+", "\N{MINUS SIGN}")
    )
    return [*plus, *minus, f"B above degree {degree}"]


def _row_values(held: Summary | Totals) -> list[float]:
    return [*held.content[:, 0].tolist(), *held.content[:, 1].tolist(), held.remainder]


def map_data(report: Report, found: list[Summary], most: int) -> dict[str, Any]:
    """What the script needs to draw the map."""
    sets: list[dict[str, Any]] = [
        {"label": "all", "values": [_row_values(one) for one in found]}
    ]
    if 1 < len(report.measured) <= most:
        for structure in report.measured:
            known = {one.name: _row_values(one.totals) for one in structure.leaves}
            sets.append(
                {
                    "label": structure.label,
                    "values": [known.get(one.name) for one in found],
                }
            )
    return {
        "columns": _columns(report.settings.max_degree),
        "rows": [one.name for one in found],
        "decades": _DECADES,
        "sets": sets,
    }


def content_map(report: Report, found: list[Summary], most: int) -> str:
    """The heat map and its numbers as a table."""
    if not found:
        return ""
    settings = report.settings
    degrees = range(settings.max_degree + 1)
    rows = []
    for one in found:
        b = one.content
        at = ("summary", one.name)
        cells: list[Cell] = [Name(one.name)]
        cells += [
            Number(
                float(b[n, sign]),
                content_form(settings, n, one),
                (*at, "content", n, sign),
            )
            for sign in (0, 1)
            for n in degrees
        ]
        above = above_form(one)
        cells.append(Number(one.remainder, above, (*at, "remainder")))
        rows.append(Row(cells, one.resolved))
    columns = ["response", *(f"{n}+" for n in degrees)]
    columns += [f"{n}\N{MINUS SIGN}" for n in degrees] + ["above"]
    title = f"Content B(l, sigma), all {what_of(report)} together"
    table = folded("The numbers as a table", Table(title, columns, rows))
    return f"{_heat_map(report, found, most)}\n{table}"


def _heat_map(report: Report, found: list[Summary], most: int) -> str:
    """Names at the left, which stay in place; cells at the right, which scroll."""
    count = report.settings.max_degree + 1
    # Left edges of the columns: two groups and the remainder, with gaps.
    edges = [_CELL * c + _GAP * (c >= count) for c in range(2 * count)]
    edges.append(2 * count * _CELL + 2 * _GAP)
    width, height = edges[-1] + _CELL + 24, _TOP + _ROW * len(found)
    parts = [
        f'<text class="group" x="{edges[start]}" y="14">\u03c3 = {sign}</text>'
        for start, sign in ((0, "+"), (count, "\N{MINUS SIGN}"))
    ]
    names = [*range(count), *range(count), f"> {count - 1}"]
    parts += [
        f'<text x="{edge + _CELL / 2:g}" y="38">{escape(name)}</text>'
        for edge, name in zip(edges, names, strict=True)
    ]
    paths = [
        *(("content", degree, sign) for sign in (0, 1) for degree in range(count)),
        ("remainder",),
    ]
    for row, one in enumerate(found):
        for edge, value, path in zip(edges, _row_values(one), paths, strict=True):
            opacity = min(max(value, 0.0), 1.0)
            at = escape(pointer(("summary", one.name, *path)))
            parts.append(
                f'<rect class="cell" x="{edge}" y="{_TOP + _ROW * row}" '
                f'width="{_CELL}" height="{_ROW}" fill-opacity="{opacity:.3f}" '
                f'data-value="{value!r}" data-at="{at}"/>'
            )
    parts.append('<rect class="cursor" visibility="hidden"/>')
    rows = "\n".join(
        f'<li class="{one.kind}{"" if one.resolved else " bad"}" '
        f'title="{escape(one.name)}"><bdi>{escape(one.name)}</bdi></li>'
        for one in found
    )
    drawing = "\n".join(parts)
    return f"""<p>Fraction of every response that transforms as the irrep of degree l,
tensors (&sigma; = +) and pseudotensors (&sigma; = &minus;). An invariant has
B(0, +) = 1, a force B(1, +) = 1.</p>
<div class="controls"><fieldset><legend>Colors</legend>
<label><input type="radio" name="scale" value="log" checked> logarithmic</label>
<label><input type="radio" name="scale" value="linear"> linear</label></fieldset>
{_choice(report, most)}
<span class="scale"><span id="map-low">0</span><span class="ramp"></span>1</span></div>
{SCROLLS}
<div class="map"><ol id="map-rows">
{rows}
</ol>
<div class="scroll"><svg id="map" width="{width}" height="{height}" tabindex="0"
role="application" aria-label="Heat map of the content, {len(found)} rows; arrow keys
move, the value is read out" aria-describedby="map-readout">
{drawing}
</svg></div></div>
<p class="readout needs-js" id="map-readout" role="status">Point at or tap a cell,
or use the arrow keys.</p>"""


def _choice(report: Report, most: int) -> str:
    if not 1 < len(report.measured) <= most:
        return ""
    labels = ["all together", *(structure.label for structure in report.measured)]
    return select(what_of(report).capitalize(), "map-structure", enumerate(labels))
