"""Inputs of metatomic models beside positions and cell, from ASE structures.

Names, units and sample kinds are metatomic's; ``ase::`` marks those of its ASE engine
(metatomic-ase 0.1), which is followed here. Vectors rotate with the structure.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import ase
import numpy as np

from symjax.data.conditions import (
    check_conditions,
    spin_multiplicity,
    total_charge,
)
from symjax.errors import ModelError, StructureError
from symjax.so3.representations import PSEUDOVECTOR, VECTOR, Representation


class Given(NamedTuple):
    """An input of a model.

    Attributes:
      values: One number, or one of three components, for each sample.
      label: What metatomic calls its property.
      unit: Of the values; metatomic converts to what the model asks for.
      rotates: Representation of the components; None for scalars.
      per_atom: Whether samples are atoms rather than the structure.
      reads: Names of the arrays in ``atoms.arrays`` that it is read from.
    """

    values: np.ndarray
    label: str
    unit: str
    rotates: Representation | None
    per_atom: bool
    reads: tuple[str, ...] = ()

    def as_block(self, values: np.ndarray, dtype: Any, device: str) -> Any:
        """A ``TensorMap`` of one block: the values, or those of another orientation."""
        import torch
        from metatensor.torch import Labels, TensorBlock, TensorMap

        def labels(names: list[str], rows: Any) -> Any:
            return Labels(names, torch.as_tensor(rows, dtype=torch.int32)).to(device)

        count = len(values)
        if self.per_atom:
            samples = labels(["system", "atom"], [[0, i] for i in range(count)])
        else:
            samples = labels(["system"], [[0]])
        components = [labels(["xyz"], [[0], [1], [2]])] if values.ndim == 2 else []
        value = torch.tensor(values, dtype=dtype, device=device)[..., None]
        block = TensorBlock(value, samples, components, labels([self.label], [[0]]))
        made = TensorMap(labels(["_"], [[0]]), [block])
        made.set_info("unit", self.unit)
        return made


class _OfAtoms(NamedTuple):
    """A quantity of atoms that ASE knows."""

    array: str
    read: Callable[[ase.Atoms], np.ndarray]
    label: str
    unit: str
    rotates: Representation | None
    default: bool


# Masses default to those of the elements, tags to 0. Other missing arrays would be
# zeros that nobody has chosen, and are refused.
_CHARGES = _OfAtoms(
    *("initial_charges", ase.Atoms.get_initial_charges, "charge", "e", None, False)
)
_OF_ATOMS = {
    "mass": _OfAtoms("masses", ase.Atoms.get_masses, "mass", "u", None, True),
    "momentum": _OfAtoms(
        *("momenta", ase.Atoms.get_momenta, "momentum", "(eV*u)^(1/2)", VECTOR, False)
    ),
    "velocity": _OfAtoms(
        "momenta",
        ase.Atoms.get_velocities,
        "velocity",
        "(eV/u)^(1/2)",
        VECTOR,
        False,
    ),
    "charge": _CHARGES,
    "ase::initial_charges": _CHARGES,
    "ase::initial_magmoms": _OfAtoms(
        "initial_magmoms",
        ase.Atoms.get_initial_magnetic_moments,
        "magnetic_moment",
        "e * hbar / (2 * m_e)",
        PSEUDOVECTOR,
        False,
    ),
    "ase::tags": _OfAtoms("tags", ase.Atoms.get_tags, "tag", "", None, True),
}
_OF_STRUCTURES: dict[str, tuple[Callable[[ase.Atoms], int], str]] = {
    "charge": (total_charge, "e"),
    "spin_multiplicity": (spin_multiplicity, ""),
}
_SET = {
    "initial_charges": "atoms.set_initial_charges, in e",
    "momenta": "atoms.set_momenta or atoms.set_velocities",
    "initial_magmoms": "atoms.set_initial_magnetic_moments",
}


def given_input(name: str, request: Any, atoms: ase.Atoms) -> Given:
    """Reads an input of a model, by name, from a structure or its atoms.

    Raises:
      ModelError: The name is unknown.
      StructureError: The structure does not have it, or stores it ambiguously.
    """
    kind = request.sample_kind
    if kind == "atom" and name in _OF_ATOMS:
        return _of_atoms(name, atoms)
    if kind == "atom" and name.startswith("ase::arrays::"):
        array = name.removeprefix("ase::arrays::")
        return _number_of_atoms(array, atoms)
    if kind == "system" and name in _OF_STRUCTURES:
        check_conditions(atoms)
        read, unit = _OF_STRUCTURES[name]
        return Given(np.array([read(atoms)], float), name, unit, None, False)
    if kind == "system" and name.startswith("ase::info::"):
        return _of_info(name.removeprefix("ase::info::"), atoms)
    known = {"atom": [*_OF_ATOMS, "ase::arrays::NAME"]}
    known["system"] = [*_OF_STRUCTURES, "ase::info::NAME"]
    raise ModelError(
        "model",
        name,
        f"the model reads this input of each {kind}, which structures of ASE lack",
        f"Models that read {_listed(known)} can be measured",
    )


def _listed(known: dict[str, list[str]]) -> str:
    return " and ".join(f"of each {k}: {', '.join(v)}" for k, v in known.items())


def _of_atoms(name: str, atoms: ase.Atoms) -> Given:
    known = _OF_ATOMS[name]
    if not known.default and not atoms.has(known.array):
        raise StructureError(
            "atoms",
            atoms.get_chemical_formula(),
            f"has no {known.array.replace('_', ' ')}, which the model reads of each "
            f"atom (as {name!r})",
            f"Set them: {_SET[known.array]}",
        )
    values = np.array(known.read(atoms), float)
    rotates = known.rotates if values.ndim == 2 else None
    return Given(values, known.label, known.unit, rotates, True, (known.array,))


def _number_of_atoms(array: str, atoms: ase.Atoms) -> Given:
    if array not in atoms.arrays:
        raise StructureError(
            "atoms",
            atoms.get_chemical_formula(),
            f"has no array {array!r}, which the model reads of each atom",
            f"Set it: atoms.set_array({array!r}, values)",
        )
    values = atoms.arrays[array]
    if values.ndim != 1 or not np.issubdtype(values.dtype, np.number):
        raise StructureError(
            f"atoms.arrays[{array!r}]",
            f"{values.dtype} of shape {values.shape}",
            "is not one number per atom: how its components rotate is unknown",
            "Models that read one number of each atom can be measured",
        )
    return Given(values.astype(float), "_", "", None, True, (array,))


def _of_info(key: str, atoms: ase.Atoms) -> Given:
    value: object = atoms.info.get(key)
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise StructureError(
            f"atoms.info[{key!r}]",
            value,
            "is not a number, which the model needs",
            f"Set it: atoms.info[{key!r}] = 0.0, for instance",
        ) from error
    return Given(np.array([number]), "_", "", None, False)
