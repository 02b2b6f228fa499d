"""Interventions: planted causes are found, absent ones are not named."""

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
    measure,
    sector_shares,
    trace,
    with_forces,
)
from symjax.models.biases import Biases
from symjax.models.pet import PETConfig, init_pet, orbit_problem, staged_problem
from symjax.so3 import SCALAR, VECTOR, Irrep

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


# <(xyz)^2> and <(xy)^2> over directions.
CUBIC, SQUARE = 1 / 105, 1 / 15


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


def test_bad_input():
    with pytest.raises(ArgumentError, match="stage"):
        trace(StagedProblem(network((0, 0, 0, 0)).problem, (), None))
    plain = small_pet()
    config = dataclasses.replace(plain.config, biases=Biases(canonical_frame=True))
    framed = dataclasses.replace(plain, config=config)
    with pytest.raises(ModelError, match="canonical_frame"):
        staged_problem(framed, ase.build.molecule("H2O"))


def test_sectors_share_out_what_they_change():
    """Two sectors that multiply: alone each takes all away; they share it evenly."""

    def function(x, shifts):
        a, b = x[0] / jnp.linalg.norm(x[0]), x[1] / jnp.linalg.norm(x[1])
        features = {"h": jnp.stack([a[0], b[0] * b[1], 0.2 * a[2]])}
        seen = features["h"] + shifts.get("h", 0.0)
        return {"y": seen[0] * seen[1] + seen[2]}, features

    problem = Problem(lambda x: function(x, {})[0], X, {"y": Output(SCALAR)})
    staged = StagedProblem(problem, (("h",),), function)
    with jax.enable_x64(True):
        found = trace(staged, max_degree=2, sectors=True, rule=9)
        shares = sector_shares(staged, 0, max_degree=2, rule=9, orders=64)
    whole = found.errors["y"][0] ** 2
    product = whole - 0.04 / 3
    by_name = dict(zip(map(str, shares.sectors), shares.values["y"], strict=True))
    assert by_name["2+"] == pytest.approx(product / 2, rel=0.2)
    assert by_name["1+"] == pytest.approx(product / 2 + 0.04 / 3, rel=0.2)
    assert sum(by_name.values()) + shares.left["y"] == pytest.approx(whole)
    # of orders and their reverses each sector comes first in exactly half
    assert by_name["2+"] == pytest.approx(product / 2, rel=1e-6)
    assert abs(by_name["2-"]) + abs(by_name["None"]) + shares.left["y"] < 1e-12
    # alone, 1+ takes all and 2+ the product: more than there is
    assert found.interactions("y")[0] == pytest.approx(-product)


def test_all_orders_of_few_sectors_are_tried():
    with jax.enable_x64(True):
        shares = sector_shares(network((0.7, 0.1, 0.0, 0.0)), 0, max_degree=1, rule=9)
    assert len(shares.sectors) == 4
    assert not shares.errors["y"].any()
    # of degree 3, so above these
    assert shares.values["y"][-1] == pytest.approx(0.49 * CUBIC)


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
    turn = -np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]], np.float32)
    of = staged.problem
    again = jax.jit(of.function)(of.action(turn, of.x), *of.args)["forces"]
    forces = jax.jit(problem.function)(problem.x @ turn.T, *problem.args)["forces"]
    size = float(np.abs(forces).max())
    np.testing.assert_allclose(again, forces[np.array([0, 2])], atol=1e-5 * size)
    errors = trace(staged, max_degree=1, rule=5).errors["forces"]
    assert errors[-1] < 1e-3 * errors[0]
