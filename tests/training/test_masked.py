"""Fitting Point-MAE: the loss falls, runs resume, and are reproducible."""

import dataclasses

import jax
import numpy as np
import pytest

from symjax.data.point_clouds import SMALL, generate_events, select_points, voxel_length
from symjax.errors import ArgumentError
from symjax.models.pointmae import PointMAEConfig, init_pointmae
from symjax.training.masked import (
    MaskedSettings,
    class_weights,
    fit_masked,
    prepare_events,
)

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
SETTINGS = MaskedSettings(
    steps=30, batch_size=4, learning_rate=5e-3, segmentation=1.0, average=0.0
)


@pytest.fixture(scope="module")
def samples():
    clouds = [select_points(e) for e in generate_events(20, settings=SMALL)]
    return prepare_events(CONFIG, [c for c in clouds if c.num_points <= 200][:6], 200)


@pytest.fixture(scope="module")
def model():
    return init_pointmae(CONFIG, jax.random.key(0))


def test_the_loss_falls_and_runs_resume(model, samples):
    losses, states = [], []

    def report(state, loss):
        losses.append(loss)
        states.append(jax.device_get(state))

    whole = fit_masked(model, samples, SETTINGS, interval=10, report=report)
    assert losses[-1] < 0.8 * losses[0]
    # the statistics of the batch norms have moved
    norm = whole.parameters["batch_stats"]["seg_head"]["bn1"]
    assert np.abs(norm["mean"]).max() > 0
    again = fit_masked(model, samples, SETTINGS, interval=10, state=states[0])
    jax.tree.map(np.testing.assert_array_equal, whole.parameters, again.parameters)
    stopped = []
    fit_masked(
        model,
        samples,
        SETTINGS,
        interval=10,
        report=lambda state, loss: stopped.append(loss) or True,
    )
    assert stopped == losses[:1]


def test_labels_are_padded(samples):
    assert samples.labels.shape == samples.events.mask.shape
    assert (samples.labels[~samples.events.mask] == -1).all()


def test_class_weights():
    labels = np.array([0] * 8 + [1] * 2 + [-1])
    np.testing.assert_allclose(class_weights(labels, 2, 1.0), [0.625, 2.5])
    np.testing.assert_allclose(class_weights(labels, 2, 0.0), 1)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("steps", 0),
        ("batch_size", 1.5),
        ("learning_rate", 0),
        ("average", 1.0),
        ("segmentation", -1.0),
        ("weight_decay", float("nan")),
    ],
)
def test_bad_settings_are_named(field, value):
    with pytest.raises(ArgumentError, match=field):
        dataclasses.replace(SETTINGS, **{field: value})


def test_other_bad_input(model, samples):
    with pytest.raises(ArgumentError, match="clouds"):
        prepare_events(CONFIG, [])
    with pytest.raises(ArgumentError, match="nothing is fitted"):
        MaskedSettings(steps=1, reconstruction=0.0)
    broken = dataclasses.replace(
        model, parameters=jax.tree.map(lambda x: x * np.nan, model.parameters)
    )
    with pytest.raises(ArgumentError, match="learning_rate"):
        fit_masked(broken, samples, SETTINGS, interval=10)
