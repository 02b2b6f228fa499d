"""Losses of Point-MAE: the loss falls, classes are weighed, labels are padded."""

import dataclasses

import jax
import numpy as np
import pytest

from symjax.data.point_clouds import SMALL, generate_events, select_points, voxel_length
from symjax.errors import ArgumentError, ModelError
from symjax.models.pointmae import PointMAEConfig, init_pointmae
from symjax.training import parse_run
from symjax.training.configuration import (
    EventLosses,
    OptimizerSection,
    PenaltySection,
)
from symjax.training.masked import (
    class_weights,
    evaluate_events,
    event_errors,
    masked_task,
    prepare_events,
    spread_of_probabilities,
)
from symjax.training.optimisation import make_step, start

CONFIG = PointMAEConfig(
    detector_size=SMALL.size,
    group_radius=5 * voxel_length(SMALL.size),
    context_length=32,
    group_points=6,
    pointnet_widths=(8, 8, 8),
    embed_dim=16,
    depth=1,
    num_heads=2,
    decoder_depth=1,
    num_classes=4,
    fetch_layers=(0,),
    seg_head_dim=8,
)
LOSSES = EventLosses(segmentation=1.0)


@pytest.fixture(scope="module")
def samples():
    clouds = [select_points(e) for e in generate_events(20, settings=SMALL)]
    return prepare_events(CONFIG, [c for c in clouds if c.num_points <= 200][:6], 200)


@pytest.fixture(scope="module")
def model():
    return init_pointmae(CONFIG, jax.random.key(0))


def test_the_loss_falls(model, samples):
    task = masked_task(model, samples, LOSSES)
    optimizer = OptimizerSection(learning_rate=5e-3, warmup=2, average=0.0)
    step = make_step(task, optimizer, 30, 0)
    state = start(task, optimizer, 30)
    batch = jax.tree.map(lambda leaf: np.asarray(leaf)[None, None, :4], samples)
    losses = []
    for _ in range(30):
        state, metrics = step(state, batch)
        losses.append(float(metrics["loss"]))
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])
    # the statistics of the batch norms have moved
    assert np.abs(state.statistics["seg_head"]["bn1"]["mean"]).max() > 0


def test_the_penalty_is_the_variance_of_probabilities():
    """In closed form; points without a label do not count."""
    logits = jax.random.normal(jax.random.key(0), (3, 5, 4))
    labels = np.array([0, -1, 2, 3, -1])
    total, count = spread_of_probabilities(logits, labels)
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
        masked_task(bare, samples, LOSSES, penalty=PenaltySection())


def test_the_penalty_joins_the_loss(model, samples):
    """Of elements that are all one, it is 0 (no augmentation); else it is not."""
    batch = jax.tree.map(lambda leaf: np.asarray(leaf)[:2], samples)
    penalty = PenaltySection(weight=2.0, elements=2)
    for augmentation, wanted in (("O(3)", True), ("none", False)):
        task = masked_task(
            model, samples, LOSSES, penalty=penalty, augmentation=augmentation
        )
        _, (_, terms) = jax.jit(
            lambda params, key, t=task: t.loss(
                params, t.statistics, batch, key, t.totals(batch)
            )
        )(task.params, jax.random.key(0))
        assert (float(terms["penalty"]) > 1e-9) == wanted


def test_errors_know_what_is_trivial(model, samples):
    errors = evaluate_events(model, samples)
    truth = np.asarray(samples.labels)
    truth = truth[truth >= 0]
    shares = np.bincount(truth) / len(truth)
    assert errors["accuracy_trivial"] == pytest.approx(shares.max())
    assert errors["events"] == 6
    followed = event_errors(model, samples, LOSSES, 0)
    assert followed["accuracy"] == errors["accuracy"]
    relative = errors["chamfer"] / errors["chamfer_trivial"]
    assert followed["score"] == pytest.approx(relative + 1 - errors["accuracy"])


def test_labels_are_padded(samples):
    assert samples.labels.shape == samples.events.mask.shape
    assert (samples.labels[~samples.events.mask] == -1).all()


def test_class_weights():
    labels = np.array([0] * 8 + [1] * 2 + [-1])
    np.testing.assert_allclose(class_weights(labels, 2, 1.0), [0.625, 2.5])
    np.testing.assert_allclose(class_weights(labels, 2, 0.0), 1)


def test_no_events_are_refused():
    with pytest.raises(ArgumentError, match="clouds"):
        prepare_events(CONFIG, [])
