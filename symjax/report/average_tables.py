"""What averages over rotations leave of the equivariance error, as text and as JSON."""

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType

from symjax.metrics import AveragedError, ResponseSpectrum
from symjax.report.formats import format_value
from symjax.report.layout import Display, Row, make_table

Frontiers = Mapping[str, tuple[AveragedError, ...]]
"""For each output the averages that no cheaper one undercuts."""


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


def averaging_json(
    model: str,
    digest: str,
    num_structures: int,
    frontiers: Frontiers,
    spectra: Mapping[str, ResponseSpectrum],
) -> dict[str, Any]:
    """The same as plain data; ``digest`` is that of the model."""
    return {
        "model": model,
        "digest": digest,
        "num_structures": num_structures,
        "outputs": {
            name: {
                "unit": spectra[name].unit,
                "max_degree": len(spectra[name].gram) - 1,
                "averages": [
                    {
                        "average": one.average,
                        "num_elements": one.num_elements,
                        "error": one.error,
                        "uncertainty": one.uncertainty,
                    }
                    for one in errors
                ],
            }
            for name, errors in frontiers.items()
        },
    }
