"""Tables of events for a terminal: figures with intervals, and one line an event."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from symjax.report.event_summary import SOURCES, show_interval

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


def event_tables(report: "Report", width: int, form: Forms) -> list[RenderableType]:
    """What a report of events shows beside the tables of any report.

    Args:
      report: A report of events.
      width: Number of columns; below 78 one figure a table.
      form: How numbers are written.

    Returns:
      Tables and texts for ``rich``.
    """
    summary = report.event_summary
    parts: list[RenderableType] = []
    for name, rows in summary["outputs"].items():
        unit = report.aggregate()[name].unit
        parts += _by_group(name, unit, rows, width, form)
    if summary["breaking"]:
        parts += sources_tables(summary["breaking"], width, form)
    if len(report.event_lines) > 1:
        parts += [Text(), _lines(report, width, form)]
    level = f"{summary['level']:.0%}"
    if len(report.event_lines) > 1:
        parts += [
            Text(),
            Text(
                f"In brackets: {level} intervals over events (Student's t of ratios of "
                "sums over events), not over points or orientations.",
                style="dim",
            ),
        ]
    return parts


def sources_tables(
    breaking: Mapping[str, Any], width: int, form: Forms
) -> list[RenderableType]:
    """The sources of symmetry breaking over each group, with intervals.

    Args:
      breaking: By group, as :func:`symjax.report.event_summary.summarise_events` says.
      width: Number of columns.
      form: How numbers are written.

    Returns:
      One table side by side, or one for each group where there is less room.
    """
    groups = [[group] for group in breaking] if width < _WIDE else [list(breaking)]
    parts: list[RenderableType] = []
    for chosen in groups:
        table = _table(SOURCES_TITLE, ["source", *(GROUP_NAMES[g] for g in chosen)])
        for name, shown in (*SOURCE_NAMES.items(), *SHARE_NAMES.items()):
            write = _percent if name in SHARE_NAMES else form.value
            table.add_row(
                shown, *(show_interval(breaking[g][name], write) for g in chosen)
            )
        parts += [Text(), table]
    return [*parts, Text(SOURCES_LEGEND, style="dim")]


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _by_group(
    name: str, unit: str, rows: list[dict[str, Any]], width: int, form: Forms
) -> list[RenderableType]:
    figures = {
        "equivariance_error": (f"A ({unit})" if unit else "A", form.value),
        "relative_error": ("A/RMS", form.value),
        "expected": ("B expected", form.fraction),
    }
    parts: list[RenderableType] = []
    if width >= _WIDE:
        columns = ["points", "events", *(title for title, _ in figures.values())]
        kinds = {
            "class": "class",
            "particle": "particle",
            "points": "size of the event",
        }
        by = [kind for key, kind in kinds.items() if key in {row["by"] for row in rows}]
        table = _table(f"{name}, by {', '.join(by)}", columns)
        for row in rows:
            cells = [
                form.value(row[key][0])
                if key == "relative_error" and row[key][0] is not None
                else show_interval(row[key], write)
                for key, (_, write) in figures.items()
            ]
            table.add_row(row["name"], f"{row['events']:,}", *cells)
        return [Text(), table]
    for key, (title, write) in figures.items():
        table = _table(f"{name}: {title}", ["points", "figure"])
        for row in rows:
            table.add_row(row["name"], show_interval(row[key], write))
        parts += [Text(), table]
    return parts


def _lines(report: "Report", width: int, form: Forms) -> Table:
    lines = report.event_lines
    first = lines[0]
    unit = f" ({first['unit']})" if first["unit"] else ""
    columns = ["event", "points", f"A{unit}"]
    more = [*SOURCE_NAMES.items()] if "total" in first and width >= _WIDE else []
    columns += [shown for _, shown in more]
    changing = any("changing" in line for line in lines)
    columns += ["changing"] if changing else []
    over = "; the rest over O(3)" if more else ""
    table = _table(
        f"Events by A of {first['output']}, the largest first{over}", columns
    )
    for line in lines:
        cells = [line["label"], f"{line['points']:,}", form.value(line["error"])]
        cells += [form.value(line[name]) if name in line else "-" for name, _ in more]
        if changing:
            cells.append(_percent(line["changing"]) if "changing" in line else "-")
        # Labels are text, whatever they hold.
        table.add_row(*map(Text, cells), style="" if line["resolved"] else "bold red")
    return table


def _table(title: str, columns: list[str]) -> Table:
    table = Table(
        title=Text(title, style="bold"),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        show_edge=False,
    )
    for index, name in enumerate(columns):
        first = not index
        table.add_column(
            name,
            justify="left" if first else "right",
            overflow="fold",
            no_wrap=not first,
        )
    return table
