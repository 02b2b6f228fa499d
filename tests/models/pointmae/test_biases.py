"""Biases of Point-MAE: averaged labels, and harmonics in the mini-PointNet."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symjax.errors import ModelError
from symjax.models.pointmae import (
    PointMAEConfig,
    averaged_problem,
    predict_averaged,
)
from symjax.models.pointmae.layers import MiniPointNet
from symjax.models.pointmae.model import parameter_shapes
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
    with pytest.raises(ModelError, match="made of atoms"):
        averaged_problem(model, event, "frames 4")
    bare = dataclasses.replace(config, num_classes=0)
    blind = dataclasses.replace(model, config=bare)
    with pytest.raises(ModelError, match="no segmentation"):
        averaged_problem(blind, event, "O")


class TestHarmonics:
    def test_padding_and_directions(self):
        """Padding changes nothing, and a point at the centre has no direction."""
        points = 0.3 * np.random.default_rng(0).standard_normal((3, 5, 4))
        points[0, 0, :3] = 0
        mask = np.arange(5) < np.array([5, 3, 4])[:, None]
        module = MiniPointNet(6, (4, 4, 4), edge_harmonics=3)
        variables = jax.jit(module.init)(jax.random.key(1), points, mask)
        assert "harmonic_embedding" in variables["params"]

        @jax.jit
        def tokens(points):
            return module.apply(variables, points, mask)

        plain = tokens(points)
        assert np.isfinite(plain).all()
        moved = np.where(mask[..., None], points, 7.0)
        np.testing.assert_allclose(tokens(moved), plain, atol=1e-6)
        slope = jax.jit(jax.grad(lambda p: jnp.sum(tokens(p) ** 2)))(points)
        assert np.isfinite(slope).all()

    def test_the_default_is_as_before(self, config):
        seeing = dataclasses.replace(config, edge_harmonics=2)
        assert PointMAEConfig.from_json(seeing.to_json()) == seeing
        new = set(parameter_shapes(seeing)) - set(parameter_shapes(config))
        assert new
        assert all("harmonic_embedding" in name for name in new)

    def test_they_need_a_radius(self, config):
        with pytest.raises(ModelError, match="group_radius"):
            dataclasses.replace(config, edge_harmonics=2, group_radius=None)
