"""The equivariance error after averages over rotations, as text and as JSON."""

import dataclasses
from collections.abc import Container, Mapping

from rich.text import Text

from symjax.metrics import ResponseSpectrum
from symjax.report.formats import format_bound, format_count, format_value
from symjax.report.layout import Display, Table
from symjax.report.stored import AnyNumbers, Count, Positive, Record, StoredAverage
from symjax.report.stored import Text as FileText
from symjax.report.table_cells import Cell, Name, Number, Row, Unit
from symjax.report.worth import Response, is_bound, known_frontier


@dataclasses.dataclass(frozen=True)
class OutputAverages(Record):
    """The error of one output after averages, in its unit.

    Attributes:
      unit: Unit of the errors.
      max_degree: Largest degree of the measured spectrum.
      averages: Averages that no cheaper one undercuts, the cheapest first.
    """

    unit: str
    max_degree: Count
    averages: tuple[StoredAverage, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class ChosenAverage(Record):
    """An average that reaches the requested errors.

    Attributes:
      average: Its name.
      elements: Elements of O(3), shape ``(elements, 3, 3)``.
      weights: Their weights, which sum to 1.
    """

    average: str
    elements: AnyNumbers
    weights: AnyNumbers


@dataclasses.dataclass(frozen=True)
class AveragesFile(Record):
    """What ``symjax averages --json`` writes.

    Attributes:
      model: Name of the model.
      digest: Its digest.
      num_structures: Number of structures that were measured.
      outputs: Errors of each output, by name.
      enough: The cheapest average that reaches the requested errors; None if none does
        or none were requested.
    """

    model: FileText
    digest: str
    num_structures: Positive
    outputs: Mapping[FileText, OutputAverages]
    enough: ChosenAverage | None = None


def averages_table(
    title: str,
    spectra: Mapping[str, Response],
    unresolved: Container[str] = (),
    path: str = "",
) -> Table:
    """A after each average that no cheaper one undercuts, for every output.

    Where A is not larger than its uncertainty, only an upper bound of it is known, and
    is written as ``<bound``.

    Args:
      title: Title of the table.
      spectra: What is known about each output, by name.
      unresolved: Outputs whose rows are marked as not to be trusted.
      path: Key under which ``report.json`` holds the numbers; empty if it does not.
    """
    rows = []
    for name, spectrum in spectra.items():
        errors = known_frontier(spectrum)
        before = errors[0].error
        for index, left in enumerate(errors):
            size, error, uncertainty = (
                (path, name, index, field) if path else ()
                for field in ("num_elements", "error", "uncertainty")
            )
            known, form = left.error, format_value
            if is_bound(left):
                known, form, error = left.largest, format_bound, ()
            cells: list[Cell] = [
                Name(name),
                "as it is" if left.average == "none" else Name(left.average),
                Number(left.num_elements, format_count, size),
                Number(known, form, error),
                Number(left.uncertainty, format_value, uncertainty),
                Unit(spectrum.unit),
                Number(known / before if before > 0 else None, form),
            ]
            rows.append(Row(cells, name not in unresolved))
    columns = ["output", "average", "elements", "A", "uncertainty", "unit"]
    return Table(title, [*columns, "of A as it is"], rows, ("average", "unit"))


def averages_text(
    title: str, spectra: Mapping[str, ResponseSpectrum], display: Display
) -> Text:
    """The table, and for each output how much lies above the measured degrees."""
    text = averages_table(f"{title}: A after averages", spectra).text(display)
    for name, spectrum in spectra.items():
        first = known_frontier(spectrum)[0]
        tail = spectrum.tail / spectrum.variance if spectrum.variance > 0 else 0.0
        line = f"{display.name(name)}: " + (
            "A is not larger than its uncertainty: it may be round-off."
            if is_bound(first)
            else f"{format_value(100 * tail)} % of A squared lies above degree "
            f"{len(spectrum.gram) - 1}, and may remain after an average."
        )
        text.append(f"\n{display.lines(line, 2)}")
    return text
