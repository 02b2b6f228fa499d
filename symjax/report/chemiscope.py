"""Export of a survey to chemiscope, a viewer for atomistic data sets."""

from pathlib import Path
from typing import Any

import ase
import numpy as np

from symjax._text import visible
from symjax.errors import ArgumentError, needs_extra
from symjax.report._markup import escape
from symjax.report.storage import write_atomically
from symjax.report.survey_text import SurveyReport, headline, signed_root

# Radius in angstrom of the surroundings that are drawn around a chosen atom.
_AROUND = 3.5


def find_chemiscope() -> Any:
    """Imports chemiscope; raises ArgumentError if it is not installed."""
    with needs_extra("chemiscope", "chemiscope", True, ArgumentError):
        import chemiscope
    return chemiscope


def write_chemiscope(report: SurveyReport, path: Path) -> None:
    """Writes A of every output by structure, and of per-atom outputs also by atom.

    Estimates of A^2 are unbiased and may be negative; A then has a negative sign, as in
    ``survey.csv``. Outputs that a structure does not have are NaN, which the viewer
    hides. The number of atoms and, if there are forces, their root mean square are
    written too.

    Args:
      report: The survey.
      path: The file, whose name ends with ``.json.gz``.

    Raises:
      ArgumentError: The package chemiscope is not installed.
      ReportError: The file cannot be written.
    """
    chemiscope, pool = find_chemiscope(), report.pool
    structures = []
    for label in pool.labels:
        about = report.structures[label]
        atoms = ase.Atoms(
            about.numbers, about.positions, cell=about.cell, pbc=about.periodic
        )
        structures.append(atoms)
    properties: dict[str, dict[str, Any]] = {
        "structure": _values("structure", list(map(visible, pool.labels))),
        "number of atoms": _values("structure", pool.sizes.astype(float)),
    }
    for name in report.own:
        output = report.outputs[name]
        of = visible(f"A of {name}")
        about_it = "equivariance error, noisy: from a few elements of O(3)"
        values = [signed_root(value) for value in pool.by_item(name)]
        properties[of] = _values("structure", values, output.unit, about_it)
        if name in pool.samples:
            parts = zip(pool.samples[name], pool.sizes, strict=True)
            squares = np.concatenate(
                [np.full(size, np.nan) if own is None else own for own, size in parts]
            )
            atomic = [signed_root(value) for value in squares]
            properties[f"{of}, atom"] = _values("atom", atomic, output.unit, about_it)
    if (sizes := report.force_sizes) is not None:
        unit = report.outputs["forces"].unit
        properties["RMS force"] = _values("structure", sizes, unit)
    by_atom = any(values["target"] == "atom" for values in properties.values())
    environments = [
        (index, atom, _AROUND)
        for index, size in enumerate(pool.sizes)
        for atom in range(size)
    ]

    def write(part: Path) -> None:
        # The name decides whether it is compressed.
        named = part.with_name(part.name + ".json.gz")
        chemiscope.write_input(
            str(named),
            structures=structures,
            properties=properties,
            environments=environments if by_atom else None,
            metadata={
                # Unlike other texts, this one is shown as HTML.
                "name": f"Survey of {escape(report.model.name)}",
                "description": headline(report),
            },
        )
        named.replace(part)

    write_atomically(path, write)


def _values(
    target: str, values: Any, unit: str = "", description: str = ""
) -> dict[str, Any]:
    found: dict[str, Any] = {"target": target, "values": np.asarray(values)}
    if unit:
        found["units"] = unit
    if description:
        found["description"] = description
    return found
