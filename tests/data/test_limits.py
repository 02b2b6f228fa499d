"""Limits for pipelines: what is written, and in which units."""

import pytest

from symjax.data.limits import Limit
from symjax.errors import ArgumentError


@pytest.mark.parametrize(
    ("text", "unit", "expected"),
    [
        ("energy=1 meV", "eV", 1e-3),
        ("energy=1meV", "eV", 1e-3),
        ("energy = 0.5", "eV", 0.5),
        # 1 kcal/mol is 0.0433641 eV, 1 hartree 27.2114 eV (CODATA).
        ("energy=1 kcal/mol", "eV", 0.0433641),
        ("energy=1 eV", "kcal/mol", 1 / 0.0433641),
        ("energy=2 mHartree", "eV", 2e-3 * 27.2114),
        ("forces=10 meV/angstrom", "eV/angstrom", 0.01),
        ("forces=1 kcal/mol/angstrom", "eV/angstrom", 0.0433641),
        ("mtt::dipole=3 me*angstrom", "e*angstrom", 3e-3),
        ("energy/pbe=1e-3 eV", "eV", 1e-3),
    ],
)
def test_values_in_the_unit_of_the_output(text, unit, expected):
    limit = Limit.parse(text, "fail_above")
    assert limit.name == text.split("=")[0].strip()
    assert limit.within(unit) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    "text", ["energy", "energy=", "energy=fine", "=1 eV", "energy=-1 eV", "energy=nan"]
)
def test_what_is_no_limit_is_refused(text):
    with pytest.raises(ArgumentError, match="fail_above"):
        Limit.parse(text, "fail_above")


@pytest.mark.parametrize("unit", ["angstrom", "eV/bohr^2", "eV^2", "milli"])
def test_other_units_are_refused(unit):
    with pytest.raises(ArgumentError, match="cannot be converted to eV/angstrom"):
        Limit("forces", 1.0, unit).within("eV/angstrom")
