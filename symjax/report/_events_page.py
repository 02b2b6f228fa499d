"""What the page of a report shows of events: pictures, figures, sources, a list."""

from collections.abc import Callable
from typing import Any

import numpy as np

from symjax.data.point_clouds import CLASSES
from symjax.report._markup import escape, make_table, show_unit
from symjax.report.event_summary import SHARES, SOURCES
from symjax.report.event_tables import (
    GROUP_NAMES,
    SHARE_NAMES,
    SOURCE_NAMES,
    SOURCES_LEGEND,
)
from symjax.report.schema import Report
from symjax.report.tables import format_fraction, format_value

Number = Callable[..., str]


def cloud_data(report: Report, most: int) -> list[dict[str, Any]]:
    """The events that can be looked at, those of the largest error first.

    Args:
      report: The report.
      most: Number of events.

    Returns:
      For each one label, index in the report, positions about the middle and the
      middle (voxels), and of each point energy (MeV), true label, A by output, most
      frequent label and share of orientations with another one.
    """
    entries = []
    for line in report.event_lines[:most]:
        points = report.structures[line["index"]].points
        if points is None:
            continue
        x = np.asarray(points.positions, float)
        middle = np.round((x.min(axis=0) + x.max(axis=0)) / 2, 3)
        entries.append(
            {
                "label": line["label"],
                "index": line["index"],
                "middle": middle.tolist(),
                "positions": np.round(x - middle, 3).tolist(),
                "extent": float(max(np.linalg.norm(x - middle, axis=1).max(), 1.0)),
                "energies": _short(points.energies),
                "semantic": np.asarray(points.semantic).tolist(),
                "errors": {name: _short(v) for name, v in points.errors.items()},
                "labels": np.asarray(points.labels).tolist(),
                "changes": _short(points.changes),
            }
        )
    return entries


def _short(values: Any) -> list[float]:
    """Numbers with four digits: a picture needs no more, and a page is shorter."""
    return [float(f"{value:.4g}") for value in np.asarray(values, float)]


def cloud_viewer(clouds: list[dict[str, Any]]) -> str:
    """The section with the picture."""
    if not clouds:
        return ""
    options = "".join(
        f'<option value="{index}">{escape(entry["label"])}</option>'
        for index, entry in enumerate(clouds)
    )
    classes = escape(" ".join(name.replace(" ", "_") for name in CLASSES))
    return f"""<p>Every point is a voxel of the detector. A is the equivariance error of
its class probabilities: how much they change as the event turns, with tokens frozen.
Its label changes if it is not the same at all random orientations, with tokens and
voxels found anew.</p>
<div class="controls"><label>Event <select id="cloud-event">{options}</select></label>
<label>Color <select id="cloud-color"></select></label></div>
<div class="viewer">
<figure class="needs-js wide"><canvas id="cloud-canvas" tabindex="0" role="application"
data-classes="{classes}" aria-label="The event, colored by point. Arrow keys turn it,
plus and minus zoom, n and p step through the points"
aria-describedby="cloud-readout"></canvas>
<figcaption class="soft">Drag to turn; keys: arrows, + and &minus;, n and p.
<span class="legend" id="cloud-legend"></span></figcaption>
<p class="readout" id="cloud-readout" role="status"></p></figure>
</div>"""


def _figure(number: Number, *path: str | int, form: Callable[[float], str]) -> str:
    """A figure with its interval, as far as it is known."""
    value, low, high = (number(*path, end, form=_or_dash(form)) for end in range(3))
    if ">-<" in value:
        return "-"
    if ">-<" in low:
        return value
    return f'{value} <span class="soft">({low} to {high})</span>'


def _or_dash(form: Callable[[float], str]) -> Callable[[float | None], str]:
    return lambda value: "-" if value is None else form(value)


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def event_figures(report: Report, number: Number) -> str:
    """A and B of every output by class, particle and size, with intervals."""
    tables = []
    for name, rows in report.event_summary["outputs"].items():
        unit = show_unit(report.aggregate()[name].unit)
        lines = []
        for index, row in enumerate(rows):
            at = ("events", "outputs", name, index)
            cells = [
                escape(row["name"]),
                number(*at, "events", form=lambda n: f"{n:,}"),
                _figure(number, *at, "equivariance_error", form=format_value),
                _figure(number, *at, "relative_error", form=format_value),
                _figure(number, *at, "expected", form=format_fraction),
            ]
            lines.append((cells, True))
        columns = ["points", "events", f"A ({unit})" if unit else "A", "A/RMS"]
        tables.append(make_table(name, [*columns, "B expected"], lines))
    note = (
        f"<p>In brackets: {report.event_summary['level']:.0%} intervals over events "
        "(Student's t of ratios of sums over events).</p>"
    )
    return (note if len(report.event_lines) > 1 else "") + "\n".join(tables)


def event_sources(report: Report, number: Number) -> str:
    """The sources of symmetry breaking, with intervals."""
    breaking = report.event_summary["breaking"]
    if not breaking:
        return ""
    rows = []
    for name in (*SOURCES, *SHARES):
        shown = {**SOURCE_NAMES, **SHARE_NAMES}.get(name)
        if shown is None:
            continue
        form = _percent if name in SHARES else format_value
        cells = [escape(shown)]
        cells += [
            _figure(number, "events", "breaking", group, name, form=form)
            for group in breaking
        ]
        rows.append((cells, True))
    columns = ["source"]
    for group in breaking:
        elements = number("events", "breaking", group, "num_elements", form=str)
        columns.append(f"{escape(GROUP_NAMES[group])}, {elements} elements")
    table = make_table("Root mean squares; labels in percent", columns, rows)
    return f"<p>{escape(SOURCES_LEGEND)}</p>\n{table}"


def event_list(report: Report, number: Number) -> str:
    """One line for each event in the order of A, and those that failed."""
    rows = []
    for line in report.event_lines:
        at = ("structures", line["index"])
        parts = report.overview[line["index"]].breaking
        over = [n for n, part in enumerate(parts) if part.group == "O(3)"]
        cells = [
            escape(line["label"]),
            number(*at, "num_atoms", form=lambda n: f"{n:,}"),
            format_value(line["error"]),
            format_value(line["relative"]),
        ]
        for n in over:
            cells += [
                number(*at, "breaking", n, name, form=format_value) for name in SOURCES
            ]
            cells.append(
                number(*at, "breaking", n, "labels", "changing", form=_percent)
            )
            cells.append(
                number(
                    *at, "breaking", n, "labels", "accuracy", form=_or_dash(_percent)
                )
            )
        seconds = [
            number(*at, "timing", name, form=lambda s: f"{s:.1f} s")
            for name in ("compile_seconds", "evaluation_seconds")
        ]
        rows.append(([*cells, *seconds], line["resolved"]))
    first = report.event_lines[0] if report.event_lines else {}
    unit = show_unit(str(first.get("unit", "")))
    columns = ["event", "points", f"A ({unit})" if unit else "A", "A/RMS"]
    if "total" in first:
        columns += [*SOURCE_NAMES.values(), "labels that change", "accuracy"]
    caption = f"By A of {first.get('output', '')}, the largest first; sources over O(3)"
    if "total" not in first:
        caption = caption.partition(";")[0]
    failed = [
        ([escape(event.label), escape(event.failure.message)], False)
        for event in report.overview
        if event.failure is not None
    ]
    return "\n".join(
        table
        for table in (
            make_table(caption, [*columns, "compiling", "evaluating"], rows),
            make_table("Events that failed", ["event", "reason"], failed).replace(
                "<td>", '<td class="wrap">'
            ),
        )
        if table
    )
