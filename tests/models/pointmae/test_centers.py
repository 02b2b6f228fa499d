"""Sampling and suppression against brute force, and their invariances."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.spatial
from hypothesis import given
from hypothesis import strategies as st

from symjax.errors import ArgumentError
from symjax.models.pointmae.centers import (
    _visit_in_rounds,
    centrality_nms,
    farthest_point_sampling,
    first_maximum,
    squared_distances,
)
from symjax.so3 import haar

SIZE, NUM = 40, 12
SEEDS = st.integers(0, 2**32 - 1)


def points(seed, lattice=False):
    generator = np.random.default_rng(seed)
    if lattice:
        return generator.integers(-3, 4, (SIZE, 3)).astype(float)
    return generator.standard_normal((SIZE, 3))


def brute_force_farthest(x, num, start=0):
    """The definition: O(n) distances to all picked points, every time.

    Points that are picked are at distance 0: when no position is left, the first is
    picked again.
    """
    picked = [start]
    while len(picked) < min(num, len(x)):
        nearest = np.array(
            [min(((point - x[j]) ** 2).sum() for j in picked) for point in x]
        )
        picked.append(int(np.argmax(nearest)))
    return picked


def brute_force_suppression(x, radius, limit=None):
    """The sequential visit, as it is published."""
    near = ((x[:, None] - x[None]) ** 2).sum(-1) < radius**2
    lists = [np.flatnonzero(row)[:limit] for row in near]
    order = sorted(range(len(x)), key=lambda i: (-len(lists[i]), i))
    keep = np.ones(len(x), bool)
    for i in order:
        if keep[i]:
            keep[[j for j in lists[i] if j != i]] = False
    return keep


@given(SEEDS, st.integers(1, SIZE), st.booleans())
def test_farthest_points_against_brute_force(seed, real, lattice):
    x, mask = points(seed, lattice), np.arange(SIZE) < real
    out = farthest_point_sampling(x, mask, NUM)
    expected = brute_force_farthest(x[:real], NUM)
    assert out.tolist() == expected + [-1] * (NUM - len(expected))


@given(SEEDS, st.integers(0, SIZE - 1))
def test_farthest_points_do_not_depend_on_order(seed, start):
    x, everything = points(seed), np.ones(SIZE, bool)
    order = np.random.default_rng(seed).permutation(SIZE)
    place = int(np.flatnonzero(order == start)[0])
    one = farthest_point_sampling(x, everything, NUM, start)
    other = farthest_point_sampling(x[order], everything, NUM, place)
    np.testing.assert_array_equal(one, order[np.asarray(other)])


@given(SEEDS, st.floats(0.2, 2.5), st.integers(0, SIZE), st.booleans())
def test_suppression_against_brute_force(seed, radius, real, lattice):
    x, mask = points(seed, lattice), np.arange(SIZE) < real
    out = np.asarray(centrality_nms(x, mask, radius))
    np.testing.assert_array_equal(out[:real], brute_force_suppression(x[:real], radius))
    assert not out[real:].any()


@given(SEEDS, st.floats(0.5, 2.5), st.sampled_from([1, 3]))
def test_suppression_with_truncated_lists(seed, radius, limit):
    x = points(seed)
    out = centrality_nms(x, np.ones(SIZE, bool), radius, limit)
    np.testing.assert_array_equal(out, brute_force_suppression(x, radius, limit))


@given(st.integers(0, 50), st.floats(0.2, 2.0), st.sampled_from([None, 1, 3]))
def test_both_ways_to_visit_are_one(seed, radius, limit):
    """Only one of them runs on a CPU."""
    x, mask = points(seed), np.random.default_rng(seed).random(SIZE) < 0.8
    near = ((x[:, None] - x[None]) ** 2).sum(-1) < radius**2
    near &= mask & mask[:, None]
    if limit is not None:
        near &= near.cumsum(axis=1) <= limit
    in_turn = centrality_nms(x, mask, radius, limit)
    in_rounds = jax.jit(_visit_in_rounds)(jnp.asarray(near), jnp.asarray(mask))
    np.testing.assert_array_equal(in_turn, in_rounds)


@given(SEEDS, st.floats(0.3, 2.0))
def test_centers_are_apart_and_cover(seed, radius):
    x = points(seed)
    keep = np.asarray(centrality_nms(x, np.ones(SIZE, bool), radius))
    tree = scipy.spatial.cKDTree(x[keep])
    assert not tree.query_pairs(radius * (1 - 1e-9))
    distances, _ = tree.query(x)
    assert (distances < radius).all()


@given(SEEDS)
def test_both_commute_with_rotations(seed):
    """Only distances are read; in float64 random points have no ties."""
    x, everything = points(seed), np.ones(SIZE, bool)
    turned = x @ -np.asarray(haar(jax.random.key(seed % 1000), 1))[0].T
    np.testing.assert_array_equal(
        farthest_point_sampling(x, everything, NUM),
        farthest_point_sampling(turned, everything, NUM),
    )
    np.testing.assert_array_equal(
        centrality_nms(x, everything, 1.0), centrality_nms(turned, everything, 1.0)
    )


def test_vectorisation_over_events():
    x = np.stack([points(seed) for seed in range(3)])
    mask = np.arange(SIZE) < np.array([40, 20, 1])[:, None]
    both = jax.vmap(lambda x, m: centrality_nms(x, m, 0.8))(x, mask)
    for row, one, real in zip(both, x, mask, strict=True):
        np.testing.assert_array_equal(row, centrality_nms(one, real, 0.8))


def test_squared_distances_are_exact_on_the_lattice():
    x = points(0, lattice=True).astype(np.float32) * 255
    exact = ((x[:, None].astype(int) - x[None].astype(int)) ** 2).sum(-1)
    np.testing.assert_array_equal(squared_distances(x, x), exact)


def test_first_maximum_is_argmax():
    values = jnp.asarray(np.random.default_rng(0).integers(0, 4, (20, 30)))
    out = first_maximum(values, jnp.arange(30))
    np.testing.assert_array_equal(out, np.argmax(values, axis=-1))


def test_bad_limit():
    with pytest.raises(ArgumentError, match="max_neighbors"):
        centrality_nms(points(0), np.ones(SIZE, bool), 1.0, 0)
