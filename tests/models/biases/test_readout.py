"""A readout gives tensors of every irrep, and reads every edge."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from edge_geometry import (
    ATOMS,
    NEIGHBORS,
    ROUNDING,
    angles_of,
    elements,
    geometry,
    turn,
)
from small_models import random_parameters

from symjax.models.biases.readout import EquivariantReadout
from symjax.so3 import MATRIX, spherical
from symjax.so3.representations import direct_sum

# Each irrep by itself, and those of a matrix in its Cartesian components.
KINDS = {
    "matrix": MATRIX,
    "all": direct_sum(
        *(spherical(degree, sigma) for degree in range(4) for sigma in (1, -1))
    ),
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

    params = random_parameters(module, node, edge, weights, angles(vectors))
    read = jax.jit(lambda edges: module.apply(params, node, edge, weights, edges))
    plain = read(angles(vectors))
    assert plain.shape == (ATOMS, *representation.shape, 2)
    for element in elements(7):
        turned = read(angles(vectors @ element.T))
        wanted = turn(representation, element, plain)
        np.testing.assert_allclose(turned, wanted, atol=ROUNDING)
    if kind == "all":
        # Every irrep is there, in every atom and copy.
        sizes = [2 * irrep.degree + 1 for irrep in representation.irreps]
        for part in np.split(np.asarray(plain), np.cumsum(sizes)[:-1], axis=1):
            assert np.abs(part).max(axis=1).min() > 1e-4


def test_a_readout_reads_every_edge():
    """The derivative by each edge's features is not 0, but for padding."""
    representation = spherical(2, -1, channels=True)
    vectors, distances, weights = geometry(8)
    rng = np.random.default_rng(9)
    node, edge = rng.normal(size=(ATOMS, 5)), rng.normal(size=(ATOMS, NEIGHBORS, 5))
    module = EquivariantReadout(representation, copies=1)
    angles = angles_of(2, vectors, distances)
    params = random_parameters(module, node, edge, weights, angles)
    slope = jax.jit(
        jax.grad(
            lambda edge: jnp.sum(module.apply(params, node, edge, weights, angles) ** 2)
        )
    )(edge)
    used = np.abs(slope).max(axis=-1) > 0
    np.testing.assert_array_equal(used, weights > 0)
