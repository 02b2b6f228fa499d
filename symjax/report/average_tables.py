"""What averages over rotations leave of the equivariance error, as text and as JSON."""

import dataclasses
from collections.abc import Mapping

from rich.console import Group, RenderableType

from symjax.metrics import AveragedError, ResponseSpectrum
from symjax.report.formats import format_value
from symjax.report.layout import Display, Row, make_table
from symjax.report.stored import (
    AnyNumbers,
    Count,
    Positive,
    Record,
    StoredAverage,
    Text,
)

Frontiers = Mapping[str, tuple[AveragedError, ...]]
"""For each output the averages that no cheaper one undercuts."""


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

    model: Text
    digest: str
    num_structures: Positive
    outputs: Mapping[Text, OutputAverages]
    enough: ChosenAverage | None = None


def averaging_tables(
    title: str,
    frontiers: Frontiers,
    spectra: Mapping[str, ResponseSpectrum],
    display: Display,
) -> RenderableType:
    """One table for each output, of the errors predicted from its spectrum.

    Example:
      >>> import numpy as np
      >>> from symjax.metrics import ResponseSpectrum, frontier
      >>> from symjax.report.average_tables import averaging_tables
      >>> from symjax.report.layout import Display
      >>> gram = tuple(np.zeros((2, 2 * l + 1, 2 * l + 1)) for l in range(3))
      >>> gram[1][0, 1, 1] = 4.0
      >>> one = ResponseSpectrum("energy", "eV", gram, 4.0, 1, 1e-12)
      >>> found = {"energy": frontier(one)}
      >>> tables = averaging_tables("model", found, {"energy": one}, Display(60, True))
      >>> tables.renderables[0].plain.splitlines()[-1].split()[:2]
      ['D2', '4']
    """
    tables: list[RenderableType] = []
    for name, errors in frontiers.items():
        spectrum = spectra[name]
        before = errors[0].error
        # Where A itself is round-off, averages differ by round-off.
        exact = before <= errors[0].uncertainty
        rows = []
        for one in errors[:1] if exact else errors:
            average = "as it is" if one.average == "none" else display.name(one.average)
            share = one.error / before if before > 0 else 0.0
            rows.append(
                Row(
                    [
                        average,
                        str(one.num_elements),
                        format_value(one.error),
                        format_value(one.uncertainty),
                        format_value(share),
                    ]
                )
            )
        tail = spectrum.tail / spectrum.variance if spectrum.variance > 0 else 0.0
        tables += [
            make_table(
                f"{display.name(title)}: {display.name(name)}, A after an average in "
                f"{display.unit(spectrum.unit)}",
                ["average", "elements", "A", "+-", "A / A as it is"],
                rows,
                display,
            ),
            display.lines(
                "This is round-off, or what the degrees do not tell from it."
                if exact
                else f"{format_value(100 * tail)} % of A squared lies above degree "
                f"{len(spectrum.gram) - 1}; an average may leave all of it."
            ),
            "",
        ]
    return Group(*tables)
