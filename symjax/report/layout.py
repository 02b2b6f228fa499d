"""Tables of text that are never cut: rows that do not fit are stacked."""

import dataclasses
import textwrap
from collections.abc import Sequence

from rich.cells import cell_len
from rich.text import Text

from symjax._text import visible

_GAP = "  "
_LOUD = "bold red"


@dataclasses.dataclass(frozen=True)
class Display:
    r"""What a page of text is written on.

    Attributes:
      width: Number of columns; None for as many as a table needs.
      ascii_only: Whether other characters cannot be shown.

    Example:
      >>> from symjax.report.layout import Display
      >>> Display(80, ascii_only=True).name("h\xf6he")
      'h\\xf6he'
    """

    width: int | None = 80
    ascii_only: bool = False

    def name(self, text: str) -> str:
        """A name from a file or a model, as it can be shown."""
        shown = visible(text)
        if self.ascii_only:
            return shown.encode("ascii", "backslashreplace").decode("ascii")
        return shown

    def unit(self, text: str) -> str:
        """A unit; a dash where there is none."""
        shown = self.name(text) or "-"
        return shown if self.ascii_only else shown.replace("angstrom", "\xc5")

    def lines(self, text: str, indent: int = 12) -> str:
        """A line broken between words, further ones indented."""
        width = self.width or 80
        return textwrap.fill(
            text,
            width,
            subsequent_indent=" " * min(indent, width // 4),
            break_long_words=False,
            break_on_hyphens=False,
        )


@dataclasses.dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
      cells: Texts, the first names the row.
      good: Whether its numbers can be trusted; others are printed in red.
    """

    cells: Sequence[str]
    good: bool = True


def shorten(name: str, width: int) -> str:
    """A name shortened in the middle.

    Args:
      name: The name.
      width: Largest number of characters, at least 5.

    Returns:
      The name, or its ends around three dots.

    Example:
      >>> from symjax.report.layout import shorten
      >>> shorten("gnn_layers.0.trans.layers.1_node", 24)
      'gnn_layers...ers.1_node'
    """
    if len(name) <= width:
        return name
    tail = (width - 3 + 1) // 2
    head = width - 3 - tail
    # Dots of the name beside the three would be read as more of them.
    return name[:head].rstrip(".") + "..." + name[len(name) - tail :].lstrip(".")


def shorten_all(names: Sequence[str], width: int) -> list[str]:
    """Names shortened in the middle, or whole where two would look the same.

    Args:
      names: The names.
      width: Largest number of characters.

    Returns:
      As many names.

    Example:
      >>> from symjax.report.layout import shorten_all
      >>> shorten_all(["a" * 9 + "1" + "b" * 9, "a" * 9 + "2" + "b" * 9], 12)
      ['aaaaaaaaa1bbbbbbbbb', 'aaaaaaaaa2bbbbbbbbb']
    """
    short = [shorten(name, max(width, 5)) for name in names]
    return short if len(set(short)) == len(set(names)) else list(names)


def table_width(columns: Sequence[str], rows: Sequence[Row]) -> int:
    """Number of columns that a table takes side by side."""
    return sum(_widths(columns, rows)) + len(_GAP) * (len(columns) - 1)


def _widths(columns: Sequence[str], rows: Sequence[Row]) -> list[int]:
    lines = [columns, *(row.cells for row in rows)]
    return [max(cell_len(line[i]) for line in lines) for i in range(len(columns))]


def make_table(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Row],
    display: Display,
    left: Sequence[str] = (),
) -> Text:
    """A table, or its rows as stacked lines where it is too wide.

    Args:
      title: Its title.
      columns: Names of the columns; the first is aligned left.
      rows: Rows with as many cells.
      display: What it is written on.
      left: Names of further columns that are aligned left.

    Returns:
      Text without a last line feed; no cell is ever cut or broken.

    Example:
      >>> from symjax.report.layout import Display, Row, make_table
      >>> rows = [Row(["energy", "0.00137"]), Row(["forces", "1.5e-05"])]
      >>> print(make_table("Outputs", ["output", "A"], rows, Display(12, True)).plain)
      Outputs
      energy
        A  0.00137
      forces
        A  1.5e-05
    """
    text = Text()
    text.append(display.lines(title, 2), "bold")
    if display.width is not None and table_width(columns, rows) > display.width:
        keys = columns[1:]
        longest = max(map(cell_len, keys), default=0)
        for row in rows:
            style = "" if row.good else _LOUD
            text.append(f"\n{row.cells[0]}", style or "bold")
            for key, cell in zip(keys, row.cells[1:], strict=True):
                if cell:
                    pad = " " * (longest - cell_len(key))
                    text.append(f"\n  {key}{pad}  {cell}", style)
        return text
    widths = _widths(columns, rows)

    def line(cells: Sequence[str]) -> str:
        parts: list[str] = []
        for name, cell, width in zip(columns, cells, widths, strict=True):
            pad = " " * (width - cell_len(cell))
            first = name == columns[0] and not parts
            parts.append(cell + pad if first or name in left else pad + cell)
        return _GAP.join(parts).rstrip()

    rule = "-" if display.ascii_only else "\N{BOX DRAWINGS LIGHT HORIZONTAL}"
    text.append(f"\n{line(columns)}\n{rule * table_width(columns, rows)}")
    for row in rows:
        text.append(f"\n{line(row.cells)}", "" if row.good else _LOUD)
    return text
