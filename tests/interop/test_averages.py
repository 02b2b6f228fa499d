"""Means and spreads over rotations, and the symmetry of all that is read of atoms."""

import ase.build
import numpy as np
import pytest

from symjax.errors import AliasingError
from symjax.interop._averages import add, mean_and_spread, symmetry_of_all
from symjax.interop.calculators import ROTATING
from symjax.so3 import quadrature
from symjax.so3.averages import rotations_of


def test_the_rule_that_cannot_tell():
    """A rule with negative weights, on a response that sits where they are."""
    rule = rotations_of(quadrature(13, "lebedev"), True)
    assert rule.weights.min() < 0
    values = (rule.weights < 0).astype(float)
    sums = add(None, {"energy": np.append(0.0, values)}, np.append(0, rule.weights))
    with pytest.raises(AliasingError, match="higher degree"):
        mean_and_spread(sums, rule, 1e-16)
    smooth = rule.elements[:, 0, 0]
    sums = add(None, {"energy": smooth}, rule.weights)
    mean, spread = mean_and_spread(sums, rule, 1e-16)
    assert abs(mean["energy"]) < 1e-14
    assert spread["energy"] == pytest.approx(np.sqrt(1 / 3), rel=1e-12)


def test_tiny_spread_of_a_large_mean_keeps_its_digits():
    rule = rotations_of(quadrature(3, "gauss"), True)
    values = 1e6 + 1e-4 * rule.elements[:, 0, 0]
    sums = add(None, {"energy": values}, rule.weights)
    _, spread = mean_and_spread(sums, rule, 1e-16)
    assert spread["energy"] == pytest.approx(1e-4 / np.sqrt(3), rel=1e-5)


def test_atoms_that_differ_in_what_is_read_are_not_exchanged():
    atoms = ase.build.molecule("CH4")
    atoms.set_initial_charges([0, 0.1, 0, 0, 0])
    found = symmetry_of_all(atoms, ROTATING, 1e-5)
    assert found.name == "C3v"
    atoms.set_initial_magnetic_moments(np.cross(atoms.positions, atoms.positions[1]))
    # Moments that circle about the axis: mirror planes turn pseudovectors over.
    assert symmetry_of_all(atoms, ROTATING, 1e-5).name == "C3v"
    atoms.set_initial_magnetic_moments(atoms.positions)
    assert symmetry_of_all(atoms, ROTATING, 1e-5).name == "C3"
