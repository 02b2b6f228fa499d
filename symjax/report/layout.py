"""Tables as text: nothing is cut; rows that are too wide become stacked lines."""

import dataclasses
import textwrap
from collections.abc import Sequence

from rich.cells import cell_len
from rich.text import Text

from symjax._text import visible
from symjax.report.formats import with_symbols
from symjax.report.shortening import shorten_all
from symjax.report.table_cells import Cell, LayerName, Row, Unit

# Names of layers are not shortened further: their rows are stacked.
_SHORTEST_NAME = 14
_GAP = "  "
_LOUD = "bold red"


@dataclasses.dataclass(frozen=True)
class Display:
    r"""The terminal or file that text is written for.

    Attributes:
      width: Number of columns; None for as many as a table needs.
      ascii_only: Whether it can only show ASCII.
    """

    width: int | None = 80
    ascii_only: bool = False

    def name(self, text: str) -> str:
        """A name from a file or a model, with what cannot be shown escaped."""
        shown = visible(text)
        if self.ascii_only:
            return shown.encode("ascii", "backslashreplace").decode("ascii")
        return shown

    def unit(self, text: str) -> str:
        """A unit; a dash where there is none."""
        shown = self.name(text) or "-"
        return shown if self.ascii_only else with_symbols(shown)

    def cell(self, cell: Cell) -> str:
        """A cell of a table."""
        return self.unit(cell) if isinstance(cell, Unit) else self.name(str(cell))

    def lines(self, text: str, indent: int = 12) -> str:
        """A line that is broken between words, with an indent for further lines."""
        width = self.width or 80
        return textwrap.fill(
            text,
            width,
            subsequent_indent=" " * min(indent, width // 4),
            break_long_words=False,
            break_on_hyphens=False,
        )


@dataclasses.dataclass(frozen=True)
class Table:
    """A table for the terminal and the page.

    Attributes:
      title: Its title.
      columns: Names of the columns; the first is aligned to the left.
      rows: Rows with one cell for each column.
      left: Names of further columns that are aligned to the left.

    Example:
      >>> from symjax.report.table_cells import Number, Row
      >>> from symjax.report.layout import Display, Table
      >>> rows = [Row(["energy", Number(0.00137, str)]), Row(["forces", "-"])]
      >>> print(Table("Outputs", ["output", "A"], rows).text(Display(12, True)).plain)
      Outputs
      energy
        A 0.00137
      forces
        A -
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Row]
    left: Sequence[str] = ()

    def fits(self, display: Display) -> bool:
        """Whether its columns fit side by side."""
        rows = _shown(self.rows, display)
        return (
            display.width is None or _table_width(self.columns, rows) <= display.width
        )

    def text(self, display: Display) -> Text:
        """The table for a terminal; names of layers are shortened to fit."""
        columns = [display.name(column) for column in self.columns]
        rows = _shown(self.rows, display)
        first = [row.cells[0] for row in self.rows]
        if display.width is not None and any(isinstance(c, LayerName) for c in first):
            # Width beside the numbers and the gap before them.
            numbers = [Row(row.cells[1:]) for row in rows]
            left = display.width - _table_width(columns[1:], numbers) - len(_GAP)
            if left >= _SHORTEST_NAME:
                names = shorten_all([str(row.cells[0]) for row in rows], left)
                rows = [
                    Row([name, *row.cells[1:]], row.good)
                    for name, row in zip(names, rows, strict=True)
                ]
        text = Text()
        text.append(display.lines(display.name(self.title), 2), "bold")
        if display.width is not None and _table_width(columns, rows) > display.width:
            for row in rows:
                style = "" if row.good else _LOUD
                text.append(f"\n{row.cells[0]}", style or "bold")
                pairs = zip(columns[1:], map(str, row.cells[1:]), strict=True)
                lines = [""]
                for pair in (f"{_GAP}{key} {cell}" for key, cell in pairs if cell):
                    if lines[-1] and cell_len(lines[-1] + pair) > display.width:
                        lines.append("")
                    lines[-1] += pair
                text.append(
                    "".join(f"\n{display.lines(line, 4)}" for line in lines), style
                )
            return text
        widths = _widths(columns, rows)

        def line(cells: Sequence[Cell]) -> str:
            parts: list[str] = []
            for name, cell, width in zip(columns, map(str, cells), widths, strict=True):
                pad = " " * (width - cell_len(cell))
                first = name == columns[0] and not parts
                parts.append(cell + pad if first or name in self.left else pad + cell)
            return _GAP.join(parts).rstrip()

        rule = "-" if display.ascii_only else "\N{BOX DRAWINGS LIGHT HORIZONTAL}"
        text.append(f"\n{line(columns)}\n{rule * _table_width(columns, rows)}")
        for row in rows:
            text.append(f"\n{line(row.cells)}", "" if row.good else _LOUD)
        return text


def _shown(rows: Sequence[Row], display: Display) -> list[Row]:
    return [Row([display.cell(cell) for cell in row.cells], row.good) for row in rows]


def _table_width(columns: Sequence[str], rows: Sequence[Row]) -> int:
    """Number of columns that a table takes side by side."""
    return sum(_widths(columns, rows)) + len(_GAP) * (len(columns) - 1)


def _widths(columns: Sequence[str], rows: Sequence[Row]) -> list[int]:
    lines = [columns, *(row.cells for row in rows)]
    return [max(cell_len(str(line[i])) for line in lines) for i in range(len(columns))]
