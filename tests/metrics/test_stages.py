"""Stages are seen and left alone."""

import dataclasses

import ase.build
import jax
import numpy as np
import pytest
from planted_causes import network
from small_models import drawn_pet, small_pet

from symjax.errors import ArgumentError, ModelError
from symjax.metrics import (
    StagedProblem,
    trace,
)
from symjax.models.biases import Biases
from symjax.models.pet import staged_problem


@pytest.mark.parametrize("kind", ["feedforward", "residual"])
def test_shifts_of_nothing_change_nothing(kind):
    """Stages are seen and left alone in both kinds of featurizer."""
    model = drawn_pet((1, 8), num_gnn_layers=2, featurizer_type=kind, directions=1.0)
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
