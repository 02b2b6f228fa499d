"""Interventions: planted causes are found, absent ones are not named."""

import ase.build
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from planted_causes import CUBIC, SQUARE, X, network
from small_models import small_pet

from symjax.metrics import (
    Output,
    Problem,
    StagedProblem,
    measure,
    trace,
)
from symjax.models.pet import orbit_problem, staged_problem
from symjax.so3 import SCALAR, Irrep


def test_contributions_are_those_that_were_planted():
    with jax.enable_x64(True):
        found = trace(network((0.7, 0.3, 0.0, 0.0)), max_degree=4)
    assert found.units == {"y": "eV", "vector": ""}
    np.testing.assert_allclose(
        found.contributions("y"), [0.49 * CUBIC, 0.09 * SQUARE, 0.0], atol=1e-12
    )
    a = X[0] @ X[0] / 3
    np.testing.assert_allclose(
        found.contributions("vector"),
        [0.49 * CUBIC * a, 0.09 * SQUARE * a, 0.0],
        atol=1e-12,
    )


def test_what_enters_behind_the_last_stage_is_said():
    with jax.enable_x64(True):
        found = trace(network((0.0, 0.0, 0.2, 0.0)), max_degree=2)
    first, second, behind = found.contributions("y")
    assert abs(first) + abs(second) < 1e-12
    assert behind == pytest.approx(found.errors["y"][0] ** 2)
    assert behind > 1e-4


def test_contributions_that_cancel_are_negative():
    """Each of the two stages brings what the other takes away."""
    with jax.enable_x64(True):
        found = trace(network((0.5, 0.0, 0.0, -0.5)), max_degree=4)
    first, second, behind = found.contributions("y")
    assert found.errors["y"][0] < 1e-9
    assert first == pytest.approx(-0.25 * CUBIC)
    assert second == pytest.approx(0.25 * CUBIC)
    assert behind == pytest.approx(0, abs=1e-12)


def test_the_sector_that_was_planted_is_blamed():
    with jax.enable_x64(True):
        found = trace(network((0.7, 0.1, 0.0, 0.0)), max_degree=4, sectors=True)
    assert found.blamed("y") == (0, Irrep(3, 1))
    without = found.without["y"]
    assert without[0, 3, 0] == pytest.approx(np.sqrt(0.01 * SQUARE), rel=1e-6)
    # and sectors that are not there change nothing
    rest = np.delete(without[0].reshape(-1), 3 * 2)
    np.testing.assert_allclose(rest, found.errors["y"][0], rtol=1e-9)


def test_nothing_is_blamed_where_nothing_lowers_the_error():
    with jax.enable_x64(True):
        found = trace(network((0.0, 0.0, 0.0, 0.0)), max_degree=2, sectors=True)
    assert found.blamed("y") is None
    plain = trace(network((0.1, 0.0, 0.0, 0.0)), max_degree=2)
    assert plain.blamed("y") is None


@pytest.fixture(scope="module")
def molecule():
    atoms = ase.build.molecule("H2CO")
    atoms.rattle(0.05, seed=0)
    return atoms


def test_a_network_cut_behind_its_last_layer_is_invariant(molecule):
    model = small_pet()
    found = trace(staged_problem(model, molecule), max_degree=4)
    result = measure(orbit_problem(model, molecule, layers="none", outputs=["energy"]))
    errors = found.errors["energy"]
    assert len(errors) == 1 + model.config.num_gnn_layers
    assert errors[0] == pytest.approx(result["energy"].equivariance_error, rel=0.02)
    # heads read invariant features and cutoffs alone
    assert errors[-1] < 1e-3 * errors[0]
    assert found.contributions("energy").sum() == pytest.approx(errors[0] ** 2)


def test_a_planted_cause_in_a_network(molecule):
    """Noise of one sector in the edges of the first layer, ten times A."""
    staged = staged_problem(small_pet(), molecule)

    def planted(x, shifts, *args):
        direction = x[0, 0] / jnp.linalg.norm(x[0, 0])
        noise = 0.9 * direction[0] * direction[1] * direction[2]
        _, features = staged.function(x, shifts, *args)
        seen = {"edge_0": noise * jnp.ones_like(features["edge_0"])}
        both = {**shifts, "edge_0": shifts.get("edge_0", 0.0) + seen["edge_0"]}
        outputs, features = staged.function(x, both, *args)
        return outputs, {**features, "edge_0": features["edge_0"] + seen["edge_0"]}

    problem = staged.problem
    of = StagedProblem(
        Problem(
            lambda x, *args: planted(x, {}, *args)[0],
            problem.x,
            problem.outputs,
            problem.action,
            problem.args,
        ),
        staged.stages[:1],
        planted,
    )
    plain = trace(staged, max_degree=3).errors["energy"][0]
    found = trace(of, max_degree=3, sectors=True)
    assert found.errors["energy"][0] > 5 * plain
    assert found.blamed("energy") == (0, Irrep(3, 1))
    assert found.without["energy"][0, 3, 0] < 0.3 * found.errors["energy"][0]


def test_the_error_on_labels_follows():
    """What breaks the symmetry can be what the labels ask for, on the mean."""
    staged = network((0.7, 0.3, 0.0, 0.0))
    problem = staged.problem
    right = 1.0 + X[0] @ X[1] + 0.25
    labelled = Output(SCALAR, unit="eV", labels=np.array(right))
    outputs = {**problem.outputs, "y": labelled}
    of = StagedProblem(
        Problem(problem.function, X, outputs), staged.stages, staged.function
    )
    with jax.enable_x64(True):
        found = trace(of, max_degree=4, sectors=True)
    variances = np.square(found.errors["y"])
    np.testing.assert_allclose(
        np.square(found.label_errors["y"]), 0.25**2 + variances, atol=1e-12
    )
    assert set(found.label_errors) == {"y"}
    assert found.label_errors_without["y"][0, 3, 0] == pytest.approx(
        np.sqrt(0.25**2 + 0.09 * SQUARE), rel=1e-6
    )
