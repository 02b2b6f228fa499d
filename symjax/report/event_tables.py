"""Tables of events for a terminal: figures with intervals, and one line an event."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType
from rich.text import Text

from symjax.report.event_summary import SOURCES, show_interval
from symjax.report.layout import Display, Row, make_table

if TYPE_CHECKING:
    from symjax.report.schema import Report

# Columns that a figure with its interval takes, and those of the wider tables.
_WIDE = 78
SOURCE_NAMES: Mapping[str, str] = dict(
    zip(SOURCES, ("network", "tokens", "voxels", "all"), strict=True)
)
"""What the sources of symmetry breaking are called in tables."""
SHARE_NAMES: Mapping[str, str] = {
    "changing": "labels that change",
    "accuracy": "accuracy of labels",
}
GROUP_NAMES: Mapping[str, str] = {"Oh": "O_h", "O(3)": "O(3)"}
SOURCES_TITLE = "Sources of symmetry breaking in class probabilities"
SOURCES_LEGEND = (
    "Root mean squares over points, classes and orientations. network: A with tokens "
    "frozen; tokens, voxels: what finding tokens anew and putting points back on "
    "voxels change; all: A of the whole chain. Labels that change: points whose label "
    "is not the same at all orientations."
)


class Forms:
    """How values and fractions are written.

    Attributes:
      value: Of a quantity.
      fraction: Of a fraction that may be close to 1.
    """

    def __init__(self, value: Callable[[float], str], fraction: Callable[[float], str]):
        """Keeps the two."""
        self.value, self.fraction = value, fraction


def event_tables(
    report: "Report", display: Display, form: Forms
) -> list[RenderableType]:
    """What a report of events shows beside the tables of any report.

    Args:
      report: A report of events.
      display: What they are written on; below 78 columns one figure a table.
      form: How numbers are written.

    Returns:
      Tables and texts for ``rich``.
    """
    summary = report.event_summary
    parts: list[RenderableType] = []
    for name, rows in summary["outputs"].items():
        unit = report.aggregate()[name].unit
        parts += _by_group(name, unit, rows, display, form)
    if summary["breaking"]:
        parts += sources_tables(summary["breaking"], display, form)
    if len(report.event_lines) > 1:
        parts += [Text(), _lines(report, display, form)]
    level = f"{summary['level']:.0%}"
    if len(report.event_lines) > 1:
        parts += [
            Text(),
            Text(
                display.lines(
                    f"In brackets: {level} intervals over events (Student's t of "
                    "ratios of sums over events), not over points or orientations.",
                    0,
                ),
                style="dim",
            ),
        ]
    return parts


def sources_tables(
    breaking: Mapping[str, Any], display: Display, form: Forms
) -> list[RenderableType]:
    """The sources of symmetry breaking over each group, with intervals.

    Args:
      breaking: By group, as :func:`symjax.report.event_summary.summarise_events` says.
      display: What they are written on.
      form: How numbers are written.

    Returns:
      One table side by side, or one for each group where there is less room.
    """
    narrow = not _wide(display)
    groups = [[group] for group in breaking] if narrow else [list(breaking)]
    parts: list[RenderableType] = []
    for chosen in groups:
        lines = []
        for name, shown in (*SOURCE_NAMES.items(), *SHARE_NAMES.items()):
            write = _percent if name in SHARE_NAMES else form.value
            cells = (show_interval(breaking[g][name], write) for g in chosen)
            lines.append(Row([shown, *cells]))
        columns = ["source", *(GROUP_NAMES[g] for g in chosen)]
        parts += [Text(), make_table(SOURCES_TITLE, columns, lines, display)]
    return [*parts, Text(display.lines(SOURCES_LEGEND, 0), style="dim")]


def _wide(display: Display) -> bool:
    return display.width is None or display.width >= _WIDE


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _by_group(
    name: str, unit: str, rows: list[dict[str, Any]], display: Display, form: Forms
) -> list[RenderableType]:
    figures = {
        "equivariance_error": (f"A ({unit})" if unit else "A", form.value),
        "relative_error": ("A/RMS", form.value),
        "expected": ("B expected", form.fraction),
    }
    parts: list[RenderableType] = []
    title_of = display.name(name)
    if _wide(display):
        columns = ["points", "events", *(title for title, _ in figures.values())]
        kinds = {
            "class": "class",
            "particle": "particle",
            "points": "size of the event",
        }
        by = [kind for key, kind in kinds.items() if key in {row["by"] for row in rows}]
        lines = []
        for row in rows:
            cells = [
                form.value(row[key][0])
                if key == "relative_error" and row[key][0] is not None
                else show_interval(row[key], write)
                for key, (_, write) in figures.items()
            ]
            first = display.name(row["name"])
            lines.append(Row([first, f"{row['events']:,}", *cells]))
        whole = f"{title_of}, by {', '.join(by)}"
        return [Text(), make_table(whole, columns, lines, display)]
    for key, (title, write) in figures.items():
        lines = [
            Row([display.name(row["name"]), show_interval(row[key], write)])
            for row in rows
        ]
        whole = f"{title_of}: {title}"
        parts += [Text(), make_table(whole, ["points", "figure"], lines, display)]
    return parts


def _lines(report: "Report", display: Display, form: Forms) -> Text:
    lines = report.event_lines
    first = lines[0]
    unit = f" ({first['unit']})" if first["unit"] else ""
    columns = ["event", "points", f"A{unit}"]
    more = [*SOURCE_NAMES.items()] if "total" in first and _wide(display) else []
    columns += [shown for _, shown in more]
    changing = any("changing" in line for line in lines)
    columns += ["changing"] if changing else []
    over = "; the rest over O(3)" if more else ""
    rows = []
    for line in lines:
        cells = [
            display.name(line["label"]),
            f"{line['points']:,}",
            form.value(line["error"]),
        ]
        cells += [form.value(line[name]) if name in line else "-" for name, _ in more]
        if changing:
            cells.append(_percent(line["changing"]) if "changing" in line else "-")
        rows.append(Row(cells, line["resolved"]))
    output = display.name(first["output"])
    title = f"Events by A of {output}, the largest first{over}"
    return make_table(title, columns, rows, display)
