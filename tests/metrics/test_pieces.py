"""Outputs of any shape, and none."""

import jax.numpy as jnp
import numpy as np
import pytest

from symjax.metrics import (
    Grid,
    HaarSamples,
    measure,
)
from symjax.so3 import (
    PSEUDOVECTOR,
    SCALAR,
    VECTOR,
    direct_sum,
    spherical,
)

X = np.random.default_rng(0).normal(size=(4, 3))


@pytest.mark.parametrize("over", [Grid(5), HaarSamples(8)])
def test_empty_outputs_are_skipped_and_shift_no_others(over):
    result = measure(
        lambda x: (x[:0], x.sum(0), jnp.cross(x[0], x[1])),
        X,
        representations=(VECTOR, VECTOR, PSEUDOVECTOR),
        max_degree=2,
        over=over,
    )
    assert list(result) == ["1", "2"]
    for leaf in result.values():
        assert leaf.relative_error < 1e-7


def test_direct_sum_and_channels():
    def function(x):
        v = x.sum(0)
        return jnp.concatenate([(v @ v)[None], v]), jnp.stack(
            [v[jnp.array([1, 2, 0])]] * 2, axis=-1
        )

    result = measure(
        function,
        X,
        representations=(
            direct_sum(SCALAR, VECTOR),
            spherical(1, channels=True),
        ),
        max_degree=2,
    )
    for leaf in result.values():
        assert leaf.relative_error < 1e-7
    assert result["1"].totals().count.tolist() == [6]
