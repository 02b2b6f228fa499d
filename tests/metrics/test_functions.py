"""Functions on the host: one output for each input, in their order."""

import numpy as np
import pytest

from symjax.errors import ArgumentError
from symjax.metrics import HostFunction, measure
from symjax.so3 import SCALAR

X = np.random.default_rng(0).normal(size=(4, 3))


def run(function, x=X, **options):
    options = {"representations": SCALAR, "max_degree": 1} | options
    return measure(function, x, **options)


@pytest.mark.parametrize(
    ("order", "problem"),
    [
        (lambda outputs: outputs[::-1], "in another order than inputs"),
        (lambda outputs: outputs[:-1], "outputs came back for"),
        (lambda outputs: outputs + outputs[:1], "outputs came back for"),
    ],
)
def test_outputs_of_a_batch_in_another_order_are_refused(order, problem):
    function = HostFunction(lambda batch: order([x[0, 0] for x in batch]), batched=True)
    with pytest.raises(ArgumentError, match=problem):
        run(function)
