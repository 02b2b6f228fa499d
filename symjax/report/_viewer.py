"""Structures on the page of a report: the picture, and plain data for its script."""

import itertools
from typing import Any

import numpy as np
from ase.data import chemical_symbols, covalent_radii
from scipy.spatial import cKDTree

from symjax.report._markup import escape, select, show
from symjax.report.formats import format_value, with_symbols
from symjax.report.schema import AtomErrors, Report
from symjax.report.table_cells import Number

# Bonds are drawn up to this multiple of the sum of two covalent radii.
_BOND = 1.2
# Larger structures cannot be read on a screen, and would make the page heavy.
_MOST_ATOMS = 2000


def viewer_data(report: Report, most: int) -> list[dict[str, Any]]:
    """The first structures that can be drawn.

    Args:
      report: The report.
      most: Largest number of structures.

    Returns:
      For each structure its label, index in the report, symbols, positions relative to
      the middle (angstrom), radii, bonds, edges of the cell, and errors by output.
    """
    units = {name: leaf.unit for name, leaf in report.aggregate().items()}
    entries: list[dict[str, Any]] = []
    for index, structure in enumerate(report.structures):
        if len(entries) == most:
            break
        atoms = structure.atoms
        if atoms is None or not atoms.errors or len(atoms.numbers) > _MOST_ATOMS:
            continue
        if structure.failure is None:
            entry = {"label": structure.label, "index": index, **_geometry(atoms)}
            entry["outputs"] = [
                {
                    "name": name,
                    "unit": with_symbols(units.get(name, "")),
                    "errors": np.asarray(errors).tolist(),
                }
                for name, errors in atoms.errors.items()
            ]
            entries.append(entry)
    return entries


def _geometry(atoms: AtomErrors) -> dict[str, Any]:
    numbers = list(atoms.numbers)
    corners = np.array(list(itertools.product((0, 1), repeat=3))) @ atoms.cell
    cell = [*corners] if np.all(np.any(atoms.cell != 0, axis=1)) else []
    points = np.array([*atoms.positions, *cell])
    middle = (points.min(axis=0) + points.max(axis=0)) / 2
    r = atoms.positions - middle
    radii = covalent_radii[numbers]
    pairs = cKDTree(r).query_pairs(2 * _BOND * radii.max(), output_type="ndarray")
    first, second = pairs[:, 0], pairs[:, 1]
    near = np.linalg.norm(r[first] - r[second], axis=1) < _BOND * (
        radii[first] + radii[second]
    )
    # Corners of the cell that differ in one coefficient are joined.
    edges = [(a, b) for a in range(8) for b in range(a) if (a ^ b).bit_count() == 1]
    box = [
        [(c - middle).tolist() for c in (cell[a], cell[b])] for a, b in edges if cell
    ]
    return {
        "symbols": [chemical_symbols[number] for number in numbers],
        "positions": r.round(4).tolist(),
        "radii": radii.tolist(),
        "extent": float(np.linalg.norm(points - middle, axis=1).max()),
        "bonds": pairs[near].tolist(),
        "box": box,
    }


def atoms_viewer(atoms: list[dict[str, Any]]) -> str:
    """The section with the picture and the errors of the first structure."""
    if not atoms:
        return ""
    choices = ""
    if len(atoms) > 1:
        labels = (entry["label"] for entry in atoms)
        choices += select("Structure", "atoms-structure", enumerate(labels))
    outputs = dict.fromkeys(o["name"] for entry in atoms for o in entry["outputs"])
    if len(outputs) > 1:
        choices += select("Output", "atoms-output", ((name, name) for name in outputs))
    first = atoms[0]
    output = first["outputs"][0]
    at = ("structures", first["index"], "atoms", "errors", output["name"])
    rows = "\n".join(
        f'<tr><th scope="row">{escape(symbol)} {index}</th>'
        f"<td>{show(Number(error, format_value, (*at, index)))}</td><td></td></tr>"
        for index, (symbol, error) in enumerate(
            zip(first["symbols"], output["errors"], strict=True)
        )
    )
    return f"""<p>Equivariance error A of <b>{escape(", ".join(outputs))}</b>: how far
the prediction for each atom, rotated back, is from its mean over O(3).</p>
<div class="controls">{choices}</div>
<div class="viewer">
<figure class="needs-js"><canvas id="atoms-canvas" tabindex="0" role="application"
aria-label="The structure, colored by error. Arrow keys rotate it, plus and minus zoom,
n and p step through the atoms" aria-describedby="atoms-readout"></canvas>
<figcaption class="soft">Drag to rotate; keys: arrows, + and &minus;, n and p.
<span class="scale">0 <span class="heat"></span> <span id="atoms-high"></span></span>
</figcaption>
<p class="readout" id="atoms-readout" role="status"></p></figure>
<div class="list scroll tall" tabindex="0" role="region" aria-label="Errors of atoms">
<table><thead><tr><th scope="col" class="left">atom</th>
<th scope="col">A (<span id="atoms-unit">{escape(output["unit"])}</span>)</th>
<td></td></tr>
</thead><tbody id="atoms-rows">
{rows}
</tbody></table></div>
</div>"""
