"""The loss of PET: unbiased under augmentation, independent of padding."""

import dataclasses

import ase.units
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_models import small_pet
from water_runs import TARGETS, TINY, frames

from symjax.data import GraphShape, Target
from symjax.errors import ModelError
from symjax.models import load_model
from symjax.models.pet import PETConfig, cast_parameters, init_pet, predict
from symjax.so3 import quadrature
from symjax.so3.action import act_on_samples
from symjax.training import parse_run
from symjax.training.atomistic import (
    atomistic_task,
    penalized_loss,
    predict_labels,
    turned_loss,
)
from symjax.training.augmentation import random_elements
from symjax.training.baselines import (
    fresh_model,
    loss_units,
    subtract_baselines,
)
from symjax.training.batches import collate, prepare_data
from symjax.training.configuration import PenaltySection
from symjax.training.fine_tuning import check_targets, extend_model
from symjax.training.fitted import labels_of
from symjax.training.optimisation import gradients
from symjax.training.sections import TargetSection
from symjax.training.validation import validation_errors

SECTIONS = {
    name: TargetSection(**{**section, "loss": "squared"})
    for name, section in TARGETS.items()
}
SPECIES = (1, 7, 8)
CONFIG = PETConfig(
    SPECIES, tuple(s.target(name) for name, s in SECTIONS.items()), **TINY
)
LABELS = labels_of(SECTIONS, CONFIG)


@pytest.fixture(scope="module")
def fitted():
    """A model, data without baselines, and their spread."""
    data = prepare_data(frames(), SECTIONS, CONFIG)
    model = fresh_model(CONFIG, LABELS, data, 0, "pet")
    data = subtract_baselines(CONFIG, data, model.parameters["baseline"])
    return model, data, loss_units(LABELS, data)


def totals(batch):
    return {name: jnp.sum(known) for name, known in batch.known.items()}


def test_the_penalty_is_the_spread_over_elements(fitted):
    """By its definition from predictions at each element, and 0 where all are one."""
    model, data, size = fitted
    penalty = PenaltySection(weight=0.5, elements=3)
    batch = collate(LABELS, data, [0, 1], GraphShape(8, 4, 2), np.float64)
    elements = random_elements(jax.random.key(0), 6).astype(jnp.float64)
    elements = elements.reshape(2, 3, 3, 3)
    params = jax.tree.map(
        lambda leaf: jnp.asarray(leaf, jnp.float64), model.parameters["network"]
    )
    terms = jax.jit(penalized_loss(model, LABELS, size, penalty, "float64"))
    single = jax.jit(turned_loss(model, LABELS, size, "float64"))
    found = terms(params, batch, elements, totals(batch))
    parts = [single(params, batch, elements[:, k], totals(batch)) for k in range(3)]
    for label in LABELS:
        mean = np.mean([part[label.name] for part in parts])
        np.testing.assert_allclose(found[label.name], mean, rtol=1e-12)

    parameters = cast_parameters({**model.parameters, "network": params}, "float64")
    graph, spread = jax.tree.map(jnp.asarray, batch.graph), 0.0
    predicted = jax.jit(
        lambda turned: predict_labels(model.config, LABELS, parameters, turned)[0]
    )
    owner = np.asarray(graph.structure)
    back = {label.name: [] for label in LABELS}
    for k in range(3):
        own = np.asarray(elements[:, k])
        turned = np.einsum("anc,adc->and", graph.vectors, own[owner])
        turned = graph.replace(vectors=jnp.asarray(turned))
        for label in LABELS:
            inverse = np.swapaxes(own[owner] if label.per_atom else own, -1, -2)
            values = predicted(turned)[label.name]
            back[label.name].append(
                act_on_samples(label.representation, jnp.asarray(inverse), values)
            )
    for label in LABELS:
        values = np.array(back[label.name]) / size[label.name]
        variance = np.var(values, axis=0, ddof=1)
        if label.divide_by_atoms:
            variance /= np.bincount(owner, graph.atom_mask)[:, None] ** 2
        known = batch.known[label.name]
        count = totals(batch)[label.name]
        spread += label.weight * np.sum(np.where(known, variance, 0)) / count
    np.testing.assert_allclose(found["penalty"], 0.5 * spread, rtol=1e-9)
    same = jnp.broadcast_to(elements[:, :1], elements.shape)
    assert terms(params, batch, same, totals(batch))["penalty"] < 1e-20


def test_augmented_gradients_are_unbiased(fitted):
    """The mean over random elements is the integral over O(3), within its noise.

    Gradients are projected onto random directions. The integral is that of a rule of
    degree 9; three standard errors are exceeded once in 370 cases, and six numbers
    are compared at five.
    """
    model, data, size = fitted
    terms = turned_loss(model, LABELS, size, "float64")
    batch = collate(LABELS, data, [0], GraphShape(3, 2, 1), np.float64)
    params = jax.tree.map(jnp.asarray, model.parameters["network"])
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), params)
    keys = jax.random.split(jax.random.key(3), 6)
    directions = [
        jax.tree.map(lambda leaf, k=k: jax.random.normal(k, leaf.shape), params)
        for k in keys
    ]

    def slopes(element):
        def loss(params):
            return sum(terms(params, batch, element[None], totals(batch)).values())

        gradient = jax.grad(loss)(params)
        return jnp.stack(
            [
                sum(map(jnp.vdot, jax.tree.leaves(gradient), jax.tree.leaves(way)))
                for way in directions
            ]
        )

    @jax.jit
    def evaluate(elements):
        return jax.lax.map(slopes, elements, batch_size=128)

    rule = quadrature(9)
    fixed = np.concatenate([np.eye(3)[None], rule.rotations, -rule.rotations])
    weights = np.tile(rule.weights, 2) / 2
    # All at once, in full batches: compilation takes most of the time.
    number = -len(fixed) % 128 + 1024
    drawn = random_elements(jax.random.key(0), number)
    values = np.asarray(evaluate(np.concatenate([fixed, drawn])))
    plain, exact = values[0], weights @ values[1 : len(fixed)]
    drawn = values[len(fixed) :]
    noise = drawn.std(axis=0) / np.sqrt(len(drawn))
    np.testing.assert_array_less(np.abs(drawn.mean(axis=0) - exact), 5 * noise)
    # and no orientation alone would do
    assert np.max(np.abs(plain - exact) / noise) > 10


def test_padding_and_missing_labels_do_not_count(fitted):
    model, data, size = fitted
    task = atomistic_task(model, LABELS, size, precision="float64", augmentation="none")
    key = jax.random.key(0)

    @jax.jit
    def gradient(batch):
        batch = jax.tree.map(lambda leaf: leaf[None, None], batch)
        return gradients(task, task.params, {}, batch, key)

    small = gradient(collate(LABELS, data, [0, 1], GraphShape(7, 3, 2), np.float64))
    large = gradient(collate(LABELS, data, [0, 1], GraphShape(12, 5, 4), np.float64))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10),
        small,
        large,
    )
    values = {name: list(rows) for name, rows in data.values.items()}
    values["dipole_moment"][0] = np.full((1, 3, 1), np.nan)
    holes = dataclasses.replace(data, values=values)
    batch = collate(LABELS, holes, [0, 1], GraphShape(7, 3, 2), np.float64)
    assert batch.known["dipole_moment"].sum() == 3
    terms = gradient(batch)[3]
    alone = gradient(collate(LABELS, data, [1], GraphShape(7, 3, 2), np.float64))[3]
    np.testing.assert_allclose(
        terms["dipole_moment"], alone["dipole_moment"], rtol=1e-9
    )


def test_precisions_agree(fitted):
    """bfloat16 keeps eight bits: losses agree to a few per cent."""
    model, data, size = fitted
    found = {}
    for precision in ("float64", "float32", "bfloat16"):
        dtype = np.float64 if precision == "float64" else np.float32
        batch = collate(LABELS, data, [0, 1], GraphShape(7, 3, 2), dtype)
        terms = jax.jit(turned_loss(model, LABELS, size, precision))
        params = jax.tree.map(
            lambda leaf, dtype=dtype: jnp.asarray(leaf, dtype),
            model.parameters["network"],
        )
        found[precision] = terms(params, batch, None, totals(batch))
    for name, exact in found["float64"].items():
        np.testing.assert_allclose(found["float32"][name], exact, rtol=1e-4)
        np.testing.assert_allclose(found["bfloat16"][name], exact, rtol=0.1)
        assert found["float32"][name].dtype == jnp.float32
    assert any(found["bfloat16"][n] != found["float32"][n] for n in found["float32"])


def test_validation_measures_predictions(fitted):
    """Against symjax.models.pet.predict, structure by structure."""
    model, data, size = fitted
    run = parse_run(
        {
            "steps": 1,
            "data": {"training": "frames.xyz"},
            "targets": TARGETS,
            "batch": {"max_structures": 3, "max_atoms": 12},
        }
    )
    errors = validation_errors(model.config, LABELS, model.parameters, data, size, run)
    squares = {"energy": [], "forces": [], "dipole_moment": [], "shielding": []}
    zero = jax.tree.map(np.zeros_like, model.parameters["baseline"])
    free = dataclasses.replace(model, parameters={**model.parameters, "baseline": zero})
    apply = jax.jit(lambda graph: predict(free, graph, forces=True))
    for index, graph in enumerate(data.graphs):
        outputs = apply(graph)
        atoms = len(graph.species)
        for name, rows in squares.items():
            difference = (
                np.asarray(outputs[name]).ravel() - data.values[name][index].ravel()
            )
            rows.append((difference / (atoms if name == "energy" else 1)) ** 2)
    for name, rows in squares.items():
        expected = np.sqrt(np.mean(np.concatenate(rows)))
        np.testing.assert_allclose(errors[f"{name}_rmse"], expected, rtol=1e-4)


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


def test_edge_vectors_of_batches(fitted):
    _, data, _ = fitted
    batch = collate(LABELS, data, [0, 1], GraphShape(8, 4, 3), np.float64)
    np.testing.assert_array_equal(batch.graph.vectors[3:7, :3], data.graphs[1].vectors)


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
