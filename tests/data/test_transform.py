"""Graphs whose atoms are rotated, and types that they are cast to."""

import ase
import ase.build
import jax
import numpy as np
import pytest
from refusals import refused
from scipy.spatial.transform import Rotation

from symjax.data import build_graph, cast_graph, rotate_graph
from symjax.errors import ArgumentError


def _structures():
    charged = ase.build.molecule("OH")
    charged.info.update(charge=-1, spin_multiplicity=3)
    return [ase.build.bulk("Cu"), charged, ase.Atoms("He")]


GRAPH = build_graph(_structures(), 4.0)


@pytest.mark.parametrize("sign", [1, -1])
def test_rotation_rotates_edges_and_keeps_distances(sign):
    rotation = sign * Rotation.random(rng=3).as_matrix()
    rotated = rotate_graph(GRAPH, rotation)
    # Six sums of products of numbers below 10 angstrom: 1e-14 is ten roundings.
    np.testing.assert_allclose(
        rotated.vectors, GRAPH.vectors @ rotation.T, rtol=0, atol=1e-13
    )
    assert rotated.reverse is GRAPH.reverse
    assert rotated.lengths is GRAPH.lengths


def test_graph_is_a_pytree_and_maps_over_rotations():
    rotations = Rotation.random(4, rng=0).as_matrix()
    vectors = jax.vmap(lambda r: rotate_graph(GRAPH, r).vectors)(rotations)
    assert vectors.shape == (4, *GRAPH.shifts.shape)
    np.testing.assert_allclose(
        vectors[2],
        rotate_graph(GRAPH, rotations[2]).vectors,
        rtol=0,
        atol=1e-13,
    )


WATER = build_graph(ase.build.molecule("H2O"), 3.0)
REFUSED = {
    "rotate: stack": (lambda: rotate_graph(WATER, np.ones((2, 3, 3))), "rotation"),
    "rotate: vector": (lambda: rotate_graph(WATER, np.ones(3)), "rotation"),
    "cast: integer": (lambda: cast_graph(WATER, int), "dtype"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input(case):
    call, argument = REFUSED[case]
    refused(call, ArgumentError, argument, "")
