"""What the page of a report shows of events: pictures, figures, sources, a list."""

from typing import Any

import numpy as np

from symjax.data.point_clouds import CLASSES
from symjax.report._markup import escape, select, show_table
from symjax.report.event_tables import (
    SOURCES_LEGEND,
    events_table,
    figure_tables,
    interval_note,
    sources_table,
)
from symjax.report.layout import Table
from symjax.report.schema import Report
from symjax.report.table_cells import Name, Row


def cloud_data(report: Report, most: int) -> list[dict[str, Any]]:
    """The events that can be looked at, those of the largest error first.

    Args:
      report: The report.
      most: Largest number of events.

    Returns:
      For each event its label, index in the report, positions relative to the middle,
      the middle (voxels), and for each point energy (MeV), true label, A by output,
      most frequent label and fraction of orientations with another label.
    """
    entries = []
    for line in report.event_lines[:most]:
        points = report.structures[line.place].points
        if points is None:
            continue
        x = np.asarray(points.positions, float)
        middle = np.round((x.min(axis=0) + x.max(axis=0)) / 2, 3)
        entries.append(
            {
                "label": line.event.label,
                "index": line.place,
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
    """Numbers with four digits, which are enough for a picture."""
    return [float(f"{value:.4g}") for value in np.asarray(values, float)]


def cloud_viewer(clouds: list[dict[str, Any]]) -> str:
    """The section with the picture."""
    if not clouds:
        return ""
    labels = (entry["label"] for entry in clouds)
    events = select("Event", "cloud-event", enumerate(labels))
    classes = escape(" ".join(name.replace(" ", "_") for name in CLASSES))
    return f"""<p>Every point is a voxel of the detector. A is the equivariance error of
its class probabilities: how much they change as the event is rotated, with tokens
frozen. Its label changes if it is not the same at all random orientations, with tokens
and voxels chosen again.</p>
<div class="controls">{events}
<label>Color <select id="cloud-color"></select></label></div>
<div class="viewer">
<figure class="needs-js wide"><canvas id="cloud-canvas" tabindex="0" role="application"
data-classes="{classes}" aria-label="The event, colored by point. Arrow keys rotate it,
plus and minus zoom, n and p step through the points"
aria-describedby="cloud-readout"></canvas>
<figcaption class="soft">Drag to rotate; keys: arrows, + and &minus;, n and p.
<span class="legend" id="cloud-legend"></span></figcaption>
<p class="readout" id="cloud-readout" role="status"></p></figure>
</div>"""


def event_figures(report: Report) -> str:
    """A and B of every output by class, particle and size, with intervals."""
    note = f"<p>{escape(interval_note(report))}.</p>"
    tables = [show_table(table) for table in figure_tables(report)]
    return (note if len(report.event_lines) > 1 else "") + "\n".join(tables)


def event_sources(report: Report) -> str:
    """The sources of symmetry breaking, with intervals."""
    table = sources_table(report)
    return f"<p>{escape(SOURCES_LEGEND)}</p>\n{show_table(table)}" if table else ""


def event_list(report: Report) -> str:
    """One row for each event, the largest A first, and those that failed."""
    failed = [
        Row([Name(event.label), Name(event.failure.message)], good=False)
        for event in report.overview
        if event.failure is not None
    ]
    reasons = show_table(Table("Events that failed", ["event", "reason"], failed))
    reasons = reasons.replace("<td>", '<td class="wrap">')
    return "\n".join(filter(None, (show_table(events_table(report)), reasons)))
