"""Batches are reproducible, within their limits, and fair to every structure."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from symjax.data import GraphShape
from symjax.errors import ArgumentError
from symjax.training.configuration import BatchSection
from symjax.training.loader import BatchPlan, batch_shape, load, stack_parts


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=12),
    st.integers(9, 30),
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(0, 5),
)
def test_plans_are_fair_and_within_limits(sizes, atoms, structures, accumulate, seed):
    sizes = np.array(sizes)
    batch = BatchSection(
        max_atoms=atoms, max_structures=structures, accumulate=accumulate
    )
    shapes = [GraphShape(size, size, 1) for size in sizes]
    plan = BatchPlan(sizes, batch, seed)
    backwards = BatchPlan(sizes, batch, seed)
    steps = [plan[step] for step in range(8)]
    for step in reversed(range(8)):
        for one, other in zip(steps[step], backwards[step], strict=True):
            np.testing.assert_array_equal(one, other)
    parts = [part for step in steps for part in step]
    assert len(parts) == 8 * accumulate
    for part in parts:
        assert 1 <= len(part) <= structures
        assert sizes[part].sum() <= atoms
        shape = batch_shape([part], shapes, batch)
        assert shape.num_atoms >= sizes[part].sum()
        assert shape.num_structures >= len(part)
        assert shape.num_neighbors >= sizes[part].max()
    # nobody is drawn twice before all have been drawn once
    drawn = np.concatenate(parts)
    for start in range(0, len(drawn) - len(sizes) + 1, len(sizes)):
        epoch = drawn[start : start + len(sizes)]
        np.testing.assert_array_equal(np.sort(epoch), np.arange(len(sizes)))


def test_seeds_matter():
    sizes, batch = np.full(50, 3), BatchSection(max_structures=10)
    first, second = BatchPlan(sizes, batch, 0)[0][0], BatchPlan(sizes, batch, 1)[0][0]
    assert not np.array_equal(first, second)


def test_bad_limits_are_refused():
    with pytest.raises(ArgumentError, match="largest structure has 9 atoms"):
        BatchPlan(np.array([3, 9]), BatchSection(max_atoms=8), 0)
    with pytest.raises(ArgumentError, match="holds no structure"):
        BatchPlan(np.array([], int), BatchSection(), 0)


def test_loading_goes_on_anywhere():
    assert list(load(lambda step: step**2, 3, 6)) == [9, 16, 25]
    assert list(load(lambda step: step, 4, 4)) == []


def test_parts_become_micro_batches_and_shards():
    parts = [{"a": np.full(2, n)} for n in range(6)]
    stacked = stack_parts(parts, BatchSection(accumulate=3, devices=2))["a"]
    assert stacked.shape == (3, 2, 2)
    np.testing.assert_array_equal(stacked[..., 0], [[0, 1], [2, 3], [4, 5]])
