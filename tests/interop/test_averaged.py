"""Averages over rotations of calculators: exact ones stay, broken ones are mended."""

import ase.build
import numpy as np
import pytest
from ase import units
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.md.verlet import VelocityVerlet

from symjax.data import find_symmetry
from symjax.errors import ArgumentError, ModelError
from symjax.interop import AveragedCalculator, calculator_problem
from symjax.metrics import HaarSamples, measure
from symjax.so3 import finite_group

AXES = np.array([1.0, 2.0, 3.0])


class Laboratory(Calculator):
    """A quadratic energy along the axes of the laboratory, and fixed tensors.

    Its content is in 0+ and 2+: an average over the rotations of a cube leaves nothing
    but the mean.
    """

    implemented_properties = (
        *("energy", "forces", "stress", "dipole", "charges", "magmoms"),
    )

    def calculate(self, atoms=None, properties=("energy",), changes=all_changes):
        super().calculate(atoms, properties, changes)
        r = self.atoms.positions - self.atoms.positions.mean(axis=0)
        total = self.atoms.info.get("charge", 0)
        self.results = {
            "energy": 0.5 * np.sum(AXES * r**2) + total,
            "forces": -AXES * r,
            "stress": np.array([*AXES, 0.5, 0.0, 0.0]),
            "dipole": np.array([1.0, 0.0, 0.0]),
            "charges": r[:, 0] ** 2,
            "magmoms": np.cross(r, r**3),
        }


def copper():
    atoms = ase.build.bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=0)
    atoms.set_cell(atoms.cell[:] + 0.05 * np.eye(3)[[1, 2, 0]], scale_atoms=True)
    return atoms


@pytest.mark.parametrize(
    "average", [None, "O", finite_group("D3"), 2, "random"], ids=str
)
def test_an_exact_calculator_stays_as_it_is(average):
    """1e-10 is round-off of sums over some hundred pairs within EMT."""
    names = ("energy", "energies", "forces", "stress")
    atoms = copper()
    plain = {name: EMT().get_property(name, atoms) for name in names}
    calculator = AveragedCalculator(EMT(), average=average)
    for name in names:
        found = calculator.get_property(name, atoms)
        np.testing.assert_allclose(found, plain[name], rtol=0, atol=1e-10)
        spread = calculator.results.get(f"{name}_rotational_std")
        assert (spread is None) == (average in (None, "random"))
        if spread is not None:
            assert np.max(spread) < 1e-7
    if average == "O":
        assert calculator.rotations.elements.shape == (24, 3, 3)


@pytest.mark.parametrize("average", ["Oh", 2])
def test_averages_in_closed_form(average):
    """Components of l = 2 vanish: what is left of the axes is their mean."""
    atoms = ase.build.molecule("H2CO")
    atoms.rattle(0.05, seed=1)
    atoms.calc = AveragedCalculator(Laboratory(), average=average)
    r = atoms.positions - atoms.positions.mean(axis=0)
    assert atoms.get_potential_energy() == pytest.approx(np.sum(r**2), rel=1e-12)
    np.testing.assert_allclose(atoms.get_forces(), -2 * r, atol=1e-12)
    np.testing.assert_allclose(atoms.get_dipole_moment(), 0, atol=1e-12)
    np.testing.assert_allclose(
        atoms.get_charges(), np.sum(r**2, axis=1) / 3, atol=1e-12
    )
    np.testing.assert_allclose(
        atoms.calc.results["stress"], [2, 2, 2, 0, 0, 0], 1e-12, 1e-12
    )
    spread = atoms.calc.results["dipole_rotational_std"]
    # <z_i^2> of a unit vector.
    np.testing.assert_allclose(spread, np.sqrt(1 / 3), rtol=1e-12)


def test_forces_of_an_average_are_the_gradient_of_its_energy():
    atoms = ase.build.molecule("CH3OH")
    atoms.calc = AveragedCalculator(Laboratory(), average="D3")
    forces = atoms.get_forces()
    moved = atoms.copy()
    moved.calc = atoms.calc
    energies = []
    for step in (1e-3, -1e-3):
        moved.positions = atoms.positions
        moved.positions[2, 1] += step
        energies.append(moved.get_potential_energy())
    assert (energies[1] - energies[0]) / 2e-3 == pytest.approx(forces[2, 1], rel=1e-9)


def test_what_is_measured_of_an_average():
    """A drops to round-off over T, which has no invariant of l = 2."""
    atoms = ase.build.molecule("CH3OH")
    how = {"over": HaarSamples(8), "max_degree": 1}
    names = ["energy", "forces", "charges", "magmoms"]
    before = measure(calculator_problem(Laboratory(), atoms, outputs=names), **how)
    averaged = AveragedCalculator(Laboratory(), average="T")
    after = measure(calculator_problem(averaged, atoms, outputs=names[:3]), **how)
    for name in names[:3]:
        assert before[name].relative_error > 0.05
        assert after[name].relative_error < 1e-9
    assert before["magmoms"].representation.name == "pseudovector"


def test_pseudovectors_and_moments_turn_with_the_structure():
    class Spins(Calculator):
        implemented_properties = ("energy", "magmoms")

        def calculate(self, atoms=None, properties=("energy",), changes=all_changes):
            super().calculate(atoms, properties, changes)
            spins = self.atoms.get_initial_magnetic_moments()
            momenta = self.atoms.get_momenta()
            turned = np.cross(self.atoms.positions, momenta)
            # A pseudoscalar product of three polar vectors times one of a spin.
            self.results = {
                "energy": float(np.sum(spins * turned)),
                "magmoms": spins + turned,
            }

    atoms = ase.build.molecule("H2O")
    atoms.set_initial_magnetic_moments(np.arange(9.0).reshape(3, 3))
    atoms.set_momenta(np.cos(np.arange(9.0)).reshape(3, 3))
    plain = Spins()
    expected = {name: plain.get_property(name, atoms) for name in ("energy", "magmoms")}
    averaged = AveragedCalculator(Spins(), average="Oh")
    for name, value in expected.items():
        np.testing.assert_allclose(
            averaged.get_property(name, atoms), value, rtol=1e-12, atol=1e-12
        )
        assert np.max(averaged.results[f"{name}_rotational_std"]) < 1e-12


def test_random_elements():
    """Each call has an element of its own; their mean is the average over O(3)."""
    atoms = ase.build.molecule("CH3OH")
    r = atoms.positions - atoms.positions.mean(axis=0)
    calculator = AveragedCalculator(Laboratory(), average="random", seed=3)
    forces, energies = [], []
    for _ in range(60):
        calculator.reset()
        forces.append(calculator.get_property("forces", atoms))
        energies.append(calculator.get_property("energy", atoms))
    # Energy and forces are of one calculation.
    assert len(set(energies)) == 60
    error = np.std(forces, axis=0) / np.sqrt(60)
    assert np.all(np.abs(np.mean(forces, axis=0) + 2 * r) < 5 * error + 1e-12)
    again = AveragedCalculator(Laboratory(), average="random", seed=3)
    assert again.get_property("energy", atoms) == energies[0]
    # Of the same structure the same result, as ASE expects.
    assert again.get_property("energy", atoms) == energies[0]
    assert not any("std" in name for name in again.results)


def test_half_of_the_random_elements_are_improper():
    calculator = AveragedCalculator(Laboratory(), average="random")
    signs = [np.linalg.det(calculator._drawn()[0]) for _ in range(200)]
    assert 60 < np.sum(np.array(signs) > 0) < 140
    proper = AveragedCalculator(Laboratory(), average="random", include_inversion=False)
    assert all(np.linalg.det(proper._drawn()[0]) > 0 for _ in range(50))


def test_dynamics_with_random_elements():
    """EMT is exact: the trajectory is its own, to round-off."""
    ends = []
    for calculator in (EMT(), AveragedCalculator(EMT(), average="random")):
        atoms = copper()
        atoms.calc = calculator
        VelocityVerlet(atoms, timestep=2 * units.fs).run(5)
        ends.append(atoms.positions)
    np.testing.assert_allclose(*ends, rtol=0, atol=1e-10)
    assert np.abs(ends[0] - copper().positions).max() > 1e-3


def test_a_changed_charge_is_calculated_again():
    atoms = ase.build.molecule("H2O")
    calculator = AveragedCalculator(Laboratory(), average="Ci")
    before = calculator.get_property("energy", atoms)
    atoms.info["charge"] = 2
    assert calculator.get_property("energy", atoms) == pytest.approx(before + 2)


def test_bad_input():
    with pytest.raises(ModelError, match="is not an ASE calculator"):
        AveragedCalculator("EMT", average="O")
    with pytest.raises(ArgumentError, match="seed"):
        AveragedCalculator(EMT(), average="random", seed=-1)
    with pytest.raises(ArgumentError):
        AveragedCalculator(EMT(), average="cube")


def test_the_symmetry_of_the_structure_costs_nothing():
    """As if the calculator were called at every operation; charges are atoms', too."""
    atoms = ase.build.molecule("CH4")
    symmetry = find_symmetry(atoms)
    calls = []

    class Counted(Laboratory):
        def calculate(self, *args, **kwargs):
            calls.append(1)
            super().calculate(*args, **kwargs)

    averaged = AveragedCalculator(Counted(), average=None, symmetrize=True)
    names = ("energy", "forces", "dipole", "charges", "magmoms")
    found = {name: averaged.get_property(name, atoms) for name in names}
    assert symmetry.order == 24
    # Each name once: it was not known beforehand what would be asked for.
    assert len(calls) <= len(names)
    sums = dict.fromkeys(names, 0.0)
    for element in symmetry.elements:
        turned = atoms.copy()
        turned.positions = atoms.positions @ element.T
        plain = Laboratory()
        for name in names:
            value = plain.get_property(name, turned)
            if name in ("forces", "dipole", "magmoms"):
                value = value @ element
            if name == "magmoms":
                value = value * np.linalg.det(element)
            sums[name] = sums[name] + value / symmetry.order
    for name, value in found.items():
        np.testing.assert_allclose(value, sums[name], atol=1e-12, err_msg=name)
    np.testing.assert_allclose(found["dipole"], 0, atol=1e-12)
    assert np.ptp(found["charges"][1:]) < 1e-12
    assert "energy_rotational_std" in averaged.results


def test_the_symmetry_is_no_fixed_group():
    with pytest.raises(ArgumentError, match="symmetrize=True"):
        AveragedCalculator(Laboratory(), average="symmetry")
    with pytest.raises(ArgumentError, match="tolerance"):
        AveragedCalculator(Laboratory(), average=None, symmetrize=True, tolerance=0)
