"""Reads stress labels, and checks their unit, sign and symmetry.

Slabs and wires have the components within their periodic directions, divided by the
volume of the cell. A strain along a non-periodic direction only displaces atoms, which
the forces describe.
"""

import math
import re
from collections.abc import Sequence

import ase
import numpy as np
from ase.stress import voigt_6_to_full_3x3_stress
from jaxtyping import Float

from symjax.data.cells import onto_periodic, stress_volume
from symjax.data.structures import periodic_cell
from symjax.data.targets import checked_values, look_up
from symjax.errors import ArgumentError, StructureError

LARGEST_STRESS = 3.0
"""Largest accepted component in eV/angstrom^3, 480 GPa: more than in the Earth's core.

Stresses in GPa or kbar, and virials in eV, are usually larger.
"""

# Relative to the largest component; calculators print at least five digits.
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
      field: Name of the label, a 3 x 3 matrix or six numbers in Voigt order xx, yy, zz,
        yz, xz, xy.
      factor: Factor that converts the label to eV/angstrom^3.
      allow_missing: Whether to accept structures without the label, and structures
        without periodic directions or without a volume.

    Returns:
      One array per structure in eV/angstrom^3; NaN if the stress is unknown. Components
      along non-periodic directions of slabs and wires are 0;
      :func:`symjax.training.batches.collate` masks them.

    Raises:
      ArgumentError: The name indicates a virial or another unit, or no structure has
        the label.
      StructureError: A structure has no label or no volume, or the value is asymmetric
        or too large to be a stress in this unit.
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
                raise StructureError(
                    f"structures[{index}].pbc",
                    atoms.pbc.tolist(),
                    "has no periodic direction or its cell no volume, so that no "
                    "stress can be fitted",
                    "Remove stress from the targets, set allow_missing to skip such "
                    "structures, or give a slab the third vector of its cell",
                )
            values.append(np.full((1, 3, 3, 1), np.nan))
            continue
        value = factor * _matrix(atoms, field, index, allow_missing)
        _check_value(value, f"structures[{index}].info[{field!r}]")
        if not np.all(atoms.pbc):
            within = np.asarray(onto_periodic(periodic_cell(atoms)))
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
            f"is in {unit[1]} by its name, not in energy unit / length unit^3",
            "Store it in eV/angstrom^3 (1 GPa is 0.0062415), tension positive",
        )


def _matrix(
    atoms: ase.Atoms, field: str, index: int, allow_missing: bool
) -> Float[np.ndarray, "3 3"]:
    stored = look_up("field", field, atoms, atoms.info, index)
    shape = (6,) if np.size(stored) == 6 else (3, 3)
    value = checked_values(
        stored,
        f"structures[{index}]",
        field,
        shape,
        (math.prod(shape),),
        allow_missing=allow_missing,
    )
    if shape == (6,):
        value = voigt_6_to_full_3x3_stress(value)
    return value


def _check_value(value: Float[np.ndarray, "3 3"], name: str) -> None:
    size = float(np.nanmax(np.abs(value), initial=0.0))
    difference = float(np.nanmax(np.abs(value - value.T), initial=0.0))
    if difference > _ASYMMETRY * size:
        raise StructureError(
            name,
            value.round(6).tolist(),
            f"is not symmetric: it differs from its transpose by {difference:.2g} "
            "eV/angstrom^3",
            "Check the order of its nine numbers; a Cauchy stress is symmetric",
        )
    if size > LARGEST_STRESS:
        raise StructureError(
            name,
            value.round(6).tolist(),
            f"is larger than {LARGEST_STRESS:g} eV/angstrom^3, {160.2 * size:.0f} GPa, "
            "and is probably a virial, or in GPa or kbar",
            "Store the stress in eV/angstrom^3, or set energy_unit and length_unit to "
            "the units of the file",
        )
