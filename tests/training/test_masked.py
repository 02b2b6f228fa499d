"""Losses of Point-MAE: what is frozen stays, classes are weighed, labels are padded."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_models import EVENT_CONFIG as CONFIG
from small_models import drawn_pointmae

from symjax.data.point_clouds import SMALL, generate_events, select_points
from symjax.errors import ArgumentError, ModelError, StructureError
from symjax.training import parse_run
from symjax.training.configuration import (
    EventLosses,
    PenaltySection,
)
from symjax.training.event_scores import (
    evaluate_events,
)
from symjax.training.masked import (
    Augmentation,
    class_weights,
    masked_task,
    prepare_events,
    published_class_weights,
    spread_of_probabilities,
)

LOSSES = EventLosses(segmentation=1.0)
# What is hidden is not filled: the loss is that of classes alone.
CLASSES = dataclasses.replace(CONFIG, decoder_depth=0)
PENALTY = PenaltySection(weight=2.0, elements=2)


def test_contexts_are_no_longer_than_needed():
    """What is left of a context costs as much as its tokens, and changes nothing."""
    clouds = [select_points(e) for e in generate_events(3, settings=SMALL)]
    roomy = dataclasses.replace(CONFIG, context_length=256)
    samples = prepare_events(roomy, clouds)
    most = int(samples.assignments.num_found.max())
    assert most <= samples.assignments.mask.shape[1] < most + 32
    assert samples.assignments.mask.sum() == samples.assignments.num_found.sum()


@pytest.fixture
def model():
    return drawn_pointmae()


def test_the_penalty_is_the_variance_of_probabilities():
    """In closed form; points without a label do not count."""
    logits = np.random.default_rng(0).normal(size=(3, 5, 4))
    labels = np.array([0, -1, 2, 3, -1])
    total, count = jax.jit(spread_of_probabilities)(logits, labels)
    shares = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    known = shares[:, labels >= 0]
    assert float(count) == 12
    assert float(total) == pytest.approx(known.var(axis=0, ddof=1).sum(), rel=1e-5)


def test_a_penalty_needs_labels_and_orientations(model, samples):
    def run(**changes):
        base = {"kind": "events", "steps": 1, "losses": {"segmentation": 1.0}}
        return parse_run({**base, "penalty": {"elements": 2}, **changes})

    assert run().penalty.elements == 2
    with pytest.raises(ArgumentError, match=r"losses\.segmentation"):
        run(losses={"segmentation": 0.0})
    with pytest.raises(ArgumentError, match="augmentation"):
        run(augmentation="none")
    bare = dataclasses.replace(model, config=dataclasses.replace(CONFIG, num_classes=0))
    with pytest.raises(ModelError, match="class probabilities"):
        masked_task(bare, samples, LOSSES, penalty=PENALTY)


def test_what_cannot_be_fitted_is_refused(model, samples):
    def task(labels=samples.labels, losses=LOSSES, **changes):
        changed = dataclasses.replace(
            model, config=dataclasses.replace(CONFIG, **changes)
        )
        return masked_task(changed, samples._replace(labels=labels), losses)

    unknown = np.full_like(samples.labels, -1)
    with pytest.raises(StructureError, match=r"data\.training=-1"):
        task(unknown)
    with pytest.raises(StructureError, match=r"data\.training=4.*low_energy"):
        task(np.where(samples.labels == 3, 4, samples.labels))
    with pytest.raises(ModelError, match=r"losses\.segmentation=1\.0.*num_classes"):
        task(num_classes=0, fetch_layers=())
    with pytest.raises(ModelError, match="nothing is fitted"):
        task(losses=EventLosses(), decoder_depth=0)
    task(unknown, EventLosses())
    errors = evaluate_events(model, samples._replace(labels=unknown))
    assert "accuracy" not in errors


def test_labels_are_padded(samples):
    assert samples.labels.shape == samples.events.mask.shape
    assert (samples.labels[~samples.events.mask] == -1).all()


def test_class_weights():
    labels = np.array([0] * 8 + [1] * 2 + [-1])
    np.testing.assert_allclose(class_weights(labels, 2), np.sqrt([0.625, 2.5]))


def test_no_events_are_refused():
    with pytest.raises(ArgumentError, match="clouds"):
        prepare_events(CONFIG, [])


def test_class_weights_of_the_original():
    """class_counts.sum() / class_counts of its data module, with the 5th or not."""
    np.testing.assert_allclose(
        published_class_weights(5), [2.718, 2.5693, 153.648, 56.912, 4.5721], rtol=1e-4
    )
    assert published_class_weights(4)[2] == pytest.approx(120.031, rel=1e-4)
    with pytest.raises(ArgumentError, match="3 classes"):
        published_class_weights(3)


@pytest.mark.parametrize("group", ["O(3)", "SO(3)", "Euler angles"])
@pytest.mark.parametrize("together", [False, True])
def test_what_turns_together(group, together):
    """Three events, two copies each; copies of one event lie side by side."""
    out = Augmentation(group, together).elements(jax.random.key(0), 3, 2)
    np.testing.assert_allclose(
        out @ out.swapaxes(1, 2), np.broadcast_to(np.eye(3), (6, 3, 3)), atol=1e-6
    )
    out = np.asarray(out).reshape(3, 2, 9)
    assert np.ptp(out, axis=1).max() > 1e-2
    assert (np.ptp(out, axis=0).max() < 1e-7) == together


class SometimesAlike(Augmentation):
    """Turns the copies of an event by one element in half of the steps."""

    def elements(self, key, num, copies):
        apart = super().elements(key, num, copies)
        alike = jnp.repeat(apart[::copies], copies, axis=0)
        return jnp.where(jax.random.bernoulli(key), alike, apart)


def test_the_penalty_joins_the_loss(samples):
    """It is 0 where copies of an event are turned alike, and else it is not."""
    task = masked_task(
        *(dataclasses.replace(drawn_pointmae(), config=CLASSES), samples, LOSSES),
        augmentation=SometimesAlike(),
        penalty=PENALTY,
    )
    batch = jax.tree.map(lambda leaf: np.asarray(leaf)[:2], samples)
    loss = jax.jit(lambda key: task.loss(*task[:3], batch, key, 1))
    found = [loss(jax.random.key(seed)) for seed in range(8)]
    penalties = np.array([terms["penalty"] for _, (_, terms) in found])
    alike = penalties < 1e-9
    assert 0 < alike.sum() < len(found)
    assert (penalties[~alike] > 1e-7).all()
    for value, (_, terms) in found:
        assert float(value) == pytest.approx(float(sum(terms.values())), rel=1e-5)


def test_dropout_is_part_of_training_only(model, samples):
    """Rates of the original; each key drops other tokens, evaluation none."""
    rates = {"attention_dropout": 0.05, "drop_path": 0.25, "drop_path_uniform": True}
    config = dataclasses.replace(CLASSES, head_dropout=0.5, dropout=0.1, **rates)
    model, dropping = (
        dataclasses.replace(model, config=one) for one in (CLASSES, config)
    )
    batch = jax.tree.map(lambda leaf: np.asarray(leaf)[:2], samples)

    def losses(model):
        task = masked_task(model, samples, LOSSES, augmentation=Augmentation("none"))
        focal = jax.jit(lambda key: task.loss(*task[:3], batch, key, 1)[1][1]["focal"])
        return [float(focal(jax.random.key(n))) for n in range(2)]

    without = losses(model)
    assert without[0] == pytest.approx(without[1], rel=1e-6)
    one, other = losses(dropping)
    assert abs(one - other) > 1e-4 * one
    plain, dropped = (evaluate_events(m, samples) for m in (model, dropping))
    assert plain == dropped
