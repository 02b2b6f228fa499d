"""Edges of a few atoms, and group elements, for the tests of equivariant features."""

import functools

import jax
import numpy as np

from symjax.models.biases.tensors import directions, harmonics
from symjax.so3 import act, haar

ATOMS, NEIGHBORS = 3, 4
# Sums of tens of products of numbers of order 1, in float64.
ROUNDING = 1e-11

turn = jax.jit(act, static_argnums=0)


@functools.partial(jax.jit, static_argnums=0)
def angles_of(degree, edges, distances):
    return harmonics(degree, directions(edges, distances))


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
