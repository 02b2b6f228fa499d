"""Analytic labels are tensors of the degree and parity that they claim."""

import ase.build
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from symjax.data.analytic import analytic_labels
from symjax.errors import ArgumentError
from symjax.so3 import act, spherical
from symjax.training.augmentation import random_elements

L = 8


def chiral(seed=0):
    atoms = ase.build.molecule("CH3CH2OH")
    atoms.rattle(0.1, seed=seed)
    return atoms


@given(st.integers(0, 20))
def test_labels_turn_as_their_irreps(seed):
    import jax

    atoms = chiral(seed % 3)
    element = np.asarray(random_elements(jax.random.key(seed), 1)[0])
    turned = atoms.copy()
    turned.positions = atoms.positions @ element.T
    before, after = analytic_labels(atoms, L), analytic_labels(turned, L)
    for sigma, name in ((1, "multipoles"), (-1, "pseudotensors")):
        for degree in range(L + 1):
            values = getattr(before, name)[degree]
            expected = act(spherical(degree, sigma), element, values)
            scale = np.abs(values).max()
            found = getattr(after, name)[degree]
            np.testing.assert_allclose(found, expected, atol=1e-11 * scale)
            assert scale > 1e-4


def test_the_first_multipoles_are_sums_over_neighbors():
    """Of hydrogen in water, by hand."""
    atoms = ase.build.molecule("H2O")
    labels = analytic_labels(atoms, 1)
    total, vector = 0.0, np.zeros(3)
    for other in (0, 2):
        r = atoms.positions[other] - atoms.positions[1]
        d = np.linalg.norm(r)
        weight = np.sqrt(atoms.numbers[other]) * 0.5 * (1 + np.cos(np.pi * d / 4.5))
        weight *= np.exp(-0.5 * (d / 1.5) ** 2)
        total, vector = total + weight, vector + weight * r / 1.5
    assert labels.multipoles[0][1, 0] == pytest.approx(total)
    np.testing.assert_allclose(labels.multipoles[1][1], vector[[1, 2, 0]], rtol=1e-12)


def test_mirror_images_differ_in_sign():
    atoms = chiral()
    mirrored = atoms.copy()
    mirrored.positions[:, 0] *= -1
    one, other = analytic_labels(atoms, 0), analytic_labels(mirrored, 0)
    np.testing.assert_allclose(one.pseudotensors[0], -other.pseudotensors[0], rtol=1e-9)
    np.testing.assert_allclose(one.multipoles[0], other.multipoles[0], rtol=1e-9)


def test_degrees_are_checked():
    with pytest.raises(ArgumentError, match="max_degree=-1"):
        analytic_labels(chiral(), -1)
