"""Pieces of the page of a report: escaped text, units, cells, tables."""

import html
from collections.abc import Iterable, Sequence

from symjax._text import visible
from symjax.report.formats import with_symbols
from symjax.report.layout import Table
from symjax.report.schema import Report
from symjax.report.table_cells import Cell, Figure, LayerName, Link, Number, Unit

SCROLLS = '<p class="scrolls" hidden>Scroll sideways for more &rarr;</p>'
"""Hint above what is wider than the screen."""


def escape(value: object) -> str:
    """Text that is safe in elements and in quoted attributes, and seen as it is."""
    return html.escape(visible(value), quote=True)


def show_unit(unit: str) -> str:
    """A unit as HTML, empty for features."""
    base, _, power = with_symbols(unit).partition("^")
    return escape(base) + (f"<sup>{escape(power)}</sup>" if power else "")


def show(cell: Cell) -> str:
    """A cell as HTML; a number of ``report.json`` with its path and in full."""
    if isinstance(cell, Unit):
        return show_unit(cell) or "-"
    if isinstance(cell, LayerName):
        return escape(cell).replace(".", ".<wbr>")
    if isinstance(cell, Link):
        return f'<a href="#{escape(cell.to)}">{escape(cell)}</a>'
    if isinstance(cell, Number):
        return _number(cell)
    if isinstance(cell, Figure):
        value, *ends = (
            show(Number(end, cell.form, (*cell.at, n) if cell.at else ()))
            for n, end in enumerate(cell.ends)
        )
        interval = f' <span class="soft">[{", ".join(ends)}]</span>'
        return value if None in cell.ends else value + interval
    return escape(cell)


def _number(number: Number) -> str:
    shown = escape(number)
    if number.at and number.value is not None:
        steps = [str(key).replace("~", "~0").replace("/", "~1") for key in number.at]
        at = escape("/" + "/".join(steps))
        shown = f'<data value="{number.value!r}" data-at="{at}">{shown}</data>'
    if number.bar and number.value is not None:
        width = f"{100 * min(max(number.value, 0.0), 1.0):.2f}%"
        shown += f' <span class="bar"><i style="width:{width}"></i></span>'
    return shown


def show_table(table: Table | None) -> str:
    """A table; empty if there is none, or nothing in it."""
    if table is None:
        return ""
    rows = [([show(cell) for cell in row.cells], row.good) for row in table.rows]
    columns = [escape(with_symbols(column)) for column in table.columns]
    return make_table(with_symbols(table.title), columns, rows)


def make_table(
    caption: str, columns: Sequence[str], rows: Iterable[tuple[Sequence[str], bool]]
) -> str:
    """A table; cells are HTML, the first of a row names it, False marks a bad row."""
    head = "".join(
        f'<th scope="col"{"" if index else " class=left"}>{column}</th>'
        for index, column in enumerate(columns)
    )
    lines = []
    for (name, *cells), good in rows:
        row = f'<th scope="row">{name}</th>'
        row += "".join(f"<td>{cell}</td>" for cell in cells)
        lines.append(f"<tr{'' if good else ' class=bad'}>{row}</tr>")
    if not lines:
        return ""
    # A region that scrolls must be reachable from the keyboard; tables.js shows the
    # hint where it does.
    return (
        f'{SCROLLS}<div class="scroll tall" tabindex="0" role="region" '
        f'aria-label="{escape(caption)}">\n<table><caption>{escape(caption)}</caption>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n" + "\n".join(lines) + "\n</tbody>"
        "</table></div>"
    )


def what_of(report: Report) -> str:
    """What was measured, in the plural."""
    return "events" if report.of_events else "structures"
