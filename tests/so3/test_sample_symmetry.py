"""Permutations of samples that come with elements: a group, and one for each output."""

import numpy as np
import pytest

from symjax.errors import ArgumentError
from symjax.so3 import finite_group
from symjax.so3.sample_symmetry import SampleSymmetry

P = np.array([[0, 1], [1, 0]])
PAIR = np.stack([np.eye(3), -np.eye(3)])


def test_bad_symmetries():
    with pytest.raises(ArgumentError, match="not closed"):
        SampleSymmetry(np.stack([np.eye(3), np.diag([1.0, -1, 1])[[1, 0, 2]]]), {})
    with pytest.raises(ArgumentError, match="not one permutation"):
        SampleSymmetry(PAIR, {"output": np.array([[0, 1], [1, 1]])})
    with pytest.raises(ArgumentError, match="not one permutation"):
        SampleSymmetry(PAIR, {"output": P[:1]})
    with pytest.raises(ArgumentError, match="not positive"):
        SampleSymmetry(PAIR, {"output": P}, tolerance=-1)
    with pytest.raises(ArgumentError, match="not a mapping"):
        SampleSymmetry(PAIR, [P])


def test_permutations_compose_as_the_elements_do():
    """The relation is evaluated at generators only: it must hold for products too."""
    group = finite_group("C4").elements
    cycle = np.array([np.roll(np.arange(4), -k) for k in range(4)])
    assert SampleSymmetry(group, {"output": cycle}).order == 4
    for wrong in (cycle[[0, 1, 3, 2]], np.where([[1], [0], [1], [0]], cycle[0], cycle)):
        with pytest.raises(ArgumentError, match="do not compose"):
            SampleSymmetry(group, {"output": wrong})


def test_permutations_of_an_output():
    symmetry = SampleSymmetry(PAIR, {"output": P})
    np.testing.assert_array_equal(symmetry.of_leaf("output", 2), P)
    np.testing.assert_array_equal(symmetry.of_leaf("energy", 1), [[0], [0]])
    with pytest.raises(ArgumentError, match="no permutations of the 3 samples"):
        symmetry.of_leaf("forces", 3)
    with pytest.raises(ArgumentError, match="does not permute the 3 samples"):
        symmetry.of_leaf("output", 3)
