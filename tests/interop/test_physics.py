"""Laws that hold for EMT and a PET, and faults that each break one."""

import ase.build
import numpy as np
import pytest
from ase.calculators.calculator import (
    Calculator,
    PropertyNotImplementedError,
    all_changes,
)
from ase.calculators.emt import EMT
from small_models import small_pet

from symjax.errors import ArgumentError, ModelError
from symjax.interop import SymjaxCalculator
from symjax.interop.physics import physical_checks

LAWS = {
    "moved by 0.1 angstrom",
    "moved by 100 angstrom",
    "like atoms exchanged",
    "forces = -dE/dx",
    "symmetric Jacobian",
}
PERIODIC = {"atoms outside the cell", "another cell", "twice the cell"}


def copper():
    atoms = ase.build.bulk("Cu", cubic=True)
    atoms.rattle(0.08, seed=1)
    return atoms


def broken(checks):
    return {check.law for check in checks if not check.holds}


class Springs(Calculator):
    """Springs between all pairs; exact but for the fault that is asked for."""

    implemented_properties = ("energy", "forces")

    def __init__(self, fault=""):
        super().__init__()
        self.fault = fault

    def calculate(self, atoms=None, properties=("energy",), changes=all_changes):
        super().calculate(atoms, properties, changes)
        r = self.atoms.positions
        energy = 0.25 * np.sum((r[:, None] - r) ** 2)
        forces = -(len(r) * r - r.sum(axis=0))
        if self.fault == "origin":
            energy += 1e-3 * np.sum(r**2)
            forces = forces - 2e-3 * r
        if self.fault == "order":
            weights = 1e-3 * np.arange(len(r))
            energy += np.sum(weights * np.sum((r - r.mean(0)) ** 2, axis=1))
            moved = 2 * weights[:, None] * (r - r.mean(0))
            forces = forces - (moved - moved.mean(0))
        if self.fault == "direct":
            # A force that turns about an axis: no energy has it as its gradient.
            turned = (r - r.mean(0)) @ np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 0.0]])
            forces = forces + 0.01 * turned
        if self.fault == "scaled":
            forces = 1.01 * forces
        self.results = {"energy": energy, "forces": forces}


def test_emt_obeys_all_laws():
    checks = physical_checks(EMT(), copper())
    assert {check.law for check in checks} == LAWS | PERIODIC
    assert broken(checks) == set()
    assert {check.unit for check in checks} == {
        *("eV", "eV/angstrom", "eV/angstrom^2", "eV/angstrom^3"),
    }


def test_a_network_obeys_all_but_rotations():
    """float64: translations and permutations hold by construction."""
    calculator = SymjaxCalculator(small_pet(), dtype="float64")
    checks = physical_checks(calculator, ase.build.molecule("H2O"))
    assert {check.law for check in checks} == LAWS
    assert broken(checks) == set()


@pytest.mark.parametrize(
    ("fault", "laws"),
    [
        ("", set()),
        ("origin", {"moved by 0.1 angstrom", "moved by 100 angstrom"}),
        ("order", {"like atoms exchanged"}),
        (
            "direct",
            {"forces = -dE/dx", "symmetric Jacobian"},
        ),
        ("scaled", {"forces = -dE/dx"}),
    ],
)
def test_each_fault_breaks_its_law(fault, laws):
    atoms = ase.build.molecule("CH3OH")
    assert broken(physical_checks(Springs(fault), atoms)) == laws


def test_sizes_are_in_their_units():
    """The scaled forces are off by 1 % of themselves."""
    atoms = ase.build.molecule("CH3OH")
    (check,) = [c for c in physical_checks(Springs("scaled"), atoms) if not c.holds]
    assert check.deviation == pytest.approx(check.scale * 0.01 / 1.01, rel=1e-4)


def test_the_stress_of_slabs_is_checked_where_there_is_one():
    """EMT and PETs have one of slabs; other calculators say that they have none."""
    slab = ase.build.fcc111("Cu", (2, 2, 2), a=3.6, vacuum=5.0)
    slab.rattle(0.05, seed=0)
    checks = physical_checks(EMT(), slab)
    assert "stress" in {check.quantity for check in checks}
    assert broken(checks) == set()

    class Crystals(EMT):
        def get_property(self, name, atoms=None, allow_calculation=True):
            if name == "stress" and not atoms.pbc.all():
                raise PropertyNotImplementedError(name)
            return super().get_property(name, atoms, allow_calculation)

    checks = physical_checks(Crystals(), slab)
    assert {check.quantity for check in checks} == {"energy", "forces"}


def test_a_cell_that_matters_is_found():
    class InTheBox(Springs):
        def calculate(self, atoms=None, properties=("energy",), changes=all_changes):
            super().calculate(atoms, properties, changes)
            self.results["energy"] = float(np.abs(self.atoms.cell[1]).sum())
            self.results["forces"] = np.zeros((len(self.atoms), 3))

    checks = physical_checks(InTheBox(), copper())
    assert broken(checks) == {"another cell", "twice the cell"}


def test_bad_input():
    with pytest.raises(ArgumentError, match="directions"):
        physical_checks(EMT(), copper(), directions=0)
    with pytest.raises(ModelError, match="is not an ASE calculator"):
        physical_checks("EMT", copper())
