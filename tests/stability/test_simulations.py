"""Dynamics, relaxations and modes against energies whose torque is known."""

import ase
import ase.build
import jax
import numpy as np
import pytest
from ase import units
from ase.calculators.calculator import Calculator, all_changes
from ase.constraints import FixAtoms

from symjax.data import find_symmetry
from symjax.errors import ArgumentError, ModelError
from symjax.so3 import haar
from symjax.stability.simulations import (
    _HBAR,
    _symmetrized,
    net_torque,
    normal_modes,
    relax_rotated,
    run_nve,
)


class Springs(Calculator):
    """E = k/2 sum_ij (r_ij - d_ij)^2 + sum_i (r_i - c)^T A (r_i - c) / 2, c the mean.

    Invariant without A; with it, the torque is -sum_i (r_i - c) x A (r_i - c).
    """

    implemented_properties = ("energy", "forces")

    def __init__(self, atoms, skew=None, stiffness=20.0):
        super().__init__()
        self.lengths = atoms.get_all_distances()
        self.skew = np.zeros((3, 3)) if skew is None else skew
        self.stiffness = stiffness

    def calculate(self, atoms=None, properties=("energy",), changes=all_changes):
        super().calculate(atoms, properties, changes)
        arms = self.atoms.positions - self.atoms.positions.mean(axis=0)
        pairs = arms[:, None] - arms[None]
        lengths = np.linalg.norm(pairs, axis=-1) + np.eye(len(arms))
        excess = lengths - self.lengths - np.eye(len(arms))
        energy = self.stiffness / 4 * np.sum(excess**2)
        energy += np.einsum("ix,xy,iy->", arms, self.skew, arms) / 2
        pull = np.einsum("ij,ijx->ix", excess / lengths, pairs)
        forces = -self.stiffness * pull - arms @ self.skew
        self.results = {"energy": energy, "forces": forces}


SKEW = np.array([[0.3, 0.1, 0.0], [0.1, -0.1, 0.05], [0.0, 0.05, 0.2]])


def methane(skew=None):
    """At the minimum of the springs."""
    atoms = ase.build.molecule("CH4")
    atoms.positions = atoms.positions @ np.asarray(haar(jax.random.key(3), 1)[0]).T
    atoms.calc = Springs(atoms, skew)
    return atoms


def test_invariant_energy_conserves_angular_momentum():
    run = run_nve(methane(), 200)
    assert run.times[-1] == 100
    assert len(run.energies) == 201
    assert run.angular_momentum_drift < 1e-10
    assert np.abs(run.net_torques).max() < 1e-12
    assert abs(run.energy_drift) < 1


def test_torque_changes_angular_momentum():
    atoms = methane(SKEW)
    arms = atoms.positions - atoms.positions.mean(axis=0)
    run = run_nve(atoms, 100, time_step=0.25)
    # Without a net force the torque about any centre is the same.
    expected = -np.sum(np.cross(arms, arms @ SKEW), axis=0)
    assert np.abs(run.net_torques[0] - expected).max() < 1e-12
    assert np.abs(run.net_forces).max() < 1e-12
    # dL/dt is the torque; the trapezoidal rule is what velocity Verlet does to order
    # dt^2.
    sides = (run.net_torques[1:] + run.net_torques[:-1]) / 2
    change = np.sum(sides, axis=0) * 0.25 * units.fs / _HBAR
    actual = run.angular_momenta[-1] - run.angular_momenta[0]
    assert np.linalg.norm(actual) > 0.1
    np.testing.assert_allclose(actual, change, rtol=2e-3, atol=1e-3)
    # A gradient conserves energy, whatever its symmetry.
    assert abs(run.energy_drift) < 1


def test_angular_momentum_is_in_hbar():
    # 1 u angstrom^2 / ps = 1.66053907e-27 * 1e-20 / 1e-12 J s.
    unit = units.Ang**2 / (1000 * units.fs)
    assert unit / _HBAR == pytest.approx(1.66053907e-35 / 1.054571817e-34, rel=1e-6)


def test_relaxations_agree_where_energies_do():
    atoms = methane()
    atoms.rattle(0.1, seed=1)
    rotations = np.asarray(haar(jax.random.key(0), 4))
    found = relax_rotated(atoms, rotations)
    assert found.converged.all()
    assert found.spread < 1e-10
    assert found.minima() == 1
    # Positions agree to what a force limit leaves open.
    assert np.ptp(found.positions, axis=0).max() < 1e-3
    atoms.calc = Springs(methane(), SKEW)
    few = relax_rotated(atoms, rotations, steps=3)
    assert few.spread > 1e-4
    assert not few.converged.any()
    assert few.steps.tolist() == [3] * 4


def test_modes_of_an_invariant_energy_are_degenerate():
    modes = normal_modes(methane())
    assert sorted(np.bincount(modes.sets)) == [1, 2, 3, 3]
    # Errors of central differences, of second order, are not invariant.
    assert modes.splittings.max() < 0.1
    assert np.abs(modes.rotations).max() < 20
    # All springs alike: A1 of a homogeneous expansion is known. Each bond of C-H
    # stretches by s, each H-H by s sqrt(8/3): E = k s^2 / 2 (4 + 6 * 8/3).
    hydrogen = ase.build.molecule("H2").get_masses()[0]
    known = np.sqrt(20 * (4 + 16) / (4 * hydrogen)) * _HBAR / units.invcm
    assert np.abs(modes.wavenumbers - known).min() < 0.1


def test_modes_split_by_what_breaks_symmetry():
    modes = normal_modes(methane(SKEW))
    assert sorted(np.bincount(modes.sets)) == [1, 2, 3, 3]
    assert modes.splittings.max() > 1
    doubled = normal_modes(methane(2 * SKEW))
    assert doubled.splittings.max() / modes.splittings.max() == pytest.approx(
        2, rel=0.1
    )


def test_rotation_of_a_linear_molecule():
    atoms = ase.build.molecule("CO2")
    atoms.calc = Springs(atoms)
    modes = normal_modes(atoms)
    assert len(modes.wavenumbers) == 4
    assert len(modes.rotations) == 2


def test_symmetrized_matrix_commutes_with_the_group():
    atoms = methane()
    symmetry = find_symmetry(atoms)
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(15, 15))
    mean = _symmetrized(matrix, symmetry)
    for element, images in zip(symmetry.elements, symmetry.permutations, strict=True):
        action = np.zeros((15, 15))
        for i, image in enumerate(images):
            action[3 * image : 3 * image + 3, 3 * i : 3 * i + 3] = element
        np.testing.assert_allclose(action @ mean @ action.T, mean, atol=1e-12)


def test_bad_input():
    with pytest.raises(ArgumentError, match="periodic"):
        run_nve(ase.build.bulk("Cu"), 3)
    with pytest.raises(ArgumentError, match="steps"):
        run_nve(methane(), 0)
    atoms = methane()
    atoms.set_masses([12, 1, 2, 1, 1])
    with pytest.raises(ArgumentError, match="masses"):
        normal_modes(atoms)
    atoms.set_masses(None)
    atoms.set_constraint(FixAtoms([0]))
    with pytest.raises(ArgumentError, match="constraints"):
        run_nve(atoms, 3)
    copper = ase.build.bulk("Cu")
    with pytest.raises(ArgumentError, match="periodic"):
        relax_rotated(copper, np.eye(3)[None])
    for simulate in (normal_modes, lambda atoms: relax_rotated(atoms, np.eye(3)[None])):
        with pytest.raises(ArgumentError, match="nothing to rotate"):
            simulate(ase.Atoms("Ar"))
    assert net_torque(np.eye(3), np.zeros((3, 3)), np.zeros(3)).tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("argument", "call"),
    [
        ("steps", lambda atoms: run_nve(atoms, 2.5)),
        ("time_step", lambda atoms: run_nve(atoms, 2, time_step=0.0)),
        ("temperature", lambda atoms: run_nve(atoms, 2, temperature=-300.0)),
        ("seed", lambda atoms: run_nve(atoms, 2, seed=-1)),
        ("displacement", lambda atoms: normal_modes(atoms, displacement=0.0)),
        ("force", lambda atoms: relax_rotated(atoms, np.eye(3)[None], force=np.nan)),
        ("rotations", lambda atoms: relax_rotated(atoms, 2 * np.eye(3)[None])),
        ("rotations", lambda atoms: relax_rotated(atoms, np.eye(3))),
        ("rotations", lambda atoms: relax_rotated(atoms, np.zeros((0, 3, 3)))),
        ("atoms.calc", lambda atoms: run_nve(ase.build.molecule("CH4"), 2)),
    ],
)
def test_numbers_that_cannot_be_meant(argument, call):
    with pytest.raises(ArgumentError) as caught:
        call(methane())
    assert caught.value.argument == argument


def test_what_is_not_finite_is_no_number():
    atoms = methane(np.full((3, 3), np.nan))
    with pytest.raises(ModelError, match="after 0 steps"):
        run_nve(atoms, 2)
    with pytest.raises(ModelError, match="forces near the structure"):
        normal_modes(atoms)
    with pytest.raises(ModelError, match="energy after"):
        relax_rotated(atoms, np.eye(3)[None], steps=1)
