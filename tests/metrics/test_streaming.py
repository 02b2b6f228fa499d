"""Responses that stream by: in batches, and forgotten."""

import numpy as np

from symjax.metrics import (
    Grid,
    measure,
)
from symjax.so3 import (
    VECTOR,
)

X = np.random.default_rng(0).normal(size=(4, 3))


def test_progress_reaches_the_total():
    calls = []
    result = measure(
        lambda x: x.sum(0),
        X,
        representations=VECTOR,
        max_degree=2,
        progress=lambda *args: calls.append(args),
    )
    assert calls[-1] == (result.num_elements, result.num_elements)
    assert len(calls) >= 4


def test_memory_does_not_grow_with_the_grid():
    """The state is coefficients and moments: nothing has the size of the grid."""
    calls = []

    def function(x):
        calls.append(x.shape)
        return x

    measure(function, X, representations=VECTOR, max_degree=1, over=Grid(25))
    # traced once for the shapes, once for the budget, once for the program
    assert len(calls) <= 4
