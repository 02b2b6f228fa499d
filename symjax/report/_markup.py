"""Elements of the page of a report: escaped text, units, cells, tables."""

import html
import re
from collections.abc import Iterable

from symjax._text import visible
from symjax.report.formats import with_symbols
from symjax.report.layout import Table
from symjax.report.schema import Report
from symjax.report.table_cells import Cell, Figure, Link, Name, Number, Unit

SCROLLS = '<p class="scrolls" hidden>Scroll sideways for more &rarr;</p>'
"""Hint above elements that are wider than the screen."""


def escape(value: object) -> str:
    """Text that is safe in elements and quoted attributes, with no invisible parts."""
    return html.escape(visible(value), quote=True)


def show_unit(unit: str) -> str:
    """A unit as HTML, empty for features."""
    base, _, power = with_symbols(unit).partition("^")
    return escape(base) + (f"<sup>{escape(power)}</sup>" if power else "")


def show(cell: Cell) -> str:
    """A cell as HTML; numbers of ``report.json`` with their path and all digits."""
    if isinstance(cell, Unit):
        return show_unit(cell) or "-"
    if isinstance(cell, Name):
        return _name(cell)
    if isinstance(cell, Link):
        return f'<a href="#{escape(cell.to)}">{_name(cell)}</a>'
    if isinstance(cell, Number):
        return _number(cell)
    if isinstance(cell, Figure):
        numbers = [
            Number(end, cell.form, (*cell.at, n) if cell.at else ())
            for n, end in enumerate(cell.ends)
        ]
        value, *ends = map(show, numbers)
        interval = f' <span class="soft">[{", ".join(ends)}]</span>'
        return value + interval if all(n.known for n in numbers) else value
    return escape(cell)


def _name(cell: Cell) -> str:
    """A name that may be broken between its parts on a narrow screen."""
    return re.sub("[./_]", r"\g<0><wbr>", escape(cell))


def pointer(at: Iterable[str | int]) -> str:
    """A path in ``report.json`` as a JSON pointer (RFC 6901)."""
    steps = (str(key).replace("~", "~0").replace("/", "~1") for key in at)
    return "".join(f"/{step}" for step in steps)


def _number(number: Number) -> str:
    shown = escape(number)
    if number.at and number.known:
        at = escape(pointer(number.at))
        shown = f'<data value="{number.value!r}" data-at="{at}">{shown}</data>'
    if number.bar and number.value is not None:
        width = f"{100 * min(max(number.value, 0.0), 1.0):.2f}%"
        shown += f' <span class="bar"><i style="width:{width}"></i></span>'
    return shown


def show_table(table: Table | None) -> str:
    """A table; empty if there is none or it has no rows."""
    if table is None or not table.rows:
        return ""
    caption = escape(with_symbols(table.title))
    head = ""
    for index, column in enumerate(table.columns):
        shown = escape(with_symbols(column))
        head += f'<th scope="col"{"" if index else " class=left"}>{shown}</th>'
    lines = []
    for row in table.rows:
        name, *cells = map(show, row.cells)
        line = f'<th scope="row">{name}</th>'
        line += "".join(f"<td>{cell}</td>" for cell in cells)
        lines.append(f"<tr{'' if row.good else ' class=bad'}>{line}</tr>")
    # A region that scrolls must be reachable from the keyboard; tables.js shows the
    # hint where it does.
    return (
        f'{SCROLLS}<div class="scroll tall" tabindex="0" role="region" '
        f'aria-label="{caption}">\n<table><caption>{caption}</caption>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n" + "\n".join(lines) + "\n</tbody>"
        "</table></div>"
    )


def select(label: str, name: str, options: Iterable[tuple[object, str]]) -> str:
    """A choice between values, each with the text that is shown for it."""
    items = "".join(
        f'<option value="{escape(value)}">{escape(shown)}</option>'
        for value, shown in options
    )
    return f'<label>{escape(label)} <select id="{name}">{items}</select></label>'


def folded(summary: str, table: Table) -> str:
    """A table that is shown on demand; empty if it has no rows."""
    shown = show_table(table)
    return shown and f"<details><summary>{summary}</summary>\n{shown}</details>"


def what_of(report: Report) -> str:
    """What was measured, in the plural."""
    return "events" if report.of_events else "structures"
