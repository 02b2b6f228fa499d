"""Conversion between units of the same dimension."""

import re
from collections import Counter
from collections.abc import Mapping
from fractions import Fraction

import ase.units

from symjax.errors import ArgumentError, SymjaxError

# Value in eV, angstrom and elementary charges; powers of energy, length and charge.
_KNOWN: Mapping[str, tuple[float, int, int, int]] = {
    "ev": (1.0, 1, 0, 0),
    "kcal/mol": (ase.units.kcal / ase.units.mol, 1, 0, 0),
    "kj/mol": (ase.units.kJ / ase.units.mol, 1, 0, 0),
    **dict.fromkeys(("hartree", "ha"), (ase.units.Hartree, 1, 0, 0)),
    **dict.fromkeys(("rydberg", "ry"), (ase.units.Rydberg, 1, 0, 0)),
    **dict.fromkeys(("angstrom", "a", "\u00e5"), (1.0, 0, 1, 0)),
    "bohr": (ase.units.Bohr, 0, 1, 0),
    "nm": (10.0, 0, 1, 0),
    "e": (1.0, 0, 0, 1),
    "ea": (1.0, 0, 1, 1),
    "v": (1.0, 1, 0, -1),
    "pa": (ase.units.Pascal, 1, -3, 0),
    "bar": (ase.units.bar, 1, -3, 0),
    **dict.fromkeys(("debye", "d"), (ase.units.Debye, 0, 1, 1)),
    "1": (1.0, 0, 0, 0),
}
_PREFIXES: Mapping[str, float] = {"m": 1e-3, "u": 1e-6, "k": 1e3, "M": 1e6, "G": 1e9}
# Names that no written unit can have.
_DIMENSIONS = ("*energy", "*length", "*charge")
_FACTOR = re.compile(
    r"([*/]?)((?:k?cal|k?j)/mol|[^*/^()]+)(?:\^\(?(-?\d+)(?:/(\d+)\))?\)?)?",
    re.IGNORECASE,
)


def conversion(
    unit: str,
    into: str,
    argument: str = "unit",
    error: type[SymjaxError] = ArgumentError,
) -> float:
    """Factor that converts a number from one unit to another.

    Units are products and quotients of energies (eV, kcal/mol, kJ/mol, Hartree,
    Rydberg), lengths (angstrom, bohr, nm), charges (e), Debye, V, Pa and bar, with
    powers and with the prefixes m, u, k, M and G. Names are not case-sensitive,
    prefixes are. Any other name must occur in both units with the same power.

    Args:
      unit: Unit of the number.
      into: Unit to convert to.
      argument: Name of the argument that ``unit`` was passed for, for messages.
      error: Type of the error.

    Returns:
      The factor by which a number in ``unit`` is multiplied.

    Raises:
      SymjaxError: The units have different dimensions; of the type ``error``.

    Example:
      >>> from symjax.data.units import conversion
      >>> conversion("meV/A", "eV/angstrom")
      0.001
      >>> round(conversion("kcal/mol/bohr", "eV/angstrom"), 6)
      0.081946
      >>> conversion("eV", "angstrom")
      Traceback (most recent call last):
      ...
      symjax.errors.ArgumentError: unit='eV': cannot be converted to angstrom. ...
    """
    if unit == into:
        return 1.0
    if not isinstance(unit, str):
        raise error(argument, unit, "is not a unit", f"Use {_common(into)}")
    (size, powers), (other, wanted) = _parsed(unit), _parsed(into)
    if powers == wanted:
        return size / other
    for prefix, factor in _PREFIXES.items():
        if unit == prefix + into:
            return factor
    raise error(
        argument,
        unit,
        f"cannot be converted to {into or 'a dimensionless number'}",
        f"Use {_common(into)}",
    )


_COMMON = {"eV": ("kcal/mol", "kJ/mol", "Hartree"), "angstrom": ("bohr", "nm")}


def _common(into: str) -> str:
    """A unit and others of the same dimension, for messages."""
    others = _COMMON.get(into, ())
    if others:
        return f"{', '.join((into, *others[:-1]))} or {others[-1]}"
    return f"{into or 'no unit'}, or a unit of the same dimension"


def measures(unit: str, into: str) -> bool:
    """Whether one unit can be converted to another."""
    try:
        conversion(unit, into)
    except ArgumentError:
        return False
    return True


def derivative_unit(name: str, energy: str) -> str:
    """Unit of ``"forces"`` or ``"stress"`` in angstrom and a unit of energy."""
    return f"{energy or 1}/angstrom{'^3' if name == 'stress' else ''}"


def _parsed(unit: str) -> tuple[float, dict[str, Fraction]]:
    """Value of the known units, and powers of dimensions and of unknown names."""
    size = 1.0
    powers: Counter[str] = Counter()
    written = unit.replace(" ", "")
    if _FACTOR.sub("", written):
        return 1.0, {unit: Fraction(1)}
    for sign, name, power, root in _FACTOR.findall(written):
        exponent = Fraction(int(power or 1), int(root or 1))
        exponent = -exponent if sign == "/" else exponent
        factor, known = _known(name)
        size *= factor ** float(exponent)
        for dimension, number in known.items():
            powers[dimension] += exponent * number  # type: ignore[assignment]
    return size, {name: Fraction(number) for name, number in powers.items() if number}


def _known(name: str) -> tuple[float, dict[str, int]]:
    for prefix, factor in {"": 1.0, **_PREFIXES}.items():
        found = _KNOWN.get(name.removeprefix(prefix).lower())
        if found is not None and name.startswith(prefix):
            size, *powers = found
            return factor * size, dict(zip(_DIMENSIONS, powers, strict=True))
    return 1.0, {name: 1}
