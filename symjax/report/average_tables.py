"""What averages over rotations leave of the equivariance error, as text and as JSON."""

import dataclasses
from collections.abc import Container, Mapping

from rich.text import Text

from symjax.metrics import ResponseSpectrum
from symjax.report.formats import format_count, format_value
from symjax.report.layout import Display, Table
from symjax.report.stored import AnyNumbers, Count, Positive, Record, StoredAverage
from symjax.report.stored import Text as FileText
from symjax.report.table_cells import Cell, Name, Number, Row, Unit
from symjax.report.worth import Response, known_frontier


@dataclasses.dataclass(frozen=True)
class OutputAverages(Record):
    """What averages leave of the error of one output, in its unit."""

    unit: str
    max_degree: Count
    averages: tuple[StoredAverage, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class ChosenAverage(Record):
    """An average that is enough: its name, elements of O(3), and weights of sum 1."""

    average: str
    elements: AnyNumbers
    weights: AnyNumbers


@dataclasses.dataclass(frozen=True)
class AveragesFile(Record):
    """What ``symjax averages --json`` writes.

    Attributes:
      model: Name of the model.
      digest: Its digest.
      num_structures: Structures that were measured.
      outputs: By name.
      enough: The average that is enough; None unless asked for, or if none is.
    """

    model: FileText
    digest: str
    num_structures: Positive
    outputs: Mapping[FileText, OutputAverages]
    enough: ChosenAverage | None = None


def averages_table(
    title: str, spectra: Mapping[str, Response], unresolved: Container[str] = ()
) -> Table:
    """A after the averages that no cheaper one undercuts, of every output.

    Example:
      >>> import numpy as np
      >>> from symjax.metrics import ResponseSpectrum
      >>> from symjax.report.average_tables import averages_table
      >>> from symjax.report.layout import Display
      >>> gram = tuple(np.zeros((2, 2 * l + 1, 2 * l + 1)) for l in range(3))
      >>> gram[1][0, 1, 1] = 4.0
      >>> one = ResponseSpectrum("energy", "eV", gram, 4.0, 1, 1e-12)
      >>> text = averages_table("model", {"energy": one}).text(Display(80, True))
      >>> text.plain.splitlines()[-1].split()[:3]
      ['energy', 'D2', '4']
    """
    rows = []
    for name, spectrum in spectra.items():
        errors = known_frontier(spectrum)
        before = errors[0].error
        for index, one in enumerate(errors):
            at = ("averages", name, index)
            cells: list[Cell] = [
                Name(name),
                "as it is" if one.average == "none" else Name(one.average),
                Number(one.num_elements, format_count, (*at, "num_elements")),
                Number(one.error, format_value, (*at, "error")),
                Number(one.uncertainty, format_value, (*at, "uncertainty")),
                Unit(spectrum.unit),
                Number(one.error / before if before > 0 else 0.0, format_value),
            ]
            rows.append(Row(cells, name not in unresolved))
    columns = ["output", "average", "elements", "A", "uncertainty", "unit"]
    return Table(title, [*columns, "of A as it is"], rows, ("average", "unit"))


def averages_text(
    title: str, spectra: Mapping[str, ResponseSpectrum], display: Display
) -> Text:
    """The table with what it cannot say of each output."""
    text = averages_table(f"{title}: A after averages", spectra).text(display)
    for name, spectrum in spectra.items():
        first = known_frontier(spectrum)[0]
        tail = spectrum.tail / spectrum.variance if spectrum.variance > 0 else 0.0
        line = f"{display.name(name)}: " + (
            "this is round-off, or what the degrees do not tell from it."
            if first.error <= first.uncertainty
            else f"{format_value(100 * tail)} % of A squared lies above degree "
            f"{len(spectrum.gram) - 1}; an average may leave all of it."
        )
        text.append(f"\n{display.lines(line, 2)}")
    return text
