"""The tables of a survey, the same for a terminal, a file and a page."""

from rich.console import Group, RenderableType
from rich.text import Text

from symjax.metrics.pooling import Interval
from symjax.report.average_tables import averages_table
from symjax.report.formats import format_count, format_value, with_unit
from symjax.report.layout import Display, Table
from symjax.report.survey_schema import SurveyedOutput
from symjax.report.survey_text import SurveyReport, headline
from symjax.report.table_cells import Cell, Figure, Link, Name, Number, Row, Unit
from symjax.report.tables import plain_text

NO_SIZE = "no ratio for an energy, whose zero is a convention"


def survey_tables(report: SurveyReport, display: Display) -> RenderableType:
    """The tables for a terminal or a file, to be printed with ``soft_wrap``."""
    parts: list[RenderableType] = [
        Text(display.lines(f"Survey of {display.name(report.model.name)}", 0), "bold"),
        Text(display.lines(headline(report), 0)),
        Text(),
        errors_table(report, full=False).text(display),
    ]
    if any(output.relative is None for output in report.file.outputs):
        parts.append(Text(display.lines(f"- {NO_SIZE}", 2)))
    for table in (left_by_averages(report), worst_table(report, full=False)):
        if table is not None:
            parts += [Text(), table.text(display)]
    for label, message in report.failed.items():
        line = f"failed: {display.name(label)}: {display.name(message)}"
        parts.append(Text(display.lines(line, 4)))
    return Group(*parts)


def survey_text(report: SurveyReport) -> str:
    """The tables as plain text, as wide as necessary."""
    return plain_text(survey_tables(report, Display(None)))


def _interval(interval: Interval) -> Figure:
    """A figure with its interval as a cell."""
    return Figure((interval.value, interval.low, interval.high), format_value)


def errors_table(report: SurveyReport, full: bool = True) -> Table:
    """A of every output and layer, with intervals; in full also with the RMS."""
    rows = []
    for output in report.file.outputs:
        relative = None if output.relative is None else output.relative.population
        cells: list[Cell] = [
            Name(output.name),
            Unit(output.unit),
            _interval(output.A.data),
            _interval(output.A.population),
        ]
        if full:
            cells.append(Number(output.root_mean_square, format_value))
            cells.append("-" if relative is None else _interval(relative))
        else:
            value = None if relative is None else relative.value
            cells.append(Number(value, format_value))
        rows.append(Row(cells))
    columns = ["output", "unit", "of this data set", "of its population"]
    columns += ["RMS"] if full else []
    columns += ["A / RMS"]
    title = "Equivariance error A, with 95 % intervals"
    return Table(title, columns, rows, columns[1:])


def left_by_averages(report: SurveyReport) -> Table | None:
    """A after averages; None if the random elements determine none that reduces it."""
    title = "A of this data set after averages"
    table = averages_table(title, report.responses)
    return table if len(table.rows) > len(report.responses) else None


def worst_table(report: SurveyReport, full: bool = True) -> Table | None:
    """The largest A, on new elements; in full with formulas and links to drawings."""
    worst = report.file.worst
    if not worst.structures:
        return None
    rows = []
    for each in worst.structures:
        cells: list[Cell] = [Name(each.label)]
        if full:
            link = Link(each.label, anchor(report, each.label))
            cells = [link, report.structures[each.label].formula]
        values = (each.first, each.again, each.error)
        rows.append(Row([*cells, *(Number(value, format_value) for value in values)]))
    unit = report.outputs[worst.output].unit
    ranked = f"{worst.output} in {unit}" if unit else worst.output
    title = f"Largest A of {ranked}, measured again"
    columns = ["structure", *(["formula"] if full else [])]
    return Table(title, [*columns, "first", "again", "standard error"], rows)


def anchor(report: SurveyReport, label: str) -> str:
    """Identifier of the drawing of a structure on the page."""
    return f"structure-{report.pool.labels.index(label)}"


def parts_table(report: SurveyReport, output: SurveyedOutput) -> Table:
    """A of one output by element, size and composition."""
    parts = [
        *((part.name, part) for part in output.by_element),
        *((f"{part.name} atoms", part) for part in output.by_size),
        *((part.name, part) for part in output.by_formula),
    ]
    rows = [
        Row(
            [
                name,
                _interval(getattr(part.A, report.found.over.of)),
                Number(part.structures, format_count),
            ]
        )
        for name, part in parts
    ]
    columns = ["part", with_unit("A", output.unit), "structures"]
    return Table(f"A of {output.name}", columns, rows)
