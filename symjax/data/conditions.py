"""Total charge and spin of a structure, and of its atoms: what is read, and what not.

Packages write them under different keys. What a model would read is read or refused;
what it does not read is warned of by name.
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
"""Arrays of atoms that speak of charge and spin."""

# Keys of other packages, in small letters without anything between them.
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
    """Raises if a structure says its charge or spin in a way that is not read.

    For models that are conditioned on charge and spin; others do not read them.

    Raises:
      StructureError: ``atoms.info`` has a charge or spin under the key of another
        package, such as ``"spin"`` or ``"net_charge"``, and none that is read; or
        initial charges of atoms that add up to another total than 0, and no charge.
    """
    name = structure_name(index)
    for key in _others(atoms, CHARGE_KEYS, _CHARGES):
        raise StructureError(
            f"{name}.info[{key!r}]",
            atoms.info[key],
            "is under a key that is not read, and the model reads the total charge",
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
        # Not "abs(total) > 0.5": what is no number must not pass.
        if not abs(total) <= 0.5:
            whole = f"{total:.0f}"
            raise StructureError(
                f"{name}.get_initial_charges()",
                f"a sum of {total:g} e",
                "is no total charge, and the model reads one",
                f"Store it as info['charge'] = {whole}, or 0 if it is neutral",
            )


def warn_of_unread(atoms: ase.Atoms, reads: Sequence[str] = ()) -> None:
    """Warns of charges and spins, of atoms or of the structure, that are not read.

    Args:
      atoms: The structure.
      reads: What the model reads: names of :data:`ATOM_ARRAYS`, ``"charge"`` and
        ``"spin_multiplicity"`` of the structure.
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
                    "model: its answer is the same for any charge and spin",
                    stacklevel=2,
                )


def conditions_of(atoms: ase.Atoms) -> dict[str, object]:
    """Entries of ``atoms.info`` that speak of charge or spin, read or not."""
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
    """Keys of other packages, unless there is one that is read."""
    if any(key in atoms.info for key in known):
        return []
    return [key for key in atoms.info if _plain(key) in others]


def _key(atoms: ase.Atoms, keys: Sequence[str], index: int | None) -> str:
    """The key under which a structure has a number; the first if under none."""
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
    # The bound keeps the number exact in the int32 of a graph.
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
