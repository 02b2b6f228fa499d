"""Graphs: padding, buckets, edge vectors, rotation."""

import ase
import ase.build
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from refusals import refused

from symjax.data import (
    GraphShape,
    bucket_shape,
    build_graph,
    cast_graph,
    graph_shape,
    pad_graph,
)
from symjax.errors import ArgumentError


def _structures():
    charged = ase.build.molecule("OH")
    charged.info.update(charge=-1, spin_multiplicity=3)
    return [ase.build.bulk("Cu"), charged, ase.Atoms("He")]


GRAPH = build_graph(_structures(), 4.0)


def test_padding_leaves_real_entries_and_marks_the_rest():
    old = graph_shape(GRAPH)
    new = GraphShape(old.num_atoms + 2, old.num_neighbors + 3, old.num_structures + 1)
    padded = pad_graph(GRAPH, new)
    assert graph_shape(padded) == new
    atoms, neighbors = slice(old.num_atoms), slice(old.num_neighbors)
    for name in ("positions", "species", "structure", "atom_mask"):
        np.testing.assert_array_equal(
            getattr(padded, name)[atoms], getattr(GRAPH, name), err_msg=name
        )
    for name in ("neighbors", "shifts", "vectors", "lengths", "edge_mask"):
        np.testing.assert_array_equal(
            getattr(padded, name)[atoms, neighbors], getattr(GRAPH, name), err_msg=name
        )
    for name in ("cells", "charge", "spin_multiplicity", "structure_mask"):
        np.testing.assert_array_equal(
            getattr(padded, name)[:3], getattr(GRAPH, name), err_msg=name
        )
    for name in ("atom_mask", "edge_mask", "structure_mask"):
        assert getattr(padded, name).sum() == getattr(GRAPH, name).sum()
    np.testing.assert_array_equal(padded.structure[-2:], [3, 3])
    assert padded.charge.tolist() == [0, -1, 0, 0]
    assert padded.spin_multiplicity.tolist() == [1, 3, 1, 1]
    own = np.arange(padded.reverse.size).reshape(padded.reverse.shape)
    np.testing.assert_array_equal(
        padded.reverse[~padded.edge_mask], own[~padded.edge_mask]
    )
    for leaf, before in zip(
        jax.tree.leaves(padded), jax.tree.leaves(GRAPH), strict=True
    ):
        assert leaf.dtype == before.dtype
        assert np.isfinite(leaf).all()


@pytest.mark.parametrize("extra", [(0, 0, 0), (1, 0, 0), (0, 1, 0), (5, 7, 2)])
def test_reverse_is_an_involution_that_negates_the_edge(extra):
    padded = pad_graph(GRAPH, GraphShape(*np.add(graph_shape(GRAPH), (*extra, 0))))
    reverse = padded.reverse.ravel()
    np.testing.assert_array_equal(reverse[reverse], np.arange(reverse.size))
    assert (
        padded.edge_mask.ravel()[reverse].tolist() == padded.edge_mask.ravel().tolist()
    )
    centers = np.broadcast_to(
        np.arange(len(padded.positions))[:, None], padded.neighbors.shape
    )
    np.testing.assert_array_equal(padded.neighbors.ravel()[reverse], centers.ravel())
    # Shifts are exact integers, so they negate exactly; vectors up to a rounding of
    # each of a handful of sums of numbers below 10 angstrom.
    np.testing.assert_array_equal(
        padded.shifts.reshape(-1, 3)[reverse], -padded.shifts.reshape(-1, 3)
    )
    vectors = padded.vectors.reshape(-1, 3)
    np.testing.assert_allclose(vectors[reverse], -vectors, rtol=0, atol=1e-14)


def test_padding_in_steps_equals_padding_at_once():
    shape = graph_shape(GRAPH)
    half = pad_graph(GRAPH, GraphShape(*np.add(shape, (2, 1, 0, 0))))
    target = GraphShape(*np.add(shape, (3, 4, 2, 0)))
    for a, b in zip(
        jax.tree.leaves(pad_graph(half, target)),
        jax.tree.leaves(pad_graph(GRAPH, target)),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)


def test_padding_accepts_jax_arrays_and_keeps_float32():
    graph = jax.tree.map(jnp.asarray, cast_graph(GRAPH, np.float32))
    padded = pad_graph(graph, bucket_shape(graph))
    assert padded.positions.dtype == padded.cells.dtype == np.float32
    assert padded.reverse.dtype == np.int32


def test_distances_do_not_depend_on_padding():
    shape = graph_shape(GRAPH)
    padded = pad_graph(GRAPH, GraphShape(*np.add(shape, (3, 5, 1, 0))))
    lengths = padded.lengths
    np.testing.assert_array_equal(
        lengths[: shape.num_atoms, : shape.num_neighbors], GRAPH.lengths
    )
    assert (lengths[~padded.edge_mask] == 1).all()


def test_ladder_of_buckets():
    sizes = [bucket_shape(GraphShape(n, n, 1)).num_atoms for n in range(1, 50)]
    assert sorted(set(sizes)) == [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64]


@given(st.integers(1, 10**7))
def test_bucket_is_tight_and_idempotent(n):
    shape = bucket_shape(GraphShape(n, 1, 1))
    assert n <= shape.num_atoms < 1.5 * n
    assert bucket_shape(shape) == shape


WATER = build_graph(ase.build.molecule("H2O"), 3.0)
REFUSED = {
    "pad: atoms": (lambda: pad_graph(WATER, GraphShape(2, 2, 1)), "num_atoms"),
    "pad: neighbors": (lambda: pad_graph(WATER, GraphShape(3, 1, 1)), "num_neighbors"),
    "pad: structures": (
        lambda: pad_graph(WATER, GraphShape(3, 2, 0)),
        "num_structures",
    ),
    "pad: None": (lambda: pad_graph(WATER, GraphShape(None, 2, 1)), "num_atoms"),
    "bucket: negative": (lambda: bucket_shape(GraphShape(1, -1, 1)), "num_neighbors"),
    "bucket: float": (lambda: bucket_shape(GraphShape(1, 1, 1.5)), "num_structures"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_impossible_sizes(case):
    call, argument = REFUSED[case]
    refused(call, ArgumentError, argument, "")
