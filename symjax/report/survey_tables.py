"""The tables of a survey, for a terminal of any width and for its file."""

import dataclasses
import functools
import io

from rich.console import Group, RenderableType
from rich.text import Text

from symjax.metrics import frontier
from symjax.metrics.pooling import QUESTIONS
from symjax.report.formats import format_value
from symjax.report.layout import Display, Table
from symjax.report.survey_text import (
    SurveyReport,
    headline,
    main_output,
    show_interval,
    size_ratio,
    worst,
)
from symjax.report.table_cells import Name, Row, Unit
from symjax.report.tables import print_text


def survey_tables(report: SurveyReport, display: Display) -> RenderableType:
    """The tables for a terminal or a file, to be printed with ``soft_wrap``."""
    rows = []
    for name in report.names:
        data, population = (
            show_interval(report.pool.error(name, of=of)) for of in QUESTIONS
        )
        ratio = size_ratio(report, name)
        relative = "-" if ratio is None else format_value(ratio.value)
        unit = report.outputs[name].unit
        rows.append(Row([Name(name), Unit(unit), data, population, relative]))
    columns = ["output", "unit", "of this data set", "of its population", "A / RMS"]
    title = "Equivariance error A, with 95 % intervals"
    parts: list[RenderableType] = [
        Text(display.lines(f"Survey of {display.name(report.model.name)}", 0), "bold"),
        Text(display.lines(headline(report), 0)),
        Text(),
        Table(title, columns, rows, columns[1:]).text(display),
    ]
    if any(row.cells[-1] == "-" for row in rows):
        note = "- an energy has no size: where its zero lies is a convention"
        parts.append(Text(display.lines(note, 2)))
    after = [
        Row(
            [
                Name(name),
                each.average,
                str(each.num_elements),
                format_value(each.error),
                format_value(each.uncertainty),
                Unit(response.unit),
            ]
        )
        for name, response in report.responses.items()
        for each in frontier(response)
    ]
    if len(after) > len(report.responses):
        title = "What averages leave of A of this data set"
        columns = ["output", "average", "elements", "A", "uncertainty", "unit"]
        parts += [
            Text(),
            Table(title, columns, after, ("average", "unit")).text(display),
        ]
    listed = worst(report)
    if listed:
        ranked = main_output(report.pool, report.outputs)
        unit = report.outputs[ranked].unit
        title = f"Largest A of {ranked}{f' in {unit}' if unit else ''}, measured again"
        again = [
            Row(
                [
                    Name(each.label),
                    format_value(each.first),
                    format_value(each.again),
                    format_value(each.error) if each.error == each.error else "-",
                ]
            )
            for each in listed
        ]
        columns = ["structure", "first", "again", "standard error"]
        parts += [Text(), Table(title, columns, again).text(display)]
    for label, message in report.failed.items():
        line = f"failed: {display.name(label)}: {display.name(message)}"
        parts.append(Text(display.lines(line, 4)))
    return Group(*parts)


def survey_text(report: SurveyReport, width: int | None = None) -> str:
    """The tables as plain text, as wide as they need by default."""
    out = io.StringIO()
    print_text(functools.partial(_of_width, report, width), out, width)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def _of_width(
    report: SurveyReport, width: int | None, display: Display
) -> RenderableType:
    return survey_tables(report, dataclasses.replace(display, width=width))
