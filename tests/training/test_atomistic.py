"""The loss of PET: unbiased under augmentation, independent of padding."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from symjax.data import GraphShape
from symjax.models.pet import cast_parameters
from symjax.so3 import quadrature
from symjax.so3.action import act_on_samples
from symjax.training.atomistic import AtomsLoss, atomistic_task, predict_labels
from symjax.training.augmentation import random_elements
from symjax.training.batches import collate
from symjax.training.configuration import PenaltySection
from symjax.training.optimisation import gradients

# Equal losses share a program.
TERMS = jax.jit(AtomsLoss.terms, static_argnums=0)
ACT = jax.jit(act_on_samples, static_argnums=0)


def totals(batch):
    return {name: np.sum(known) for name, known in batch.known.items()}


def test_the_penalty_is_the_spread_over_elements(fitted):
    """By its definition from predictions at each element, and 0 where all are one."""
    model, data, labels, size = fitted
    labels = tuple(label for label in labels if label.name != "shielding")
    penalty = PenaltySection(weight=0.5, elements=3)
    batch = collate(labels, data, [0, 1], GraphShape(8, 4, 2), np.float64)
    elements = random_elements(jax.random.key(0), 6).astype(jnp.float64)
    elements = elements.reshape(2, 3, 3, 3)
    task = atomistic_task(model, labels, size, precision="float64", penalty=penalty)
    params = task.params
    terms = functools.partial(TERMS, task.loss, params, task.constants, batch)
    found = terms(elements, totals(batch))
    parameters = cast_parameters({**model.parameters, "network": params}, "float64")
    graph, spread = jax.tree.map(jnp.asarray, batch.graph), 0.0
    predicted = jax.jit(
        lambda turned: predict_labels(model.config, labels, parameters, turned)[0]
    )
    owner = np.asarray(graph.structure)
    back = {label.name: [] for label in labels}
    for k in range(3):
        own = np.asarray(elements[:, k])
        turned = np.einsum("anc,adc->and", graph.vectors, own[owner])
        turned = graph.replace(vectors=jnp.asarray(turned))
        for label in labels:
            inverse = np.swapaxes(own[owner] if label.per_atom else own, -1, -2)
            values = predicted(turned)[label.name]
            back[label.name].append(
                np.asarray(ACT(label.representation, inverse, values))
            )
    for label in labels:
        values = np.array(back[label.name]) / size[label.name]
        variance = np.var(values, axis=0, ddof=1)
        error = np.mean((values - batch.values[label.name] / size[label.name]) ** 2, 0)
        if label.divide_by_atoms:
            squares = np.bincount(owner, graph.atom_mask)[:, None] ** 2
            variance, error = variance / squares, error / squares
        known = batch.known[label.name]
        count = totals(batch)[label.name]
        spread += label.weight * np.sum(np.where(known, variance, 0)) / count
        expected = label.weight * np.sum(np.where(known, error, 0)) / count
        np.testing.assert_allclose(found[label.name], expected, rtol=1e-9)
    np.testing.assert_allclose(found["penalty"], 0.5 * spread, rtol=1e-9)
    same = jnp.broadcast_to(elements[:, :1], elements.shape)
    assert terms(same, totals(batch))["penalty"] < 1e-20


def test_augmented_gradients_are_unbiased(fitted):
    """The mean over random elements is the integral over O(3), within its noise.

    Gradients are projected onto random directions. The integral is that of a rule of
    degree 9; three standard errors are exceeded once in 370 cases, and six numbers
    are compared at five. Of one tensor; the penalty's test compares all labels.
    """
    model, data, labels, size = fitted
    labels = tuple(label for label in labels if label.name == "shielding")
    task = atomistic_task(model, labels, size, precision="float64")
    batch = collate(labels, data, [0], GraphShape(3, 2, 1), np.float64)
    params = task.params
    rng = np.random.default_rng(3)
    directions = rng.normal(
        size=(6, sum(leaf.size for leaf in jax.tree.leaves(params)))
    )

    def slopes(element):
        def loss(params):
            terms = task.loss.terms(
                params, task.constants, batch, element[None], totals(batch)
            )
            return sum(terms.values())

        return directions @ ravel_pytree(jax.grad(loss)(params))[0]

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
    model, data, labels, size = fitted
    labels = tuple(label for label in labels if label.name != "shielding")
    task = atomistic_task(model, labels, size, precision="float64", augmentation="none")
    key = jax.random.key(0)

    @jax.jit
    def gradient(batch):
        batch = jax.tree.map(lambda leaf: leaf[None, None], batch)
        return gradients(task.loss, *task[:3], batch, key)

    def of(data, chosen):
        # One shape, in which two of each leave no atom that is padding.
        return collate(labels, data, chosen, GraphShape(14, 5, 4), np.float64)

    full, padded = gradient(of(data, [0, 1, 0, 1])), gradient(of(data, [0, 1]))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(
            a, b, rtol=1e-8, atol=1e-10, equal_nan=False
        ),
        full,
        padded,
    )
    values = {name: list(rows) for name, rows in data.values.items()}
    values["dipole_moment"][0] = np.full((1, 3, 1), np.nan)
    holes = dataclasses.replace(data, values=values)
    batch = of(holes, [0, 1])
    assert batch.known["dipole_moment"].sum() == 3
    terms, alone = gradient(batch)[3], gradient(of(data, [1]))[3]
    np.testing.assert_allclose(
        terms["dipole_moment"], alone["dipole_moment"], rtol=1e-9
    )


def test_precisions_agree(fitted):
    """bfloat16 keeps eight bits: losses agree to a few per cent."""
    model, data, labels, size = fitted
    labels = tuple(label for label in labels if label.name in ("energy", "forces"))
    found = {}
    for precision in ("float64", "float32", "bfloat16"):
        dtype = np.float64 if precision == "float64" else np.float32
        batch = collate(labels, data, [0, 1], GraphShape(8, 4, 2), dtype)
        task = atomistic_task(model, labels, size, precision=precision)
        as_they_are = np.broadcast_to(np.eye(3, dtype=dtype), (2, 3, 3))
        found[precision] = TERMS(
            *(task.loss, task.params, task.constants, batch, as_they_are),
            totals(batch),
        )
    for name, exact in found["float64"].items():
        np.testing.assert_allclose(found["float32"][name], exact, rtol=1e-4)
        np.testing.assert_allclose(found["bfloat16"][name], exact, rtol=0.1)
        assert found["float32"][name].dtype == jnp.float32
    assert any(found["bfloat16"][n] != found["float32"][n] for n in found["float32"])
