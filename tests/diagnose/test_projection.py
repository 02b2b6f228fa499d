"""The projection onto what a symmetry forbids."""

import functools

import jax
import numpy as np
import pytest
import toys
from hypothesis import given
from hypothesis import strategies as st

from symjax.diagnose import allowed_dimension, forbidden_part, symmetry_traps
from symjax.errors import ArgumentError
from symjax.so3 import MATRIX, PSEUDOSCALAR, PSEUDOVECTOR, SCALAR, VECTOR, spherical

GROUP = toys.tetrahedral_symmetry()
EVERY = [SCALAR, PSEUDOSCALAR, VECTOR, PSEUDOVECTOR, MATRIX, spherical(3, -1)]
SUBGROUPS = {
    "Td": np.ones(24, bool),
    "T": np.linalg.det(GROUP.elements) > 0,
    "C1": np.arange(24) == 0,
}
RICH = jax.jit(toys.rich)
# Of one element, a group forbids nothing.
LARGE = ("T", "Td")
representations = st.sampled_from(EVERY)
subgroups = st.sampled_from(LARGE)
seeds = st.integers(0, 2**31 - 1)


def values(seed, representation):
    shape = (4, *representation.shape)
    return np.random.default_rng(seed).standard_normal(shape)


@functools.cache
def projection(representation, name):
    """Compiled as a whole, once."""
    keep = SUBGROUPS[name]
    return jax.jit(
        lambda array: forbidden_part(
            representation, array, GROUP.elements[keep], GROUP.permutations[keep]
        )
    )


def project(representation, array, name="Td"):
    return np.asarray(projection(representation, name)(array))


@given(seeds, representations, subgroups)
def test_idempotent_and_orthogonal(seed, representation, name):
    y = values(seed, representation)
    once = project(representation, y, name)
    twice = project(representation, once, name)
    # sums of 24 products of numbers of size 1
    assert np.abs(twice - once).max() < 1e-12
    assert abs(np.sum(once * (y - once))) < 1e-11


@given(seeds, subgroups)
def test_vanishes_for_equivariant_functions(seed, name):
    """Any combination of the exact features of a tetrahedron, of every irrep."""
    weights = np.random.default_rng(seed).standard_normal(4)
    features = jax.device_get(RICH(toys.TETRAHEDRON, weights[0]))
    for irrep, representation in {
        "1+": VECTOR,
        "1-": PSEUDOVECTOR,
        "2+": spherical(2),
        "2-": spherical(2, -1),
    }.items():
        part = project(representation, weights[1] * features[irrep], name)
        assert np.abs(part).max() < 1e-12 * (1 + np.abs(features[irrep]).max())


@pytest.mark.parametrize("representation", EVERY, ids=str)
@pytest.mark.parametrize("name", LARGE)
def test_dimension_is_the_rank(representation, name):
    size = 4 * representation.dimension
    basis = np.eye(size).reshape(size, 4, *representation.shape)
    matrix = np.stack([project(representation, y, name).reshape(-1) for y in basis])
    keep = SUBGROUPS[name]
    free = allowed_dimension(
        representation, GROUP.elements[keep], GROUP.permutations[keep]
    )
    assert free == size - np.linalg.matrix_rank(matrix, tol=1e-8)
    # a projection: its trace is its rank
    assert size - free == pytest.approx(np.trace(matrix), abs=1e-9)


def test_no_symmetry_forbids_nothing():
    y = values(0, VECTOR)
    assert np.abs(project(VECTOR, y, "C1")).max() < 1e-14


def test_breathing_is_all_that_forces_of_a_tetrahedron_may_do():
    breathing = np.asarray(toys.TETRAHEDRON)
    assert np.abs(project(VECTOR, breathing)).max() < 1e-12
    assert allowed_dimension(VECTOR, GROUP.elements, GROUP.permutations) == 1


def test_channels_are_projected_one_by_one():
    representation = spherical(1, channels=True)
    y = np.random.default_rng(1).standard_normal((4, 3, 2))
    both = project(representation, y)
    one = project(spherical(1), y[..., 0])
    assert np.abs(both[..., 0] - one).max() < 1e-14


def test_permutations_of_another_number_of_samples():
    with pytest.raises(ArgumentError, match=r"permutations=.*the 3 samples.*\(24, 3\)"):
        forbidden_part(VECTOR, np.ones((3, 3)), GROUP.elements, GROUP.permutations)


@pytest.mark.parametrize("number", [0, -2, 3])
def test_number_of_orientations(number):
    with pytest.raises(ArgumentError, match=f"num_orientations={number}: is not even"):
        symmetry_traps(toys.problem("exact"), "x", num_orientations=number)
