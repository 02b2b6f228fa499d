"""Labels by the names of outputs: units, what is none, and what is refused."""

import ase.build
import ase.units
import numpy as np
import pytest
from ase.stress import full_3x3_to_voigt_6_stress

from symjax.data import LabelFields
from symjax.errors import ArgumentError, StructureError

STRESS = "eV/angstrom^3"


def crystal(**info):
    water = ase.build.molecule("H2O")
    water.set_cell([5.0, 5.5, 6.0])
    water.pbc = True
    water.info.update(info)
    return water


@pytest.mark.parametrize(
    ("unit", "factor"),
    [
        ("eV", 27.211386),
        ("eV/angstrom", 27.211386 / 0.5291772),
        ("eV/angstrom^3", 27.211386 / 0.5291772**3),
        ("e*angstrom", 1.0),
        ("", 1.0),
    ],
)
def test_factors_of_atomic_units(unit, factor):
    fields = LabelFields(energy_unit="Hartree", length_unit="bohr")
    assert fields.factor(unit) == pytest.approx(factor, rel=1e-6)


def test_forces_of_atoms():
    water = crystal()
    water.arrays["dft"] = np.arange(9.0).reshape(3, 3)
    fields = LabelFields({"forces": "dft"}, "kcal/mol")
    found = fields.read(water, "forces", "eV/angstrom", (3,), True)
    unit = ase.units.kcal / ase.units.mol
    np.testing.assert_allclose(found, unit * water.arrays["dft"], rtol=1e-7)


def test_stress():
    """In Voigt's order and any unit of energy and length, as training reads it."""
    stress = np.array([[0.01, 0.002, 0.0], [0.002, -0.03, 0.004], [0.0, 0.004, 0.02]])
    factor = ase.units.Hartree / ase.units.Bohr**3
    water = crystal(dft_stress=full_3x3_to_voigt_6_stress(stress) / factor)
    fields = LabelFields({"stress": "dft_stress"}, "Hartree", "bohr")
    found = fields.read(water, "stress", STRESS, (3, 3), False)
    np.testing.assert_allclose(found, stress, rtol=1e-6)
    water.pbc = (True, True, False)
    assert not fields.read(water, "stress", STRESS, (3, 3), False)[2].any()
    water.info["dft_stress"] = 1e3 * np.eye(3)
    with pytest.raises(StructureError, match="GPa"):
        fields.read(water, "stress", STRESS, (3, 3), False)


def test_what_merely_has_the_name_is_left_out_with_a_word():
    water = crystal(energy="unknown", stress=100 * np.eye(3))
    for name, unit, shape, word in (
        ("energy", "eV", (1,), "unknown"),
        ("stress", STRESS, (3, 3), "GPa"),
    ):
        with pytest.warns(UserWarning, match=f"{name}.*not compared.*{word}"):
            assert LabelFields().read(water, name, unit, shape, False) is None
    assert LabelFields().read(water, "dipole", "e*angstrom", (3,), False) is None


def test_a_field_that_was_named_must_be_one():
    for fields, error in (
        ({"energy": "dft"}, ArgumentError),
        ({"energy": "e"}, StructureError),
    ):
        with pytest.raises(error, match=r"dft|unknown"):
            LabelFields(fields).read(crystal(e="unknown"), "energy", "eV", (1,), False)
    with pytest.raises(ArgumentError, match="energy_unit"):
        LabelFields(energy_unit="Rydbergs")


def test_what_is_said_of_them():
    assert str(LabelFields()) == ""
    fields = LabelFields({"energy": "E"}, "kcal/mol")
    assert str(fields) == "kcal/mol, angstrom; energy from E"
