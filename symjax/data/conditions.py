"""Reads the total charge and spin of structures, and warns of those that are not read.

Packages store them under different keys. Models that are conditioned on charge and spin
raise an error for a key that is not read; for other models there is a warning that the
value has no effect.
"""

import re
import warnings
from collections.abc import Sequence

import ase
import numpy as np

from symjax.errors import StructureError

CHARGE_KEYS = ("charge", "total_charge")
"""Keys of ``atoms.info`` for the total charge in e."""

SPIN_KEYS = ("spin_multiplicity", "multiplicity")
"""Keys of ``atoms.info`` for the spin multiplicity 2S+1."""

ATOM_ARRAYS = ("initial_charges", "initial_magmoms")
"""ASE's arrays of atomic charges and magnetic moments."""

# Keys of other packages, lowercase letters only.
_CHARGES = frozenset(
    (
        *("charge", "totalcharge", "netcharge", "systemcharge", "chargetotal", "qtot"),
        *("molcharge", "molecularcharge", "moleculecharge", "formalcharge", "chrg"),
    )
)
_SPINS = frozenset(
    (
        *("spin", "totalspin", "spinmultiplicity", "multiplicity", "mult"),
        *("totalmultiplicity", "uhf", "nuhf", "nunpaired", "unpairedelectrons"),
        "numunpairedelectrons",
    )
)


def total_charge(atoms: ase.Atoms, index: int | None = None) -> int:
    """Total charge in e from ``atoms.info["charge"]`` or ``"total_charge"``, else 0."""
    return _integer_info(atoms, _key(atoms, CHARGE_KEYS, index), 0, index)


def spin_multiplicity(atoms: ase.Atoms, index: int | None = None) -> int:
    """2S+1 from ``atoms.info["spin_multiplicity"]`` or ``"multiplicity"``, else 1."""
    key = _key(atoms, SPIN_KEYS, index)
    value = _integer_info(atoms, key, 1, index)
    if value < 1:
        raise StructureError(
            f"{structure_name(index)}.info[{key!r}]",
            value,
            "must be at least 1, the singlet: it is 2S+1, not 2S",
            "Store 2S+1, or remove the entry",
        )
    return value


def check_conditions(atoms: ase.Atoms, index: int | None = None) -> None:
    """Raises if the charge or spin of a structure would be ignored.

    For models that are conditioned on charge and spin.

    Args:
      atoms: The structure.
      index: Number of the structure in the list it comes from, for messages.

    Raises:
      StructureError: ``atoms.info`` has a charge or spin only under a key that is not
        read, such as ``"spin"`` or ``"net_charge"``; or it has no charge, and the
        initial charges of the atoms do not sum to 0 within 0.5 e.
    """
    name = structure_name(index)
    for key in _others(atoms, CHARGE_KEYS, _CHARGES):
        raise StructureError(
            f"{name}.info[{key!r}]",
            atoms.info[key],
            "is under a key that is not read, and the model needs the total charge",
            "Store the charge in e as info['charge']",
        )
    for key in _others(atoms, SPIN_KEYS, _SPINS):
        raise StructureError(
            f"{name}.info[{key!r}]",
            atoms.info[key],
            "is the multiplicity 2S+1 in some packages, and S or 2S in others",
            "Store 2S+1 as info['spin_multiplicity']",
        )
    if atoms.has("initial_charges") and not any(k in atoms.info for k in CHARGE_KEYS):
        total = float(atoms.get_initial_charges().sum())
        # Not "abs(total) > 0.5": NaN must not pass.
        if not abs(total) <= 0.5:
            whole = f"{total:.0f}"
            raise StructureError(
                f"{name}.get_initial_charges()",
                f"a sum of {total:g} e",
                "is not read as the total charge, which the model needs",
                f"Store it as info['charge'] = {whole}, or 0 if it is neutral",
            )


def warn_of_unread(atoms: ase.Atoms, reads: Sequence[str] = ()) -> None:
    """Warns of nonzero charges and spins that a model does not read.

    Args:
      atoms: The structure.
      reads: What the model reads: names from :data:`ATOM_ARRAYS` for atomic values,
        ``"charge"`` and ``"spin_multiplicity"`` for those of the structure.
    """
    for name, what in (
        ("initial_charges", "initial charges"),
        ("initial_magmoms", "initial magnetic moments"),
    ):
        if name not in reads and atoms.has(name) and np.any(atoms.arrays[name]):
            warnings.warn(f"{what} of atoms are not read by this model", stacklevel=2)
    charges = [key for key in atoms.info if _plain(key) in _CHARGES]
    spins = [key for key in atoms.info if key in SPIN_KEYS]
    for name, keys, neutral in (
        ("charge", charges, 0),
        ("spin_multiplicity", spins, 1),
    ):
        for key in keys if name not in reads else []:
            if np.any(np.asarray(atoms.info[key]) != neutral):
                warnings.warn(
                    f"atoms.info[{key!r}] = {atoms.info[key]!r} is not read by this "
                    "model: its result is the same for any charge and spin",
                    stacklevel=2,
                )


def conditions_of(atoms: ase.Atoms) -> dict[str, object]:
    """Entries of ``atoms.info`` whose keys name a charge or spin, read or not."""
    return {
        key: value
        for key, value in atoms.info.items()
        if _plain(key) in _CHARGES | _SPINS
    }


def _plain(key: object) -> str:
    return re.sub("[^a-z]", "", str(key).lower())


def _others(
    atoms: ase.Atoms, known: Sequence[str], others: frozenset[str]
) -> list[str]:
    """Keys of other packages, or none if a known key is present."""
    if any(key in atoms.info for key in known):
        return []
    return [key for key in atoms.info if _plain(key) in others]


def _key(atoms: ase.Atoms, keys: Sequence[str], index: int | None) -> str:
    """The known key that a structure has; the first one if it has none."""
    found = [key for key in keys if key in atoms.info]
    if len({_integer_info(atoms, key, 0, index) for key in found}) > 1:
        raise StructureError(
            f"{structure_name(index)}.info",
            ", ".join(f"{key}={atoms.info[key]}" for key in found),
            "contradict each other",
            f"Keep {keys[0]!r} alone",
        )
    return found[0] if found else keys[0]


def _integer_info(atoms: ase.Atoms, key: str, default: int, index: int | None) -> int:
    value = atoms.info.get(key, default)
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = np.nan
    # Graphs store it as int32.
    if isinstance(value, bool | np.bool_) or not (
        number.is_integer() and abs(number) < 2**31
    ):
        raise StructureError(
            f"{structure_name(index)}.info['{key}']",
            value,
            "must be an integer within the range of int32",
            "Store an integer, or remove the entry",
        )
    return int(number)


def structure_name(index: int | None) -> str:
    """How messages name a structure: ``"atoms"``, or ``"structures[3]"`` of a list."""
    return "atoms" if index is None else f"structures[{index}]"
