"""Permutations of samples that come with elements: a group, and one for each output."""

import numpy as np
import pytest

from symjax.errors import ArgumentError
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
    with pytest.raises(ArgumentError, match="says nothing of outputs"):
        SampleSymmetry(PAIR, [P])


def test_permutations_of_an_output():
    symmetry = SampleSymmetry(PAIR, {"output": P})
    np.testing.assert_array_equal(symmetry.of_leaf("output", 2), P)
    np.testing.assert_array_equal(symmetry.of_leaf("energy", 1), [[0], [0]])
    with pytest.raises(ArgumentError, match="no permutations of the 3 samples"):
        symmetry.of_leaf("forces", 3)
    with pytest.raises(ArgumentError, match="does not permute the 3 samples"):
        symmetry.of_leaf("output", 3)
