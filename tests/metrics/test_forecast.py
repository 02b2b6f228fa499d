"""Estimates say beforehand what a measurement does."""

import jax.numpy as jnp
import numpy as np
import pytest

from symjax.errors import ArgumentError
from symjax.metrics import Adaptive, Estimate, Grid, HaarSamples, estimate, measure
from symjax.metrics.pieces import Leaf
from symjax.metrics.planning import Elements, table_bytes
from symjax.so3 import FEATURE, quadrature

X = np.random.default_rng(0).normal(size=(6, 3))


def features(x):
    return {
        "wide": jnp.tanh(x @ jnp.arange(120.0).reshape(3, 40) / 60),
        "narrow": jnp.sin(x),
    }


LEAVES = {
    "wide": Leaf(FEATURE, (6, 40), "float32"),
    "narrow": Leaf(FEATURE, (6, 3), "float32"),
}


def tables_of(degree, max_degree, leaves=LEAVES):
    elements = Elements(quadrature(degree), None)
    return table_bytes(leaves.values(), elements, max_degree, "factorised")


def test_estimate_counts_what_measure_evaluates():
    options = {"representations": FEATURE, "max_degree": 4}
    cost = estimate(features, X, **options)
    result = measure(features, X, over=Grid(on_aliasing="report"), **options)
    assert (cost.num_elements, cost.num_passes) == (result.num_elements, 1)
    assert cost.seconds > 0
    divided = estimate(features, X, memory=2 * 10**5 + tables_of(9, 4), **options)
    assert divided.num_passes > 1
    assert divided.num_elements == divided.num_passes * cost.num_elements


def test_estimate_refuses_what_has_no_fixed_cost():
    with pytest.raises(ArgumentError, match="over"):
        estimate(features, X, representations=FEATURE, over=Adaptive())
    with pytest.raises(ArgumentError, match="memory"):
        estimate(features, X, representations=FEATURE, memory=1000)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.25, "0.25 s"), (75, "1 min 15 s"), (1800, "30 min"), (7260, "2 h 1 min")],
)
def test_durations_are_readable(seconds, text):
    assert text in str(Estimate(100, 1, seconds, 2**30))


def test_samples_cost_what_they_are():
    cost = estimate(features, X, representations=FEATURE, over=HaarSamples(8))
    assert (cost.num_elements, cost.num_passes) == (16, 1)
    assert cost.seconds > 0
