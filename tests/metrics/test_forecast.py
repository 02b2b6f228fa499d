"""Estimates say beforehand what a measurement does."""

import pytest
from two_widths import X, features, tables_of

from symjax.errors import ArgumentError
from symjax.metrics import Adaptive, Estimate, Grid, HaarSamples, estimate, measure
from symjax.so3 import FEATURE


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
