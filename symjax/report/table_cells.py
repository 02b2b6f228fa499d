"""Cells and rows of tables, the same for a terminal and for a page."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

Form = Callable[[Any], str]


class Name(str):
    """A cell with a name that comes from a file or a model."""


class LayerName(Name):
    """A cell with the name of a layer, which may be shortened."""


class Unit(str):
    """A cell with a unit."""


@dataclasses.dataclass(frozen=True)
class Number:
    """A cell with a number.

    Attributes:
      value: The number; None or NaN where it is not known.
      form: How it is written.
      at: Path of its field in ``report.json``; empty where it has none.
      bar: Whether a page also draws it, a fraction, as a bar.
    """

    value: float | None
    form: Form
    at: tuple[str | int, ...] = ()
    bar: bool = False

    @property
    def known(self) -> bool:
        """Whether there is a number."""
        return self.value is not None and not math.isnan(self.value)

    def __str__(self) -> str:
        return self.form(self.value) if self.known else "-"


@dataclasses.dataclass(frozen=True)
class Figure:
    """A cell with a number and, where it is known, its interval.

    Attributes:
      ends: Value, lower and upper end.
      form: How they are written.
      at: Path of the list in ``report.json``.
    """

    ends: Sequence[float | None]
    form: Form
    at: tuple[str | int, ...] = ()

    def __str__(self) -> str:
        value, low, high = (Number(end, self.form) for end in self.ends)
        return f"{value} [{low}, {high}]" if low.known and high.known else str(value)


@dataclasses.dataclass(frozen=True)
class Link:
    """A cell with a name that links to another place of the page.

    Attributes:
      name: The name.
      to: Identifier of the place.
    """

    name: str
    to: str

    def __str__(self) -> str:
        return self.name


Cell = str | Number | Figure | Link


@dataclasses.dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
      cells: The first names the row.
      good: Whether its numbers can be trusted; other rows are red.
    """

    cells: Sequence[Cell]
    good: bool = True
