"""Labels of events by averaged probabilities."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symjax.errors import ModelError
from symjax.models.pointmae import averaged_problem, predict_averaged
from symjax.so3 import haar
from symjax.so3.finite_groups import finite_group


def test_averaged_probabilities_commute_with_the_group(model, event):
    problem = averaged_problem(model, event, "D2")
    mask = problem.outputs["class_probabilities"].mask
    function = jax.jit(problem.function)

    def probabilities(element):
        x = jnp.asarray(problem.x) @ jnp.asarray(element, jnp.float32).T
        return np.asarray(function(x, *problem.args)["class_probabilities"])[mask]

    plain = probabilities(np.eye(3))
    np.testing.assert_allclose(plain.sum(axis=-1), 1, atol=1e-5)
    for element in finite_group("D2").elements:
        np.testing.assert_allclose(probabilities(element), plain, atol=1e-5)
    other = probabilities(np.asarray(haar(jax.random.key(0), 1)[0]))
    assert np.abs(other - plain).max() > 1e-4
    prediction = predict_averaged(model, event, "D2")
    np.testing.assert_array_equal(
        np.asarray(prediction.labels)[mask], plain.argmax(axis=-1)
    )


def test_impossible_averages_are_refused(model, event, config):
    with pytest.raises(ModelError, match="frames need atoms"):
        averaged_problem(model, event, "frames 4")
    bare = dataclasses.replace(config, num_classes=0)
    blind = dataclasses.replace(model, config=bare)
    with pytest.raises(ModelError, match="no segmentation"):
        averaged_problem(blind, event, "O")
