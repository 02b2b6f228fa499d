"""Structures that are evaluated together, in several threads or in one."""

import threading

import numpy as np
import pytest

from symjax.errors import ArgumentError
from symjax.metrics import Output, Survey
from symjax.metrics.packs import Pack, in_order, measure_packs
from symjax.so3 import VECTOR

V = np.array([0.3, -0.5, 0.8])


def pack(*labels, wrong=()):
    """A vector of each structure and its squares, which do not turn as it."""

    def respond(elements):
        turned = elements @ V + 0.1 * (elements @ V) ** 2
        turned[:, [label in wrong for label in labels]] = np.nan
        return {"f": turned}

    owners = {"f": np.arange(len(labels))}
    return Pack(labels, (1,) * len(labels), respond, {"f": Output(VECTOR)}, owners)


def test_packs_and_threads_change_nothing():
    """Elements depend on the label alone, so that sums do not on what else is there."""
    over = Survey(8)
    (together,) = measure_packs([pack("a", "b", "c")], over, 2)
    apart = measure_packs([pack("a"), pack("b", "c")], over, 2, threads=2)
    parts = [item for items in apart for item in items]
    assert [item.label for item in parts] == ["a", "b", "c"]
    for one, other in zip(together, parts, strict=True):
        for mine, theirs in zip(one.sums["f", 0], other.sums["f", 0], strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-12, atol=1e-15)


def test_what_is_not_finite_names_its_structure():
    packs = [pack("a", "b", wrong=("b",))]
    with pytest.raises(ArgumentError, match="is not finite for the structure b"):
        list(measure_packs(packs, Survey(8), 2))


def test_results_come_in_order_and_errors_at_their_place():
    """The second is done before the first, which waits for it."""
    done = threading.Event()

    def task(number):
        if number == 0:
            assert done.wait(10)
        if number == 1:
            done.set()
        if number == 3:
            raise ValueError(number)
        return number

    found = in_order(task, range(5), 2)
    assert [next(found) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="3"):
        next(found)
