"""Fine-tuning on other references of energies, other species and other targets."""

import contextlib
import copy
import dataclasses
import warnings

import ase.build
import ase.io
import ase.units
import jax
import numpy as np
import pytest
from small_models import small_pet
from water_runs import ENERGY, TINY, frames

from symjax.data import GraphShape, Target, pad_graph
from symjax.errors import ArgumentError, ModelError
from symjax.models import load_model, save_model
from symjax.models.pet import PETConfig, init_pet, predict
from symjax.training import parse_run
from symjax.training.batches import prepare_data
from symjax.training.fine_tuning import (
    check_targets,
    differences,
    extend_model,
    start_from,
)
from symjax.training.fitted import labels_of
from symjax.training.problems import atoms_problem
from symjax.training.sections import TargetSection

SHIFT = 500 * ase.units.kcal / ase.units.mol
SPECIES = (1, 7, 8)


def settings(path, initial, **model):
    return {
        "steps": 2,
        "validate_every": 0,
        "data": {"training": str(path), "validation_fraction": 0.25},
        "model": {"initial": str(initial), **model},
        "targets": ENERGY,
        "batch": {"max_structures": 3, "max_atoms": 12},
        "optimizer": {"warmup": 0, "learning_rate": 1e-2},
    }


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """An initial model, and labels with and without a shift of its energies."""
    folder = tmp_path_factory.mktemp("fine-tuning")
    run = parse_run(
        {
            "steps": 1,
            "data": {"training": "frames.xyz"},
            "targets": ENERGY,
            "model": {"hyperparameters": TINY},
        }
    )
    model = init_pet(run.pet_config(SPECIES), jax.random.key(3), "initial")
    model.parameters["baseline"]["energy"]["scalar"][:] = [[-5.0], [-25.0], [-20.0]]
    save_model(model, folder / "initial")
    for name, shift in (("own.xyz", 0.0), ("shifted.xyz", SHIFT)):
        made = frames()
        for atoms in made:
            atoms.info["energy"] -= shift
        ase.io.write(folder / name, made)
    return folder


def test_another_reference_is_refused_by_name(files):
    run = parse_run(settings(files / "shifted.xyz", files / "initial"))
    with pytest.raises(
        ArgumentError,
        match=r"targets\.energy=.*eV/atom.*another reference.*model\.initial.*"
        r"model\.refit_baselines = true",
    ):
        atoms_problem(run)


def test_baselines_that_are_fitted_again_take_the_shift(files):
    """Errors are those of labels that were never shifted."""
    errors, models = {}, {}
    for name in ("own.xyz", "shifted.xyz"):
        run = settings(files / name, files / "initial", refit_baselines=True)
        problem = atoms_problem(parse_run(run))
        start = problem.task.params, problem.task.statistics
        errors[name], models[name] = problem.validate(*start), problem.model(*start)
    # Energies per atom of some -17 eV are read back from baselines in float32.
    for name, value in errors["own.xyz"].items():
        assert errors["shifted.xyz"][name] == pytest.approx(value, rel=1e-5)
    change = [
        models["shifted.xyz"].parameters["baseline"]["energy"]["scalar"]
        - models["own.xyz"].parameters["baseline"]["energy"]["scalar"]
    ]
    # Two atoms of H and one of O, three of H and one of N: both moved by the shift.
    counts = np.array([[2, 0, 1], [3, 1, 0]])
    np.testing.assert_allclose(counts @ change[0], -SHIFT, atol=1e-4)


def test_a_kept_reference_is_warned_of(files):
    run = settings(files / "shifted.xyz", files / "initial", refit_baselines=False)
    with pytest.warns(UserWarning, match=r"targets\.energy: labels differ .*eV/atom"):
        atoms_problem(parse_run(run))


def test_labels_far_from_new_baselines_are_warned_of(files, tmp_path):
    """Geometries differ much, energies little: no reference explains that."""
    made = frames()
    for index, atoms in enumerate(made):
        atoms.rattle(0.4, seed=index)
        atoms.info["energy"] = -10.0 * len(atoms)
    ase.io.write(tmp_path / "quiet.xyz", made)
    run = parse_run(
        settings(tmp_path / "quiet.xyz", files / "initial", refit_baselines=True)
    )
    with pytest.warns(UserWarning, match=r"targets\.energy: labels differ"):
        atoms_problem(run)


@pytest.fixture(scope="module")
def foretold(files):
    """A run, its initial model, its configuration, and structures it is right about."""
    run = settings("frames.xyz", files / "initial", refit_baselines=True)
    run["targets"] = {"energy": {"energy_unit": "eV", "forces": "forces"}}
    run = parse_run(run)
    initial = _initial(run)
    config, made = check_targets(initial, run), frames()
    for atoms, graph in zip(made, prepare_data(made, {}, config).graphs, strict=True):
        # Of one shape, that of ammonia.
        found = predict(initial, pad_graph(graph, GraphShape(4, 3, 1)), forces=True)
        atoms.info["energy"] = float(found["energy"][0])
        atoms.arrays["forces"] = np.asarray(found["forces"])[: len(atoms)]
    return run, initial, config, made


@pytest.mark.parametrize("factor", [-1.0, 1 / 23.06, 0.529, 3.4, 1.0])
@pytest.mark.parametrize("quantity", ["energy", "forces"])
def test_labels_that_are_a_multiple_of_predictions(foretold, quantity, factor):
    """Another unit or sign than was said is refused; a weak model is warned of."""
    run, initial, config, made = copy.deepcopy(foretold)
    for atoms in made:
        rows = atoms.info if quantity == "energy" else atoms.arrays
        rows[quantity] = factor * rows[quantity]
    data, labels = (
        prepare_data(made, run.targets, config),
        labels_of(run.targets, config),
    )
    expected = {1.0: contextlib.nullcontext(), 3.4: pytest.warns(match="3.4 times")}
    refused = pytest.raises(ArgumentError, match=rf"targets\.{quantity}=.*unit or sign")
    with expected.get(factor, refused), warnings.catch_warnings():
        if factor == 1.0:
            warnings.simplefilter("error")
        start_from(initial, config, labels, data, run)


def test_labels_on_the_models_own_reference_pass(files, tmp_path):
    run = parse_run(settings(files / "own.xyz", files / "initial"))
    config = check_targets(_initial(run), run)
    data = prepare_data(frames(), run.targets, config)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # Four times the spread of these labels, as a network without training adds.
        quiet = _quiet(_initial(run))
        model = start_from(quiet, config, labels_of(run.targets, config), data, run)
    jax.tree.map(np.testing.assert_array_equal, model.parameters, quiet.parameters)


def _initial(run):
    from symjax.models import load_model

    return load_model(run.model.initial)


def _quiet(model):
    """The same with a network that says little beside the labels."""
    scale = jax.tree.map(lambda leaf: 0.01 * leaf, model.parameters["scale"])
    parameters = {**model.parameters, "scale": scale}
    return dataclasses.replace(model, parameters=parameters)


def test_differences_are_those_of_least_squares():
    rng = np.random.default_rng(0)
    counts = rng.integers(1, 5, (30, 3)).astype(float)
    baseline = np.array([[-1.0], [-30.0], [-70.0]])
    noise = rng.normal(size=(30, 1))
    values = counts @ baseline + noise
    values[4] = np.nan
    apart = counts @ np.array([[0.3], [0.0], [-2.0]]) + 1e-9 * noise
    apart[4] = np.nan
    found = differences(counts, values, apart)
    known = np.isfinite(values[:, 0])
    atoms = counts.sum(axis=1)
    expected = (apart[:, 0] / atoms)[known]
    assert found.reference == pytest.approx(np.sqrt(np.mean(expected**2)), rel=1e-6)
    assert found.rest < 1e-8
    solution = np.linalg.pinv(counts[known]) @ values[known]
    about = ((values - counts @ solution)[:, 0] / atoms)[known]
    assert found.spread == pytest.approx(np.sqrt(np.mean(about**2)), rel=1e-9)


def test_species_are_added(files, tmp_path):
    """What the model says of its own species stays; the new ones are learnt."""
    made = frames(8)
    for index in range(4):
        atoms = ase.build.molecule("CH4")
        atoms.rattle(0.05, seed=index)
        atoms.info["energy"] = -57.0 + 0.1 * index
        atoms.arrays["forces"] = np.zeros((5, 3))
        made.append(atoms)
    ase.io.write(tmp_path / "more.xyz", made)
    run = settings(tmp_path / "more.xyz", files / "initial", refit_baselines=False)
    run["data"]["validation_fraction"] = 0.0
    with pytest.warns(UserWarning, match=r"atomic numbers \[6\] are new to the init"):
        problem = atoms_problem(parse_run(run))
    started = problem.model(problem.task.params, problem.task.statistics)
    config = started.config
    assert config.species == (1, 6, 7, 8)
    initial = _initial(parse_run(run))
    extended = extend_model(initial, config, seed=0)
    old, new = (
        predict(one, prepare_data(frames(1), {}, one.config).graphs[0])
        for one in (initial, extended)
    )
    jax.tree.map(np.testing.assert_array_equal, old, new)
    baseline = started.parameters["baseline"]["energy"]["scalar"][:, 0]
    np.testing.assert_array_equal(baseline[[0, 2, 3]], [-5.0, -25.0, -20.0])
    # -57 less four atoms of H at -5, and what the network says without training.
    assert baseline[1] == pytest.approx(-37.0, abs=5.0)


def test_refitting_needs_an_initial_model():
    run = {"steps": 1, "data": {"training": "frames.xyz"}, "targets": ENERGY}
    with pytest.raises(ArgumentError, match="those of a fresh one are always fitted"):
        parse_run({**run, "model": {"refit_baselines": True}})
    with pytest.raises(ArgumentError, match="events have no baselines"):
        parse_run(
            {
                "kind": "events",
                "steps": 1,
                "model": {"initial": "a", "refit_baselines": True},
            }
        )


def test_new_targets_join_a_trained_model():
    model = small_pet()
    run = parse_run(
        {
            "steps": 1,
            "data": {"training": "frames.xyz"},
            "model": {"initial": "pet-ethanol"},
            "targets": {"dipole_moment": {"kind": "vector"}},
        }
    )
    extended = extend_model(model, check_targets(model, run), seed=0)
    data = prepare_data(frames(1), {}, model.config)
    outputs = predict(extended, data.graphs[0])
    assert outputs["dipole_moment"].shape == (1, 3)
    np.testing.assert_array_equal(
        outputs["energy"], predict(model, data.graphs[0])["energy"]
    )
    other = {"steps": 1, "data": {"training": "f"}, "model": {"initial": "pet-ethanol"}}
    wrong = parse_run({**other, "targets": {"energy": {"kind": "vector"}}})
    with pytest.raises(ModelError, match=r"targets\.energy"):
        check_targets(model, wrong)


def test_models_without_invariants_are_trained_on():
    """Their baselines are empty, and stay so."""
    section = TargetSection(kind="vector")
    config = PETConfig(SPECIES, (section.target("dipole"),), **TINY)
    model = init_pet(config, jax.random.key(0))
    assert model.parameters["baseline"] == {"dipole": {}}
    extended = extend_model(model, config, seed=1)
    assert extended.parameters["baseline"] == {"dipole": {}}
    jax.tree.map(np.testing.assert_array_equal, extended.parameters, model.parameters)


@pytest.mark.parametrize("unit", ["eV", "kcal/mol", "Hartree"])
def test_labels_are_fitted_in_the_unit_of_the_initial_model(unit):
    """Whatever the unit of the file; forces follow."""
    target = Target("energy", unit)
    model = dataclasses.replace(
        load_model("pet-ethanol"), config=PETConfig(SPECIES, (target,), **TINY)
    )
    atoms = frames(1)[0]
    section = {"energy_unit": "kJ/mol", "length_unit": "bohr", "forces": "forces"}
    run = parse_run(
        {
            "steps": 1,
            "data": {"training": "frames.xyz"},
            "model": {"initial": "pet-ethanol"},
            "targets": {"energy": section},
        }
    )
    config = check_targets(model, run)
    data = prepare_data([atoms], run.targets, config)
    sizes = {"eV": 1.0, "kcal/mol": ase.units.kcal / ase.units.mol}
    size = ase.units.kJ / ase.units.mol / sizes.get(unit, ase.units.Hartree)
    np.testing.assert_allclose(
        data.values["energy"][0].item(), size * atoms.info["energy"], rtol=1e-12
    )
    np.testing.assert_allclose(
        data.values["forces"][0][..., 0],
        size / ase.units.Bohr * atoms.arrays["forces"],
        rtol=1e-12,
    )
    labels = {label.name: label.unit for label in labels_of(run.targets, config)}
    assert labels == {"energy": unit, "forces": f"{unit}/angstrom"}


def test_labels_that_measure_something_else_are_refused():
    model = load_model("pet-ethanol")
    config = dataclasses.replace(model.config, targets=(Target("hardness", "eV"),))
    model = dataclasses.replace(model, config=config)
    run = parse_run(
        {
            "steps": 1,
            "data": {"training": "frames.xyz"},
            "model": {"initial": "pet-ethanol"},
            "targets": {"hardness": {"unit": "angstrom"}},
        }
    )
    with pytest.raises(ModelError, match=r"targets.hardness.unit='angstrom'.*to eV"):
        check_targets(model, run)
