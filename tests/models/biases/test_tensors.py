"""Couplings, channels and readouts turn as they say, to rounding."""

import dataclasses
import functools

import e3nn_jax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symjax.models.biases.readout import EquivariantReadout
from symjax.models.biases.tensors import (
    AtomVectors,
    HarmonicEmbedding,
    couple,
    directions,
    harmonics,
    pseudotensors,
    radial_functions,
)
from symjax.so3 import MATRIX, VECTOR, act, haar, spherical
from symjax.so3.representations import PSEUDOVECTOR

ATOMS, NEIGHBORS = 3, 4
# Sums of tens of products of numbers of order 1, in float64.
ROUNDING = 1e-11

radial_values = jax.jit(radial_functions, static_argnums=(1, 2))
turn = jax.jit(act, static_argnums=0)


@functools.partial(jax.jit, static_argnums=0)
def angles_of(degree, edges, distances):
    return harmonics(degree, directions(edges, distances))


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True):
        yield


def elements(seed):
    """A rotation and an improper element."""
    rotations = np.asarray(haar(jax.random.key(seed), 2), np.float64)
    return rotations[0], -rotations[1]


def geometry(seed):
    """Edge vectors with one padding slot, distances and weights."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(ATOMS, NEIGHBORS, 3))
    vectors[-1, -1] = 0
    distances = np.linalg.norm(vectors, axis=-1)
    weights = rng.uniform(size=(ATOMS, NEIGHBORS)) * (distances > 0)
    return vectors, np.where(distances > 0, distances, 1), weights


@pytest.mark.parametrize(
    ("a", "b", "c"), [(1, 1, 0), (1, 1, 1), (2, 1, 2), (2, 1, 3), (4, 1, 4), (3, 2, 2)]
)
def test_couplings_are_e3nns_up_to_sign(a, b, c):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2 * a + 1, 2)), rng.normal(size=(2 * b + 1, 2))
    ours = couple(jnp.asarray(x), jnp.asarray(y), c)
    table = np.asarray(e3nn_jax.clebsch_gordan(a, b, c), np.float64)
    table *= np.sqrt(2 * c + 1) / np.linalg.norm(table)
    theirs = np.einsum("ik,jk,ijm->mk", x, y, table)
    sign = np.sign(np.sum(theirs * ours))
    # e3nn's coefficients are float32.
    np.testing.assert_allclose(ours, sign * theirs, atol=2e-6)


def test_a_vector_couples_with_a_vector_to_their_cross_product():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(2, 3))
    order = [1, 2, 0]  # (y, z, x)
    found = couple(jnp.asarray(x[order, None]), jnp.asarray(y[order, None]), 1)[:, 0]
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
    params = jax.jit(module.init)(
        jax.random.key(0), angles[1], radial, weights, species
    )
    plain, turned = channels(vectors, params), channels(vectors @ element.T, params)
    for degree, (before, after) in enumerate(zip(plain, turned, strict=True)):
        representation = spherical(degree, -1, channels=True)
        wanted = turn(representation, element, before)
        np.testing.assert_allclose(after, wanted, atol=ROUNDING)
        assert np.abs(before[0, 0]).max() > 0.01
        # Padding stays nothing.
        assert np.all(before[-1, -1] == 0)


KINDS = {
    "vector": VECTOR,
    "pseudovector": PSEUDOVECTOR,
    "matrix": MATRIX,
    **{
        f"{degree}{'-+'[sigma > 0]}": spherical(degree, sigma)
        for degree in range(4)
        for sigma in (1, -1)
    },
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_readout_of_invariants_is_equivariant(kind):
    representation = dataclasses.replace(KINDS[kind], has_channels=True)
    vectors, distances, weights = geometry(5)
    rng = np.random.default_rng(6)
    node, edge = rng.normal(size=(ATOMS, 5)), rng.normal(size=(ATOMS, NEIGHBORS, 5))
    module = EquivariantReadout(representation, copies=2, channels=3)

    def angles(edges):
        return angles_of(4, edges, distances)

    params = jax.jit(module.init)(
        jax.random.key(0), node, edge, weights, angles(vectors)
    )
    read = jax.jit(lambda edges: module.apply(params, node, edge, weights, edges))
    plain = read(angles(vectors))
    assert plain.shape == (ATOMS, *representation.shape, 2)
    for element in elements(7):
        turned = read(angles(vectors @ element.T))
        wanted = turn(representation, element, plain)
        np.testing.assert_allclose(turned, wanted, atol=ROUNDING)
    # Every irrep is there, in every atom and copy.
    assert np.abs(plain).max(axis=1).min() > 1e-4 if plain.ndim == 3 else True


def test_a_readout_reads_every_edge():
    """The derivative by each edge's features is not 0, but for padding."""
    representation = spherical(2, -1, channels=True)
    vectors, distances, weights = geometry(8)
    rng = np.random.default_rng(9)
    node, edge = rng.normal(size=(ATOMS, 5)), rng.normal(size=(ATOMS, NEIGHBORS, 5))
    module = EquivariantReadout(representation, copies=1)
    angles = angles_of(2, vectors, distances)
    params = jax.jit(module.init)(jax.random.key(0), node, edge, weights, angles)
    slope = jax.jit(
        jax.grad(
            lambda edge: jnp.sum(module.apply(params, node, edge, weights, angles) ** 2)
        )
    )(edge)
    used = np.abs(slope).max(axis=-1) > 0
    np.testing.assert_array_equal(used, weights > 0)


def test_an_embedding_is_linear_in_the_harmonics():
    vectors, distances, _ = geometry(10)
    angles = angles_of(2, vectors, distances)
    radial = radial_values(distances, 4.5, 5)
    module = HarmonicEmbedding(features=6, degree=2)
    params = jax.jit(module.init)(jax.random.key(0), angles, radial)
    apply = jax.jit(module.apply)
    out = apply(params, angles, radial)
    doubled = apply(params, [2 * part for part in angles], radial)
    np.testing.assert_allclose(doubled, 2 * out, atol=ROUNDING)
    # Padding has no direction.
    assert np.all(np.asarray(out)[-1, -1] == 0)
