"""Couplings and channels turn as they say, to rounding."""

import e3nn_jax
import jax
import numpy as np
import pytest
from edge_geometry import ROUNDING, angles_of, elements, geometry, turn
from small_models import random_parameters

from symjax.models.biases.tensors import (
    AtomVectors,
    HarmonicEmbedding,
    couple,
    pseudotensors,
    radial_functions,
)
from symjax.so3 import spherical

coupled = jax.jit(couple, static_argnums=2)
radial_values = jax.jit(radial_functions, static_argnums=(1, 2))


@pytest.mark.parametrize(
    ("a", "b", "c"), [(1, 1, 0), (1, 1, 1), (2, 1, 2), (2, 1, 3), (4, 1, 4), (3, 2, 2)]
)
def test_couplings_are_e3nns_up_to_sign(a, b, c):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2 * a + 1, 2)), rng.normal(size=(2 * b + 1, 2))
    ours = np.asarray(coupled(x, y, c))
    table = np.asarray(e3nn_jax.clebsch_gordan(a, b, c), np.float64)
    table *= np.sqrt(2 * c + 1) / np.linalg.norm(table)
    theirs = np.einsum("ik,jk,ijm->mk", x, y, table)
    sign = np.sign(np.sum(theirs * ours))
    # e3nn's coefficients are float32.
    np.testing.assert_allclose(ours, sign * theirs, atol=2e-6)


def test_couplings_are_double_after_a_model_in_single_precision():
    # Of degrees that no other test couples: what is first asked for is kept.
    a, b = np.ones((7, 1)), np.ones((9, 1))
    with jax.enable_x64(False):
        coupled(a.astype("f4"), b.astype("f4"), 5)
    table = np.asarray(e3nn_jax.clebsch_gordan(3, 4, 5))
    wanted = np.einsum("i,j,ijk->k", a[:, 0], b[:, 0], table)
    found = coupled(a, b, 5)[:, 0]
    np.testing.assert_allclose(np.abs(found), np.abs(wanted) * 11**0.5, atol=1e-12)


def test_a_vector_couples_with_a_vector_to_their_cross_product():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(2, 3))
    order = [1, 2, 0]  # (y, z, x)
    found = np.asarray(coupled(x[order, None], y[order, None], 1))[:, 0]
    wanted = np.cross(x, y)[order] / np.sqrt(2)
    sign = np.sign(found[0] / wanted[0])
    np.testing.assert_allclose(found, sign * wanted, atol=ROUNDING)


@pytest.mark.parametrize("element", elements(2), ids=["rotation", "improper"])
def test_channels_are_pseudotensors(element):
    vectors, distances, weights = geometry(3)
    radial = radial_values(distances, 4.5, 5)
    module = AtomVectors(num_species=2, channels=3)
    species = np.random.default_rng(4).integers(2, size=distances.shape)

    @jax.jit
    def channels(edges, params):
        angles = angles_of(3, edges, distances)
        own = module.apply(params, angles[1], radial, weights, species)
        return pseudotensors(3, angles, own)

    angles = angles_of(1, vectors, distances)
    params = random_parameters(module, angles[1], radial, weights, species)
    plain, turned = channels(vectors, params), channels(vectors @ element.T, params)
    for degree, (before, after) in enumerate(zip(plain, turned, strict=True)):
        representation = spherical(degree, -1, channels=True)
        wanted, before = turn(representation, element, before), np.asarray(before)
        np.testing.assert_allclose(after, wanted, atol=ROUNDING)
        assert np.abs(before[0, 0]).max() > 0.01
        # Padding stays nothing.
        assert np.all(before[-1, -1] == 0)


def test_an_embedding_is_linear_in_the_harmonics():
    vectors, distances, _ = geometry(10)
    angles = angles_of(2, vectors, distances)
    radial = radial_values(distances, 4.5, 5)
    module = HarmonicEmbedding(features=6, degree=2)
    params = random_parameters(module, angles, radial)
    apply = jax.jit(module.apply)
    out = np.asarray(apply(params, angles, radial))
    doubled = apply(params, [2 * np.asarray(part) for part in angles], radial)
    np.testing.assert_allclose(doubled, 2 * out, atol=ROUNDING)
    # Padding has no direction.
    assert np.all(out[-1, -1] == 0)
