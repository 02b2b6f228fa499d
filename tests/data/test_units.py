"""Units that measure the same are converted, all others refused."""

import ase.units
import pytest

from symjax.data.units import conversion, measures
from symjax.errors import ArgumentError, ModelError

HARTREE_PER_BOHR = 51.422067


@pytest.mark.parametrize(
    ("unit", "into", "factor"),
    [
        ("eV", "eV", 1),
        ("ev", "eV", 1),
        ("MeV", "eV", 1e6),
        ("meV", "eV", 1e-3),
        ("mHa", "eV", 0.027211386),
        ("KCAL/MOL", "eV", 0.0433641),
        ("kcal/mol/A", "kcal/mol/angstrom", 1),
        ("kcal/mol/angstrom", "eV/angstrom", 0.0433641),
        ("kJ/mol", "kcal/mol", 1 / 4.184),
        ("Hartree/bohr", "eV/A", HARTREE_PER_BOHR),
        ("eV/bohr^3", "eV/angstrom^3", 1 / ase.units.Bohr**3),
        ("GPa", "eV/angstrom^3", 0.00624150913),
        ("Debye", "e*angstrom", 0.20819434),
        ("e*bohr", "Debye", 2.5417464),
        ("e*angstrom^2/V", "e^2*angstrom^2/eV", 1),
        ("e/bohr^(3/2)", "e/angstrom^(3/2)", ase.units.Bohr**-1.5),
        ("spins", "spins", 1),
        ("mspins", "spins", 1e-3),
        ("", "", 1),
    ],
)
def test_conversions(unit, into, factor):
    assert conversion(unit, into) == pytest.approx(factor, rel=1e-6)
    assert measures(unit, into)


@pytest.mark.parametrize(
    ("unit", "into"),
    [
        ("eV", "eV/angstrom"),
        ("eV/angstrom", "eV/angstrom^2"),
        ("", "eV"),
        ("eV", ""),
        ("spins", "eV"),
        ("milli", "eV"),
        ("e", "eV"),
        # names of what is measured are no units of it
        ("energy", "eV"),
        ("length", "angstrom"),
    ],
)
def test_others_are_refused(unit, into):
    assert not measures(unit, into)
    with pytest.raises(ArgumentError, match=r"energy=.*cannot be converted to"):
        conversion(unit, into, "energy")
    with pytest.raises(ModelError):
        conversion(unit, into, error=ModelError)
