"""The icosahedral rotations, and the sphere rules that have them."""

import numpy as np
import pytest
from sphere_sums import largest_sums

from symjax.so3._icosahedral import (
    ICOSAHEDRAL_DEGREES,
    icosahedral_rotations,
    icosahedral_sphere,
)
from symjax.so3.point_groups import multiplication_table, schoenflies


def test_the_rotations_are_a_group():
    group = icosahedral_rotations()
    assert schoenflies(group) == "I"
    assert multiplication_table(group) is not None
    np.testing.assert_allclose(group[0], np.eye(3), atol=1e-15)


@pytest.mark.parametrize("degree", ICOSAHEDRAL_DEGREES)
def test_a_rule_is_exact_through_its_degree_and_not_above(degree):
    points, weights = icosahedral_sphere(degree)
    assert weights.min() > 0
    assert weights.sum() == pytest.approx(1, abs=1e-14)
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1, atol=1e-14)
    sums = largest_sums(points, weights, 30)
    assert sums[1 : degree + 1].max() < 1e-13
    assert sums[degree + 1 :].max() > 1e-3


@pytest.mark.parametrize("degree", ICOSAHEDRAL_DEGREES)
def test_rotations_map_a_rule_onto_itself(degree):
    points, weights = icosahedral_sphere(degree)
    for turn in icosahedral_rotations()[[1, 17, 42]]:
        apart = np.linalg.norm((points @ turn.T)[:, None] - points, axis=-1)
        assert apart.min(axis=1).max() < 1e-13
        np.testing.assert_allclose(weights[apart.argmin(axis=1)], weights)
