"""What is measured of a problem, and what is refused."""

import numpy as np
import pytest

from symjax.errors import (
    ArgumentError,
    SymjaxError,
)
from symjax.metrics import (
    Grid,
    HaarSamples,
    Output,
    Problem,
    Survey,
    measure,
    measure_many,
)
from symjax.so3 import (
    FEATURE,
    SCALAR,
    VECTOR,
    finite_group,
)

X = np.random.default_rng(0).normal(size=(4, 3))
NONE = np.zeros(4, bool)


def two(x):
    return {"edges": x**2, "forces": x}


def problem(**masks):
    """A vector and a layer, of which some samples are real."""
    outputs = {"edges": Output(FEATURE, kind="edge"), "forces": Output(VECTOR)}
    given = {
        name: Output(one.representation, kind=one.kind, mask=masks.get(name))
        for name, one in outputs.items()
    }
    return Problem(two, X, given)


@pytest.mark.parametrize("over", [Grid(5), HaarSamples(8), finite_group("C4")])
def test_a_layer_without_a_real_sample_is_not_measured(over):
    """It has no A: one of 0 would be that of an exact layer."""
    result = measure(problem(edges=NONE), over=over, max_degree=1)
    assert list(result) == ["forces"]
    assert result["forces"].relative_error < 1e-6


def test_nor_is_it_in_a_survey():
    found = measure_many({"a": problem(edges=NONE)}, over=Survey(8), max_degree=1)
    assert found.pool.names == ("forces",)


def test_something_real_is_asked_for():
    with pytest.raises(ArgumentError, match=r"masks\['forces'\].*no sample"):
        measure(problem(forces=NONE))
    alone = Problem(lambda x: x, X, {"output": Output(FEATURE, kind="node", mask=NONE)})
    with pytest.raises(ArgumentError, match=r"masks\['output'\].*no sample"):
        measure(alone)


@pytest.mark.parametrize("samples", [np.arange(5), np.ones(4), np.ones((4, 2), int)])
def test_samples_are_one_integer_each(samples):
    given = Problem(lambda x: x, X, {"output": Output(VECTOR, samples=samples)})
    with pytest.raises(ArgumentError, match=r"outputs\['output'\].samples=.*\(4,\)"):
        measure(given, max_degree=1)
    with pytest.raises(ArgumentError, match=r"outputs\['output'\].samples=.*\(4,\)"):
        measure_many({"a": given}, over=Survey(8), max_degree=1)


def test_a_degree_that_nothing_resolves():
    with pytest.raises(ArgumentError, match=r"max_degree=406.*405 or less"):
        measure(problem(), over=HaarSamples(8), max_degree=406)


def vector(x):
    return x.sum(0)


@pytest.mark.parametrize(
    ("outputs", "text"),
    [
        ({"output": Output(VECTOR, mask=np.ones(4, bool))}, "masks"),
        ({"output": Output(VECTOR, mask=np.ones(()))}, "masks"),
        ({"force": Output(VECTOR)}, "outputs='force': is not an output"),
        ({}, "lacks 'output'"),
    ],
)
def test_bad_outputs_are_refused(outputs, text):
    with pytest.raises(ArgumentError, match=text):
        measure(Problem(vector, X, outputs), max_degree=2)


def test_what_a_problem_says_is_not_said_twice():
    problem = Problem(vector, X, {"output": Output(VECTOR)})
    for more in ({"x": X}, {"representations": VECTOR}, {"args": (1,)}):
        with pytest.raises(ArgumentError, match="is part of the problem"):
            measure(problem, max_degree=2, **more)


def test_two_outputs_of_one_name_are_refused():
    with pytest.raises(ArgumentError, match="two outputs have this name"):
        measure(
            lambda x: {"a/b": x[0, 0], "a": {"b": x[1, 0]}},
            X,
            representations=SCALAR,
        )


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"kind": "<script>"}, "is none of output, node"),
        ({"unit": 1.0}, "is not a string"),
        ({"representation": "vector"}, "is not a representation"),
    ],
)
def test_outputs_are_checked(given, words):
    with pytest.raises(SymjaxError, match=words):
        Output(**{"representation": VECTOR, **given})
