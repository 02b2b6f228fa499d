"""Tables of events for the terminal and the page: figures, sources, a list."""

from rich.text import Text

from symjax.report.event_summary import SOURCES
from symjax.report.formats import (
    format_count,
    format_fraction,
    format_percent,
    format_seconds,
    format_value,
    with_unit,
)
from symjax.report.layout import Display, Table
from symjax.report.schema import Report
from symjax.report.table_cells import Cell, Figure, Name, Number, Row

SOURCE_NAMES: dict[str, str] = dict(
    zip(SOURCES, ("network", "tokens", "voxels", "all"), strict=True)
)
"""What the sources of symmetry breaking are called in tables."""
SHARE_NAMES: dict[str, str] = {
    "changing": "labels that change",
    "accuracy": "accuracy of labels",
}
GROUP_NAMES: dict[str, str] = {"Oh": "O_h", "O(3)": "O(3)"}
SOURCES_TITLE = "Sources of symmetry breaking in class probabilities"
SOURCES_LEGEND = (
    "Root mean squares over points, classes and orientations. network: A with tokens "
    "frozen; tokens, voxels: changes caused by choosing tokens again and by placing "
    "the rotated points on voxels again; all: A with all three. Labels that change: "
    "points whose label is not the same at all orientations."
)


def event_tables(report: Report, display: Display) -> list[Table | Text | None]:
    """The tables that only reports of events have."""
    sources = sources_table(report)
    parts: list[Table | Text | None] = [*figure_tables(report), sources]
    if sources is not None:
        parts.append(Text(display.lines(SOURCES_LEGEND, 0), style="dim"))
    if len(report.event_lines) > 1:
        parts += [
            events_table(report, full=False),
            Text(display.lines(f"{interval_note(report)}.", 0), style="dim"),
        ]
    return parts


def interval_note(report: Report) -> str:
    """The meaning of the brackets, without a full stop."""
    return (
        f"In brackets: {report.event_summary.level:.0%} intervals over events "
        "(Student's t of ratios of sums over events), not over points or orientations"
    )


def figure_tables(report: Report) -> list[Table]:
    """A and B of every output by class, particle and size, with intervals."""
    kinds = {"class": "class", "particle": "particle", "points": "size of the event"}
    tables = []
    for name, groups in report.event_summary.outputs.items():
        unit = report.aggregate()[name].unit
        rows = []
        for index, group in enumerate(groups):
            at = ("events", "outputs", name, index)
            share = group.relative_error[0]
            cells: list[Cell] = [
                Name(group.name),
                Number(group.events, format_count, (*at, "events")),
                Figure(
                    group.equivariance_error,
                    format_value,
                    (*at, "equivariance_error"),
                ),
                Number(share, format_value, (*at, "relative_error", 0)),
                Figure(group.expected, format_fraction, (*at, "expected")),
            ]
            rows.append(Row(cells))
        known = {group.by for group in groups}
        by = ", ".join(kind for key, kind in kinds.items() if key in known)
        columns = ["points", "events", with_unit("A", unit), "A/RMS", "B expected"]
        tables.append(Table(f"{name}, by {by}", columns, rows))
    return tables


def sources_table(report: Report) -> Table | None:
    """The sources of symmetry breaking over each group, with intervals."""
    breaking = report.event_summary.breaking
    rows = []
    for name, shown in (SOURCE_NAMES | SHARE_NAMES).items():
        form = format_percent if name in SHARE_NAMES else format_value
        figures = [
            Figure(getattr(found, name), form, ("events", "breaking", group, name))
            for group, found in breaking.items()
        ]
        rows.append(Row([shown, *figures]))
    over = [
        f"{GROUP_NAMES[group]}, {found.num_elements} elements"
        for group, found in breaking.items()
    ]
    columns = ["source", *(GROUP_NAMES[group] for group in breaking)]
    title = f"{SOURCES_TITLE}: {'; '.join(over)}"
    return Table(title, columns, rows) if breaking else None


def events_table(report: Report, full: bool = True) -> Table:
    """One row for each event, the largest A first."""
    lines = report.event_lines
    sources = SOURCE_NAMES if any(line.event.breaking for line in lines) else {}
    shares = ["changing", *(["accuracy"] if full else [])]
    rows = []
    for index, event, output, resolved in lines:
        at = ("structures", index)
        cells: list[Cell] = [
            Name(event.label),
            Number(event.num_atoms, format_count, (*at, "num_atoms")),
            format_value(output.totals.equivariance_error),
            *([format_value(output.totals.relative_error)] if full else []),
        ]
        for number, part in enumerate(event.breaking):
            if part.group == "O(3)":
                over = (*at, "breaking", number)
                cells += [
                    Number(getattr(part, name), format_value, (*over, name))
                    for name in sources
                ]
                labels = (*over, "labels")
                cells += [
                    Number(getattr(part.labels, name), format_percent, (*labels, name))
                    for name in shares
                ]
        cells += [
            Number(getattr(event.timing, name), format_seconds, (*at, "timing", name))
            for name in (("compile_seconds", "evaluation_seconds") if full else ())
        ]
        rows.append(Row(cells, resolved))
    first = lines[0].output if lines else None
    columns = ["event", "points", with_unit("A", first.unit if first else "")]
    columns += ["A/RMS"] if full else []
    if sources:
        columns += [*sources.values(), *shares]
    columns += ["compiling", "evaluating"] if full else []
    title = f"Events by A of {first.name if first else ''}, the largest first"
    return Table(title + ("; sources over O(3)" if sources else ""), columns, rows)
