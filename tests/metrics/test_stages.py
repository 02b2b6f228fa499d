"""Stages are seen and left alone."""

import dataclasses

import ase.build
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_models import TINY, small_pet

from symjax.errors import ArgumentError, ModelError
from symjax.metrics import (
    Output,
    Problem,
    StagedProblem,
    trace,
)
from symjax.models.biases import Biases
from symjax.models.pet import PETConfig, init_pet, staged_problem
from symjax.so3 import SCALAR, VECTOR

X = np.array([[0.2, -0.5, 0.8], [1.0, 0.4, 0.1]])


def network(weights):
    """Two stages: 3+ enters the first, 2+ the second, 0- behind both."""

    def function(x, shifts):
        a, b = x
        cubic = a[0] * a[1] * a[2] / jnp.linalg.norm(a) ** 3
        first = jnp.stack([1.0 + weights[0] * cubic, jnp.dot(a, b)])
        seen = first + shifts.get("first", 0.0)
        square = b[0] * b[1] / jnp.dot(b, b)
        second = seen.sum() + weights[1] * square + weights[3] * cubic
        moved = second + shifts.get("second", 0.0)
        odd = jnp.linalg.det(jnp.stack([a, b, jnp.array([0.0, 0.0, 1.0])]))
        y = moved + weights[2] * odd
        return {"y": y, "vector": moved * a[None]}, {"first": first, "second": second}

    outputs = {"y": Output(SCALAR, unit="eV"), "vector": Output(VECTOR)}
    problem = Problem(lambda x: function(x, {})[0], X, outputs)
    return StagedProblem(problem, (("first",), ("second",)), function)


@pytest.mark.parametrize("kind", ["feedforward", "residual"])
def test_shifts_of_nothing_change_nothing(kind):
    """Stages are seen and left alone in both kinds of featurizer."""
    config = PETConfig((1, 8), **{**TINY, "num_gnn_layers": 2}, featurizer_type=kind)
    model = init_pet(config, jax.random.key(0))
    staged = staged_problem(model, ase.build.molecule("H2O"))
    problem, run = staged.problem, jax.jit(staged.function)
    outputs = jax.jit(problem.function)(problem.x, *problem.args)
    _, shapes = jax.eval_shape(staged.function, problem.x, {}, *problem.args)
    assert set(shapes) == {"node_0", "edge_0", "node_1", "edge_1"}
    none = {name: np.zeros(one.shape, one.dtype) for name, one in shapes.items()}
    again, features = run(problem.x, none, *problem.args)
    np.testing.assert_allclose(outputs["energy"], again["energy"], rtol=1e-6)
    for name, zeros in none.items():
        moved, _ = run(problem.x, none | {name: zeros + 0.1}, *problem.args)
        assert not np.allclose(moved["energy"], outputs["energy"], atol=1e-6)
    if kind == "residual":
        # node features are embedded anew, so that a stage is read by its head alone
        shift = none | {"node_0": none["node_0"] + 1}
        _, moved = run(problem.x, shift, *problem.args)
        np.testing.assert_allclose(moved["edge_1"], features["edge_1"], atol=1e-6)


def test_bad_input():
    with pytest.raises(ArgumentError, match="stage"):
        trace(StagedProblem(network((0, 0, 0, 0)).problem, (), None))
    plain = small_pet()
    config = dataclasses.replace(plain.config, biases=Biases(canonical_frame=True))
    framed = dataclasses.replace(plain, config=config)
    with pytest.raises(ModelError, match="canonical_frame"):
        staged_problem(framed, ase.build.molecule("H2O"))
