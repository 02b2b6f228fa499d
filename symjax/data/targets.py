"""Reads energies, forces and other reference values stored with structures."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import ase
import numpy as np
from jaxtyping import Float

from symjax.data.structures import listed_structures
from symjax.data.units import conversion, measures
from symjax.errors import ArgumentError, StructureError

# Spellings of units in names of fields that symjax.data.units does not know. Not "au",
# which may be gold.
_IN_NAMES = {
    **dict.fromkeys(("kcal", "kcalmol"), "kcal/mol"),
    **dict.fromkeys(("kj", "kjmol"), "kJ/mol"),
    **dict.fromkeys(("eh", "hartrees"), "Hartree"),
}
# Other words of two letters are symbols or initials rather than units: "Pa", "MA".
_SHORT = ("ev", "ha", "eh", "ry", "nm", "kj")


class Targets(NamedTuple):
    """Reference values of structures.

    Attributes:
      energies: Energies in eV, one per structure; ``None`` if not read.
      forces: Forces in eV/angstrom, concatenated over structures as in a graph;
        ``None`` if not read.

    Example:
      >>> import numpy as np
      >>> from symjax.data import Targets
      >>> Targets(energies=np.zeros(2), forces=None).energies.shape
      (2,)
    """

    energies: Float[np.ndarray, "structures"] | None
    forces: Float[np.ndarray, "atoms 3"] | None


def read_targets(
    structures: ase.Atoms | Sequence[ase.Atoms],
    energy_key: str | None = "energy",
    forces_key: str | None = "forces",
    energy_unit: str = "eV",
    length_unit: str = "angstrom",
) -> Targets:
    """Reads energies and forces of structures, in eV and eV/angstrom.

    Values are looked up in ``atoms.info`` and ``atoms.arrays`` first, then in the
    stored results of ``atoms.calc``, where ASE puts ``energy`` and ``forces`` of an
    extended XYZ file. Nothing is calculated.

    Args:
      structures: One structure or several.
      energy_key: Name of the energy; ``None`` to read no energies.
      forces_key: Name of the forces; ``None`` to read no forces.
      energy_unit: Unit of the stored energies, such as eV, kcal/mol, kJ/mol or Hartree
        (:func:`symjax.data.units.conversion`). ASE does not convert labels of extended
        XYZ files.
      length_unit: Unit of length of the stored forces, such as angstrom or bohr; they
        are in ``energy_unit / length_unit``. Positions are always in angstrom.

    Returns:
      Energies and forces in float64.

    Raises:
      ArgumentError: A unit is unknown, a structure has no such key, or the name of the
        key indicates another unit, an energy per atom or a gradient.
      StructureError: A value has the wrong shape or is not finite, or a stored result
        belongs to a geometry that has changed since.

    Example:
      >>> import ase.build
      >>> import numpy as np
      >>> from symjax.data import read_targets
      >>> water = ase.build.molecule("H2O")
      >>> water.info["energy"] = -76.4
      >>> targets = read_targets(water, forces_key=None, energy_unit="Hartree")
      >>> print(targets.energies.round(2))
      [-2078.95]
    """
    energy = conversion(energy_unit, "eV", "energy_unit")
    length = conversion(length_unit, "angstrom", "length_unit")
    if energy_key is not None:
        check_name("energy_key", energy_key, energy_unit)
    if forces_key is not None:
        check_name("forces_key", forces_key, energy_unit, length_unit)
    energies, forces = [], []
    for k, atoms in enumerate(listed_structures(structures)):
        if not isinstance(atoms, ase.Atoms):
            problem = f"must be an ase.Atoms, not {type(atoms).__name__}"
            remedy = "Read files with symjax.data.read_structures"
            raise ArgumentError(f"structures[{k}]", atoms, problem, remedy)
        if energy_key is not None:
            values = look_up("energy_key", energy_key, atoms, atoms.info, k)
            energies.append(checked_values(values, f"structures[{k}]", energy_key, ()))
        if forces_key is not None:
            values = look_up("forces_key", forces_key, atoms, atoms.arrays, k)
            shape = (len(atoms), 3)
            forces.append(checked_values(values, f"structures[{k}]", forces_key, shape))
    return Targets(
        None if energy_key is None else np.stack(energies) * energy,
        None if forces_key is None else np.concatenate(forces) * (energy / length),
    )


def read_values(
    structures: Sequence[ase.Atoms],
    field: str,
    shape: tuple[int, ...],
    *,
    per_atom: bool = False,
    allow_missing: bool = False,
) -> list[Float[np.ndarray, "..."]]:
    """Reads one property of structures or of atoms, of any shape.

    Values are looked up as in :func:`read_targets`, in ``atoms.info`` for structures
    and in ``atoms.arrays`` for atoms, and reshaped in C order.

    Args:
      structures: The structures.
      field: Name of the property.
      shape: Shape of the value of one structure or atom.
      per_atom: Whether each atom has a value.
      allow_missing: Whether values may be NaN, or missing from some structures but not
        from all; missing values are returned as NaN.

    Returns:
      For each structure a float64 array of shape ``shape``, or ``(atoms, *shape)``, in
      the stored unit.

    Raises:
      ArgumentError: A structure has no such property.
      StructureError: A value has the wrong shape or is not finite, or a stored result
        belongs to a geometry that has changed since.

    Example:
      >>> import ase.build
      >>> from symjax.data import read_values
      >>> water = ase.build.molecule("H2O")
      >>> water.info["dipole"] = [0.0, 0.0, 0.4]
      >>> print(read_values([water], "dipole", (3, 1))[0].shape)
      (3, 1)
    """
    values = []
    absent: list[ArgumentError] = []
    for k, atoms in enumerate(structures):
        stored = atoms.arrays if per_atom else atoms.info
        try:
            value = look_up("field", field, atoms, stored, k)
        except ArgumentError as error:
            if not allow_missing:
                raise
            absent.append(error)
            value = np.full((len(atoms), *shape) if per_atom else shape, np.nan)
        rows = (len(atoms),) if per_atom else ()
        values.append(
            checked_values(
                value,
                f"structures[{k}]",
                field,
                (*rows, *shape),
                (*rows, math.prod(shape)),
                allow_missing=allow_missing,
            )
        )
    if absent and len(absent) == len(structures):
        # No structure has it: a mistyped key rather than missing values.
        raise absent[0]
    return values


def check_name(argument: str, field: str, *units: str) -> None:
    """Raises if a field's name says another unit, an energy per atom or a gradient.

    ``units`` are that of the values; for forces, those of energy and of length.
    """
    words = re.findall("[a-z]+", field.lower())
    for word in (word for word in words if len(word) > 2 or word in _SHORT):
        named = _IN_NAMES.get(word, word)
        for unit in filter(None, units):
            if measures(named, unit) and abs(conversion(named, unit) - 1) > 0.1:
                problem = f"says {word!r}, but is read in {unit}"
                remedy = "Set the unit to that of the file, or rename the field"
                raise ArgumentError(argument, field, problem, remedy)
    energy = measures(units[0], "eV")
    if energy and len(units) == 1 and "peratom" in "".join(words):
        problem = "is an energy per atom by its name"
        remedy = "Store the energy of the whole structure"
        raise ArgumentError(argument, field, problem, remedy)
    if len(units) == 2 and any(word.startswith("grad") for word in words):
        problem = "is a gradient by its name, minus the forces"
        raise ArgumentError(argument, field, problem, "Store the forces")


def look_up(
    argument: str, key: str, atoms: ase.Atoms, stored: Mapping[str, Any], k: int
) -> Any:
    """A stored value of structure number k, or a result of its calculator."""
    if key in stored:
        return stored[key]
    results = getattr(atoms.calc, "results", {})
    if key not in results:
        raise ArgumentError(
            argument,
            key,
            f"structures[{k}] has no such entry; it has "
            f"{sorted(map(str, {**atoms.info, **atoms.arrays, **results}))}",
            "Pass the key under which the file stores it, or None to leave it out",
        )
    # ASE keeps the results of a calculator when the atoms move on.
    changes: list[str] = getattr(atoms.calc, "check_state", lambda atoms: [])(atoms)
    if changes:
        raise StructureError(
            f"structures[{k}].calc.results['{key}']",
            results[key],
            f"belongs to another geometry: {', '.join(changes)} changed since",
            "Read targets before changing structures, or store the values in "
            "atoms.info and atoms.arrays",
        )
    return results[key]


def checked_values(
    values: Any,
    name: str,
    key: str,
    *shapes: tuple[int, ...],
    allow_missing: bool = False,
) -> Float[np.ndarray, "..."]:
    """Values as float64 in the first shape, up to axes of length 1."""
    name = f"{name}[{key!r}]"
    try:
        array = np.asarray(values, np.float64)
    except (TypeError, ValueError) as error:
        raise StructureError(
            name, values, "must be numeric", "Correct the file, or pass another key"
        ) from error
    if not any(_long_axes(array.shape) == _long_axes(shape) for shape in shapes):
        raise StructureError(
            name,
            values,
            f"has shape {array.shape} instead of {' or '.join(map(str, shapes))}",
            "Correct the file, or pass another key",
        )
    bad = np.isinf(array) if allow_missing else ~np.isfinite(array)
    if bad.any():
        raise StructureError(
            name,
            float(array[bad].flat[0]),
            "must be finite",
            "Leave out this structure; its calculation has probably failed",
        )
    return array.reshape(shapes[0])


def _long_axes(shape: tuple[int, ...]) -> list[int]:
    return [length for length in shape if length != 1]
