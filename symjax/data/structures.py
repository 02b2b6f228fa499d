"""Checks structures before anything is computed from them."""

import numbers
from collections.abc import Sequence
from typing import Any

import ase
import ase.build
import ase.io
import numpy as np
from ase.data import chemical_symbols
from ase.geometry import minkowski_reduce
from jaxtyping import Float, Int

from symjax.data._pairs import find_pairs
from symjax.data.conditions import spin_multiplicity, structure_name, total_charge
from symjax.errors import ArgumentError, StructureError

MINIMUM_DISTANCE = 1e-3
"""Atoms closer than this, in angstrom, are considered duplicates.

The shortest bond, H-H, has 0.74 angstrom. At a distance of 1e-3 angstrom, float32
positions 100 angstrom from the origin (spacing 7.6e-6) determine the direction of an
edge only to one per cent.
"""

MAXIMUM_COORDINATE = 1e6
"""Largest coordinate in angstrom (0.1 mm); float32 resolves 0.06 angstrom there."""

# Volume of the unit vectors along the cell below which they count as linearly
# dependent: far below that of the most acute cells in use, far above rounding.
_SINGULAR = 1e-6


def periodic_cell(atoms: ase.Atoms) -> Float[np.ndarray, "3 3"]:
    """Returns the cell with zero rows for non-periodic directions.

    Args:
      atoms: A structure.

    Returns:
      Cell vectors as rows in angstrom, shape ``(3, 3)``, float64.

    Example:
      >>> import ase.build
      >>> from symjax.data import periodic_cell
      >>> slab = ase.build.fcc111("Cu", (1, 1, 2), vacuum=5.0)
      >>> periodic_cell(slab).any(axis=1)
      array([ True,  True, False])
    """
    return np.where(atoms.pbc[:, None], atoms.cell[:], 0.0).astype(np.float64)


def listed_structures(structures: Any) -> list[ase.Atoms]:
    """One structure or several as a list; raises if there are none."""
    remedy = "Pass an ase.Atoms or a list of them (symjax.data.read_structures reads)"
    if isinstance(structures, ase.Atoms):
        return [structures]
    if isinstance(structures, str | bytes) or not isinstance(structures, Sequence):
        problem = f"must be an ase.Atoms or a list, not {type(structures).__name__}"
        raise ArgumentError("structures", structures, problem, remedy)
    if len(structures) == 0:
        raise ArgumentError("structures", structures, "is empty", remedy)
    return list(structures)


def check_structure(
    atoms: ase.Atoms,
    known_species: Sequence[int] | None = None,
    index: int | None = None,
) -> None:
    """Raises if models cannot be evaluated on a structure.

    Args:
      atoms: The structure. Left-handed cells, atoms outside the cell and partial
        periodicity are accepted.
      known_species: Atomic numbers that the model was trained on; ``None`` accepts
        all.
      index: Number of the structure in the list it comes from, for the message.

    Raises:
      ArgumentError: ``atoms`` is not an ``ase.Atoms``, or ``known_species`` does not
        hold atomic numbers.
      StructureError: There are no atoms; positions or cell are not finite, or exceed
        ``MAXIMUM_COORDINATE``; a species is not an element, or unknown to the model;
        cell vectors along periodic directions are missing or linearly dependent; two
        atoms, or an atom and an image, are closer than ``MINIMUM_DISTANCE``; the charge
        is not an integer, or the spin multiplicity not a positive integer.

    Example:
      >>> import ase.build
      >>> from symjax.data import check_structure
      >>> check_structure(ase.build.molecule("H2O"), known_species=[1, 8])
      >>> check_structure(ase.build.molecule("H2O"), known_species=[1, 6])
      Traceback (most recent call last):
      ...
      symjax.errors.StructureError: atoms.numbers='O': the model does not know this...
    """
    check_without_distances(atoms, known_species, index)
    positions = atoms.positions.astype(np.float64)
    pairs = find_pairs(positions, periodic_cell(atoms), atoms.pbc, MINIMUM_DISTANCE)
    check_distances(pairs.first, pairs.second, pairs.distances, index)


def check_without_distances(
    atoms: ase.Atoms,
    known_species: Sequence[int] | None = None,
    index: int | None = None,
) -> None:
    """The checks of :func:`check_structure` that need no neighbor list."""
    name = structure_name(index)
    if not isinstance(atoms, ase.Atoms):
        raise ArgumentError(
            name,
            atoms,
            f"must be an ase.Atoms, not {type(atoms).__name__}",
            "Read files with symjax.data.read_structures, or build an ase.Atoms",
        )
    if len(atoms) == 0:
        raise StructureError(
            name, atoms, "has no atoms", "Remove empty structures from the input"
        )
    _check_positions(atoms, name)
    _check_species(atoms, known_species, name)
    _check_cell(atoms, name)
    total_charge(atoms, index)
    spin_multiplicity(atoms, index)


def check_distances(
    first: Int[np.ndarray, "pairs"],
    second: Int[np.ndarray, "pairs"],
    distances: Float[np.ndarray, "pairs"],
    index: int | None = None,
) -> None:
    """Raises if any of these pairs is closer than ``MINIMUM_DISTANCE``."""
    if len(distances) == 0:
        return
    closest = int(np.argmin(distances))
    # Not "< ...: raise": NaN must not pass.
    if distances[closest] >= MINIMUM_DISTANCE:
        return
    i, j = int(first[closest]), int(second[closest])
    raise StructureError(
        f"{structure_name(index)}.positions",
        (i, j),
        f"atoms {i} and {j} are at the same place ({distances[closest]:.1e} angstrom "
        f"apart, less than {MINIMUM_DISTANCE})",
        "Remove the duplicate, or check that positions are in angstrom",
    )


def checked_species(known_species: Sequence[int] | None) -> frozenset[int] | None:
    """Returns the atomic numbers that a model knows as a set; raises if invalid."""
    if known_species is None:
        return None
    remedy = "Pass atomic numbers such as [1, 6, 8], or None to accept all elements"
    # A string is a sequence too, and the error would name a letter.
    if isinstance(known_species, str | bytes) or not (
        isinstance(known_species, Sequence) or getattr(known_species, "ndim", 0) == 1
    ):
        raise ArgumentError(
            "known_species", known_species, "must be a sequence of integers", remedy
        )
    for number in known_species:
        if not isinstance(number, numbers.Integral) or isinstance(number, bool):
            raise ArgumentError(
                "known_species", number, "must hold integers only", remedy
            )
        if not 1 <= number < len(chemical_symbols):
            raise ArgumentError(
                "known_species", int(number), "is not an atomic number", remedy
            )
    if len(known_species) == 0:
        raise ArgumentError("known_species", [], "is empty", remedy)
    return frozenset(int(number) for number in known_species)


def _check_positions(atoms: ase.Atoms, name: str) -> None:
    for i in np.flatnonzero(~np.isfinite(atoms.positions).all(axis=1))[:1]:
        raise StructureError(
            f"{name}.positions[{i}]",
            atoms.positions[i].tolist(),
            "must be finite",
            "Check the calculation or file that this structure comes from; "
            "a relaxation or dynamics run has probably diverged",
        )
    for i in np.flatnonzero((np.abs(atoms.positions) > MAXIMUM_COORDINATE).any(1))[:1]:
        raise StructureError(
            f"{name}.positions[{i}]",
            atoms.positions[i].tolist(),
            f"is farther than {MAXIMUM_COORDINATE:g} angstrom from the origin",
            "Centre the structure, for instance with atoms.center() or atoms.wrap(), "
            "and check that positions are in angstrom",
        )


def _check_species(
    atoms: ase.Atoms, known_species: Sequence[int] | None, name: str
) -> None:
    valid = (atoms.numbers >= 1) & (atoms.numbers < len(chemical_symbols))
    for i in np.flatnonzero(~valid)[:1]:
        raise StructureError(
            f"{name}.numbers[{i}]",
            int(atoms.numbers[i]),
            "is not an element (0 is ASE's placeholder 'X')",
            "Remove dummy atoms, or set atoms.numbers to the elements meant",
        )
    known = checked_species(known_species)
    if known is None:
        return
    unknown = sorted(set(atoms.numbers.tolist()) - known)
    if unknown:
        symbols = ", ".join(chemical_symbols[number] for number in unknown)
        knows = ", ".join(chemical_symbols[number] for number in sorted(known))
        raise StructureError(
            f"{name}.numbers",
            symbols,
            "the model does not know "
            + ("this element" if len(unknown) == 1 else "these elements")
            + f"; it knows {knows}",
            "Leave out structures with other elements, or use a model trained on them",
        )


def _check_cell(atoms: ase.Atoms, name: str) -> None:
    cell = atoms.cell[:]
    if not np.isfinite(cell).all():
        raise StructureError(
            f"{name}.cell",
            cell.tolist(),
            "must be finite",
            "Set atoms.cell to finite vectors in angstrom",
        )
    rows = cell[atoms.pbc]
    lengths = np.linalg.norm(rows, axis=1)
    for axis in np.flatnonzero(atoms.pbc)[lengths == 0][:1]:
        raise StructureError(
            f"{name}.cell[{axis}]",
            cell[axis].tolist(),
            f"direction {axis} is periodic (pbc={atoms.pbc.tolist()}) but has no "
            "cell vector",
            "Set atoms.cell, or atoms.pbc = False for a molecule",
        )
    for axis in np.flatnonzero(atoms.pbc)[lengths > MAXIMUM_COORDINATE][:1]:
        raise StructureError(
            f"{name}.cell[{axis}]",
            cell[axis].tolist(),
            f"is longer than {MAXIMUM_COORDINATE:g} angstrom",
            "Set atoms.pbc = False along this direction, or give cell vectors in "
            "angstrom",
        )
    if len(rows) and periodic_volume(rows / lengths[:, None]) < _SINGULAR:
        raise StructureError(
            f"{name}.cell",
            cell.tolist(),
            f"the cell is singular: its vectors along periodic directions "
            f"(pbc={atoms.pbc.tolist()}) are linearly dependent",
            "Set atoms.cell to linearly independent vectors",
        )
    # A strongly skewed cell can have short lattice vectors: reduce it. This is done
    # here because a neighbor list of such a cell takes long.
    shortest = min(lengths, default=np.inf)
    if shortest >= MINIMUM_DISTANCE:  # ASE's integers overflow below
        reduced = minkowski_reduce(periodic_cell(atoms), atoms.pbc)[0][atoms.pbc]
        shortest = min(np.linalg.norm(reduced, axis=1), default=np.inf)
    if shortest < MINIMUM_DISTANCE:
        raise StructureError(
            f"{name}.cell",
            cell.tolist(),
            f"puts a periodic image {shortest:.1e} angstrom from every atom, less "
            f"than {MINIMUM_DISTANCE}",
            "Give cell vectors in angstrom",
        )


def periodic_volume(rows: Float[np.ndarray, "periodic 3"]) -> float:
    """Volume, area or length spanned by up to three vectors; 1 for none."""
    # Singular values rather than det(rows @ rows.T), which squares rounding errors.
    return float(np.prod(np.linalg.svd(rows, compute_uv=False)))
