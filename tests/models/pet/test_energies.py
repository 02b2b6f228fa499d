"""Targets with variants, and which of them forces are derived from."""

import ase.build
import jax
import numpy as np
import pytest
from pet_models import drawn
from small_models import TINY

from symjax.data import build_graph
from symjax.data.quantities import Block, Target
from symjax.errors import ModelError
from symjax.interop import SymjaxCalculator
from symjax.models import fingerprint, load_model, save_model
from symjax.models.pet import PETConfig, layer_names, orbit_problem, predict
from symjax.models.pet.energies import choose_energy

WATER = ase.build.molecule("H2O")


def config(*names, **changes):
    targets = tuple(
        name if isinstance(name, Target) else Target(name, "eV") for name in names
    )
    return PETConfig(species=(1, 8), targets=targets, **TINY, **changes)


@pytest.fixture(scope="module")
def model():
    """Two energies; what follows the slash is no block."""
    made = drawn(config("energy/pbe", "energy/r2scan", Target("mtt::gap/pbe", "eV")))
    made.parameters["scale"]["energy/r2scan"]["scalar"][:] = 3.0
    return made


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("energy",), "energy"),
        (("energy/pbe",), "energy/pbe"),
        (("energy/pbe", "energy"), "energy"),
        (("mtt::gap", "energy/pbe"), "energy/pbe"),
        (("mtt::gap",), None),
        ((Target("energy", "eV", per_atom=True),), None),
        ((Target("energy", blocks=(Block("scalar", properties=2),)),), None),
        (("energy_of_something",), None),
    ],
)
def test_the_default(names, expected):
    assert choose_energy(config(*names)) == expected


def test_several_are_chosen_from(model):
    with pytest.raises(ModelError, match=r"has 2.*energy/pbe, energy/r2scan"):
        choose_energy(model.config)
    assert choose_energy(model.config, "energy/r2scan") == "energy/r2scan"
    assert choose_energy(model.config, "mtt::gap/pbe") == "mtt::gap/pbe"
    with pytest.raises(ModelError, match=r"no such target.*energy/pbe or"):
        choose_energy(model.config, "energy")
    vector = config(Target("mtt::x", blocks=(Block("vector", "vector"),)))
    with pytest.raises(ModelError, match=r"is not one scalar.*no scalar"):
        choose_energy(vector, "mtt::x")


@pytest.mark.parametrize(
    "names",
    [
        ("energy/",),
        ("/pbe",),
        ("energy//pbe",),
        ("forces",),
        ("stress",),
        ("a", "a"),
        (Target("a", blocks=(Block("x"), Block("y"))), "a/x"),
    ],
)
def test_impossible_names(names):
    with pytest.raises(ModelError, match="target"):
        config(*names)


def test_round_trip(model, tmp_path):
    save_model(model, tmp_path)
    again = load_model(tmp_path)
    assert again.config == model.config
    assert fingerprint(again) == fingerprint(model)
    assert sorted(again.parameters["scale"]) == sorted(model.parameters["scale"])


def test_forces_are_those_of_the_chosen_one(model):
    graph = build_graph(WATER, model.config.cutoff, dtype="float32")
    with pytest.raises(ModelError, match="Name one of energy/pbe"):
        predict(model, graph, forces=True)
    for name in ("energy/pbe", "energy/r2scan"):
        found = predict(model, graph, forces=True, energy=name)
        # The exact derivative of another energy would not pass.
        moved, step = WATER.copy(), 1e-2
        energies = []
        for sign in (1, -1):
            moved.positions = WATER.positions
            moved.positions[0, 2] += sign * step
            one = build_graph(moved, model.config.cutoff, dtype="float32")
            at = predict(model, one, forces=True, energy=name)
            energies.append(float(at[name][0]))
        expected = -(energies[0] - energies[1]) / (2 * step)
        assert float(found["forces"][0, 2]) == pytest.approx(expected, rel=0.02)


def test_everywhere_a_model_is_used(model):
    with pytest.raises(ModelError, match="Name one of energy/pbe"):
        SymjaxCalculator(model)
    with pytest.raises(ModelError, match="Name one of energy/pbe"):
        orbit_problem(model, WATER, layers="none")
    graph = build_graph(WATER, model.config.cutoff, dtype="float32")
    expected = predict(model, graph, forces=True, energy="energy/r2scan")
    calculator = SymjaxCalculator(model, energy="energy/r2scan")
    problem = orbit_problem(model, WATER, layers="none", energy="energy/r2scan")
    assert set(problem.outputs) == {
        *(target.name for target in model.config.targets),
        "forces",
    }
    orbit = jax.jit(problem.function)(problem.x, *problem.args)
    for forces in (calculator.get_forces(WATER), orbit["forces"]):
        np.testing.assert_allclose(forces, expected["forces"], atol=1e-5)
    assert calculator.parameters["energy"] == "energy/r2scan"


def test_without_an_energy():
    """Outputs are measured; who asks for forces learns why there are none."""
    model = drawn(config("mtt::gap"))
    problem = orbit_problem(model, WATER, layers="none")
    assert list(problem.outputs) == ["mtt::gap"]
    for call in (
        lambda: orbit_problem(model, WATER, outputs=["forces"]),
        lambda: SymjaxCalculator(model),
    ):
        with pytest.raises(ModelError, match=r"cannot give forces.*mtt::gap"):
            call()
    named = orbit_problem(model, WATER, layers="none", energy="mtt::gap")
    assert set(named.outputs) == {"mtt::gap", "forces"}


def test_layers_of_variants_have_names_of_their_own(model):
    heads = [name for name in layer_names(model.config) if "heads" in name]
    assert len(set(heads)) == 6
    problem = orbit_problem(
        model, WATER, layers="node_heads.energy/pbe.0", energy="energy/pbe"
    )
    assert "node_heads.energy/pbe.0" in problem.outputs
