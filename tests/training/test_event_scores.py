"""Errors of Point-MAE: beside what is trivial, and by class."""

import dataclasses

import jax
import numpy as np
import pytest
from small_models import drawn_pointmae

from symjax.errors import ModelError
from symjax.training.configuration import (
    EventLosses,
)
from symjax.training.event_scores import (
    class_ious,
    evaluate_events,
    event_errors,
)

LOSSES = EventLosses(segmentation=1.0)


@pytest.fixture
def model():
    return drawn_pointmae()


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


def test_intersection_over_union():
    truth, guess = np.array([0, 0, 1, 2]), np.array([0, 1, 1, 1])
    # The last class is neither true nor guessed.
    np.testing.assert_allclose(class_ious(truth, guess, 4), [1 / 2, 1 / 3, 0, 1])
    np.testing.assert_allclose(class_ious(truth, truth, 4), 1)


def test_events_without_labels_do_not_count(model, samples):
    """They are not perfect: the mean of two halves is that of the whole."""
    halves = []
    for half in (slice(0, 3), slice(3, 6)):
        labels = np.full_like(samples.labels, -1)
        labels[half] = samples.labels[half]
        halves.append(evaluate_events(model, samples._replace(labels=labels)))
    whole = evaluate_events(model, samples)
    for name, value in whole["iou"].items():
        assert np.mean([half["iou"][name] for half in halves]) == pytest.approx(value)
    assert whole["iou_mean"] < 0.9


def test_a_logit_that_is_nan_is_no_label(model, samples):
    parameters = jax.tree.map(np.array, model.parameters)
    parameters["params"]["seg_head"]["conv3"]["bias"][0] = np.nan
    with pytest.raises(ModelError, match="not finite"):
        evaluate_events(dataclasses.replace(model, parameters=parameters), samples)
