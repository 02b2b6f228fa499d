"""Forces of a network that is interfered with."""

import ase.build
import jax
import numpy as np
import pytest
from small_models import small_pet

from symjax.metrics import (
    Output,
    Problem,
    StagedProblem,
    measure,
    trace,
    with_forces,
)
from symjax.metrics.stages import StagedRun
from symjax.models.pet import orbit_problem, staged_problem
from symjax.so3 import SCALAR, VECTOR

X = np.array([[0.2, -0.5, 0.8], [1.0, 0.4, 0.1]])


def test_forces_are_those_of_the_network_that_is_left():
    """Forces of a cut network are minus the derivatives of its energy: in closed form.

    The energy is h + |b|^2 g with h a cubic form of a, of which nothing is left.
    """

    def function(x, shifts):
        a, b = x
        h = a[0] * a[1] * a[2] + a @ a
        seen = h + shifts.get("h", 0.0)
        return {"energy": seen * (b @ b) + b[0] ** 3}, {"h": h}

    problem = Problem(lambda x: function(x, {})[0], X, {"energy": Output(SCALAR)})
    staged = StagedProblem(problem, (("h",),), function)
    moves = np.eye(6).reshape(6, 2, 3)
    with jax.enable_x64(True):
        found = trace(
            with_forces(staged, "energy", moves, unit="eV/angstrom"),
            max_degree=6,
        )
        whole = measure(
            Problem(
                lambda x: -jax.grad(lambda x: function(x, {})[0]["energy"])(x),
                X,
                {"output": Output(VECTOR)},
            )
        )
        left = measure(
            Problem(
                lambda x: (
                    -jax.grad(lambda x: (x[0] @ x[0]) * (x[1] @ x[1]) + x[1, 0] ** 3)(x)
                ),
                X,
                {"output": Output(VECTOR)},
            )
        )
    assert found.units["forces"] == "eV/angstrom"
    errors = found.errors["forces"]
    assert errors[0] == pytest.approx(whole["output"].equivariance_error, rel=1e-9)
    assert errors[1] == pytest.approx(left["output"].equivariance_error, rel=1e-9)
    assert errors[1] < 0.97 * errors[0]


def test_forces_of_a_network():
    """As they are, those of the model, turned too; behind its layer, invariance."""
    water = ase.build.molecule("H2O")
    water.rattle(0.05, seed=1)
    staged = staged_problem(small_pet(), water, forces_of=(0, 2))
    problem = orbit_problem(small_pet(), water, layers="none")
    run = StagedRun.of(staged, 1, 5, None)
    outputs, _ = run({})
    turn = np.asarray(run.elements[-3], np.float32)
    assert np.linalg.det(turn) < 0
    forces = jax.jit(problem.function)(problem.x @ turn.T, *problem.args)["forces"]
    size = float(np.abs(forces).max())
    again = outputs["forces"][-3]
    np.testing.assert_allclose(again, forces[np.array([0, 2])], atol=1e-5 * size)
    errors = trace(staged, max_degree=1, rule=5).errors["forces"]
    assert errors[-1] < 1e-3 * errors[0]
