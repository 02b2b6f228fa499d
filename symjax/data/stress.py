"""Labels of stress: in one unit and sign, symmetric, of structures that have one.

Slabs and wires have the components within their periodic directions, over the volume of
the cell. What a strain across them says is left to the forces: without periods it only
moves atoms.
"""

import re
from collections.abc import Sequence
from typing import Any

import ase
import numpy as np
from jaxtyping import Float

from symjax.data.cells import onto_periodic, stress_volume
from symjax.data.structures import periodic_cell
from symjax.data.targets import read_values
from symjax.errors import ArgumentError, StructureError

LARGEST_STRESS = 3.0
"""Largest component in eV/angstrom^3, 480 GPa, more than in the core of the Earth.

A stress in GPa or kbar, or a virial in eV, is mostly larger.
"""

# Of the largest component; calculators print five digits and more.
_ASYMMETRY = 1e-3
_OTHER_UNITS = re.compile(r"(?:^|[^a-z])(gpa|mpa|kbar|kb|bar|pa)(?:$|[^a-z])")


def read_stress(
    frames: Sequence[ase.Atoms],
    field: str,
    factor: float,
    *,
    allow_missing: bool = False,
) -> list[Float[np.ndarray, "1 3 3 1"]]:
    """Reads the stress of structures, (1 / volume) dE / d(strain).

    Args:
      frames: The structures.
      field: Name of the label: matrices, or six numbers in Voigt's order xx, yy, zz,
        yz, xz, xy.
      factor: Unit of the label in eV/angstrom^3.
      allow_missing: Whether structures may lack it, or have none because they have no
        periodic direction or no volume.

    Returns:
      The stress of each, in eV/angstrom^3; NaN where it is not known. Components out of
      the plane of a slab, or across a wire, are 0 and do not count
      (:func:`symjax.training.batches.collate`).

    Raises:
      ArgumentError: The name says that it is a virial or in another unit, or no
        structure has it.
      StructureError: A structure lacks it or has no volume, or the value is not
        symmetric or too large to be a stress in this unit.
    """
    _check_name(field)
    values = []
    absent = 0
    for index, atoms in enumerate(frames):
        stored = atoms.info.get(field, getattr(atoms.calc, "results", {}).get(field))
        if stored is None and allow_missing:
            absent += 1
            values.append(np.full((1, 3, 3, 1), np.nan))
            continue
        if not stress_volume(atoms):
            if not allow_missing:
                raise _without_volume(index, atoms)
            values.append(np.full((1, 3, 3, 1), np.nan))
            continue
        value = factor * _matrix(atoms, field, index, stored, allow_missing)
        _check_value(value, f"structures[{index}].info[{field!r}]")
        if not np.all(atoms.pbc):
            within = np.asarray(onto_periodic(periodic_cell(atoms)), np.float64)
            value = within @ value @ within
        values.append(value[None, ..., None])
    if absent and absent == len(frames):
        raise ArgumentError(
            "stress",
            field,
            "no structure has such an entry",
            "Pass the key under which the file stores it, or leave stress out",
        )
    return values


def _check_name(field: str) -> None:
    lowered = field.lower()
    if "virial" in lowered:
        raise ArgumentError(
            "stress",
            field,
            "is a virial by its name, -volume times the stress",
            "Store -virial / volume in eV/angstrom^3 under the name of a stress",
        )
    unit = _OTHER_UNITS.search(lowered)
    if unit:
        raise ArgumentError(
            "stress",
            field,
            f"is in {unit[1]} by its name, not in the energy unit over the cube of the "
            "length unit",
            "Store it in eV/angstrom^3 (1 GPa is 0.0062415), tension positive",
        )


def _without_volume(index: int, atoms: ase.Atoms) -> StructureError:
    return StructureError(
        f"structures[{index}].pbc",
        atoms.pbc.tolist(),
        "has no periodic direction or its cell no volume, and so no stress that could "
        "be fitted",
        "Leave stress out of the targets, set allow_missing to fit that of the others, "
        "or give a slab the third vector of its cell",
    )


def _matrix(
    atoms: ase.Atoms, field: str, index: int, stored: Any, allow_missing: bool
) -> Float[np.ndarray, "3 3"]:
    size = np.size(stored) if stored is not None else 9
    shape = (6,) if size == 6 else (3, 3)
    try:
        (value,) = read_values([atoms], field, shape, allow_missing=allow_missing)
    except (ArgumentError, StructureError) as error:
        raise type(error)(
            error.argument.replace("structures[0]", f"structures[{index}]"),
            error.value,
            error.problem.replace("structures[0]", f"structures[{index}]"),
            error.remedy,
        ) from error
    if size == 6:
        xx, yy, zz, yz, xz, xy = value
        value = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    return value


def _check_value(value: Float[np.ndarray, "3 3"], name: str) -> None:
    size = float(np.nanmax(np.abs(value), initial=0.0))
    difference = float(np.nanmax(np.abs(value - value.T), initial=0.0))
    if difference > _ASYMMETRY * size:
        raise StructureError(
            name,
            value.round(6).tolist(),
            f"is not symmetric: components differ by {difference:.2g} from those "
            "mirrored at the diagonal, in eV/angstrom^3",
            "Check the order of its nine numbers; a Cauchy stress is symmetric",
        )
    if size > LARGEST_STRESS:
        raise StructureError(
            name,
            value.round(6).tolist(),
            f"is larger than {LARGEST_STRESS:g} eV/angstrom^3, {160.2 * size:.0f} GPa, "
            "and probably a virial or in GPa or kbar",
            "Store the stress in eV/angstrom^3, or name its units in energy_unit and "
            "length_unit",
        )
