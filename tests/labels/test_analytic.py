"""Analytic labels are tensors of the degree and parity that they claim."""

import ase.build
import e3x
import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from symjax.errors import ArgumentError
from symjax.labels.analytic import analytic_labels, environment_tensors
from symjax.so3 import Irrep, act, spherical
from symjax.so3.harmonics import degree_slice
from symjax.training.augmentation import random_elements

L = 4
ACT = jax.jit(act, static_argnums=0)


def chiral(seed=0):
    atoms = ase.build.molecule("CH3CH2OH")
    atoms.rattle(0.1, seed=seed)
    return atoms


@given(st.integers(0, 20))
@settings(max_examples=8)
def test_labels_turn_as_their_irreps(seed):
    atoms = chiral(seed % 3)
    element = np.asarray(random_elements(jax.random.key(seed), 1)[0])
    turned = atoms.copy()
    turned.positions = atoms.positions @ element.T
    before, after = analytic_labels(atoms, L), analytic_labels(turned, L)
    for sigma, name in ((1, "multipoles"), (-1, "pseudotensors")):
        for degree in range(L + 1):
            values = getattr(before, name)[degree]
            expected = ACT(spherical(degree, sigma), element, values)
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


def test_tensors_of_environments_turn_as_their_irreps():
    element = -np.asarray(random_elements(jax.random.key(4), 1, inversion=False)[0])
    atoms = chiral()
    turned = atoms.copy()
    turned.positions = atoms.positions @ element.T
    before, after = environment_tensors(atoms, L), environment_tensors(turned, L)
    assert list(before) == [Irrep(n, s) for s in (1, -1) for n in range(L + 1)]
    for irrep, values in before.items():
        one = spherical(irrep.degree, irrep.sigma)
        for channel in range(values.shape[-1]):
            expected = ACT(one, element, values[..., channel])
            scale = np.abs(values).max()
            assert scale > 1e-4
            np.testing.assert_allclose(
                after[irrep][..., channel], expected, atol=1e-6 * scale
            )


def test_products_of_two_are_the_couplings_of_e3x():
    """Of channels 0 and 2 of the vectors and the harmonics, degree by degree.

    e3x's coupling of a vector and degree l to l is one tensor up to a factor.
    """
    found = environment_tensors(chiral(), L)
    with jax.enable_x64(True):
        table = np.asarray(e3x.so3.clebsch_gordan(1, L, L, cartesian_order=False))
    for degree in range(1, L + 1):
        block = table[1:4, degree_slice(degree), degree_slice(degree)]
        vector, tensor = found[Irrep(1, 1)][..., 0], found[Irrep(degree, 1)][..., 2]
        expected = np.einsum("ai,aj,ijk->ak", vector, tensor, block)
        values = found[Irrep(degree, -1)][..., 1]  # the pair (0, 2)
        factor = np.vdot(expected, values) / np.vdot(expected, expected)
        np.testing.assert_allclose(
            values, factor * expected, atol=1e-9 * np.abs(values).max()
        )
        assert np.abs(values).max() > 1e-3


def test_the_first_tensors_of_environments_by_hand():
    atoms = chiral()
    found = environment_tensors(atoms, L)
    vectors = np.zeros((3, 3))
    for other in range(1, len(atoms)):
        r = atoms.positions[other] - atoms.positions[0]
        d = np.linalg.norm(r)
        if d < 4.5:
            weight = np.sqrt(atoms.numbers[other]) * 0.5 * (1 + np.cos(np.pi * d / 4.5))
            sizes = np.array([0.8, 1.5, 3.0])
            vectors += np.outer(weight * np.exp(-0.5 * (d / sizes) ** 2), r / d)
    cartesian = np.sqrt(3) * vectors[:, [1, 2, 0]].T
    np.testing.assert_allclose(found[Irrep(1, 1)][0], cartesian, rtol=1e-9)
    triple = np.dot(vectors[0], np.cross(vectors[1], vectors[2]))
    assert found[Irrep(0, -1)][0, 0, 0] == pytest.approx(triple, rel=1e-9)
    for channel, (n, m) in enumerate(((0, 1), (0, 2), (1, 2))):
        cross = np.sqrt(3) * np.cross(vectors[n], vectors[m])[[1, 2, 0]]
        np.testing.assert_allclose(found[Irrep(1, -1)][0, :, channel], cross, rtol=1e-9)
    planar = environment_tensors(ase.build.molecule("H2O"), 1)
    assert np.abs(planar[Irrep(0, -1)]).max() < 1e-12
    assert np.abs(planar[Irrep(1, -1)]).max() > 1e-3


def test_mirror_images_differ_in_sign():
    atoms = chiral()
    mirrored = atoms.copy()
    mirrored.positions[:, 0] *= -1
    one, other = analytic_labels(atoms, L), analytic_labels(mirrored, L)
    np.testing.assert_allclose(one.pseudotensors[0], -other.pseudotensors[0], rtol=1e-9)
    np.testing.assert_allclose(one.multipoles[0], other.multipoles[0], rtol=1e-9)


def test_degrees_are_checked():
    with pytest.raises(ArgumentError, match="max_degree=-1"):
        analytic_labels(chiral(), -1)
