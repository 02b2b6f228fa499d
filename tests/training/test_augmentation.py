"""Random group elements: each structure's own, and the original's Euler angles."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from symjax.so3 import MATRIX, VECTOR, act, spherical
from symjax.so3.action import act_on_samples
from symjax.training.augmentation import euler_elements, random_elements

VECTOR_1 = dataclasses.replace(VECTOR, has_channels=True)


@pytest.mark.parametrize(
    "representation",
    [VECTOR, MATRIX, spherical(0, -1), spherical(3, 1)],
    ids=str,
)
def test_every_sample_turns_with_its_own_element(representation):
    elements = random_elements(jax.random.key(0), 5)
    values = np.random.default_rng(0).normal(size=(5, *representation.shape, 2))
    channels = dataclasses.replace(representation, has_channels=True)
    turned = jax.jit(act_on_samples, static_argnums=0)(channels, elements, values)
    one = jax.jit(act, static_argnums=0)
    for element, value, result in zip(elements, values, turned, strict=True):
        np.testing.assert_allclose(one(channels, element, value), result, atol=1e-12)


@pytest.mark.parametrize("inversion", [True, False])
def test_elements_are_haar_random(inversion):
    """The mean square of every entry is 1/3, within five of its standard errors."""
    elements = np.asarray(random_elements(jax.random.key(1), 4000, inversion=inversion))
    # <x^4> = 1/5 for a component of a random unit vector.
    error = np.sqrt((1 / 5 - 1 / 9) / len(elements))
    np.testing.assert_allclose(np.mean(elements**2, axis=0), 1 / 3, atol=5 * error)
    improper = np.mean(np.linalg.det(elements) < 0)
    assert improper == pytest.approx(0.5 * inversion, abs=2.5 / len(elements) ** 0.5)


def test_an_equivariant_model_does_not_notice_augmentation():
    """Its gradient is that of the given orientation, element by element.

    The model is sum_j w(|r_j|) r_j, an exactly equivariant vector, fitted to vectors.
    """
    rng = np.random.default_rng(0)
    positions, reference = rng.normal(size=(5, 7, 3)), rng.normal(size=(5, 3))

    def at(params, elements):
        turned = jnp.einsum("sij,snj->sni", elements, positions)
        lengths = jnp.linalg.norm(turned, axis=-1, keepdims=True)
        predicted = jnp.sum(jnp.polyval(params, lengths) * turned, axis=1)
        wanted = act_on_samples(VECTOR_1, elements, reference[..., None])[..., 0]
        return jnp.sum((predicted - wanted) ** 2)

    params = jnp.array([0.3, -0.2, 0.5])
    gradient = jax.jit(jax.grad(at))
    plain = gradient(params, np.broadcast_to(np.eye(3), (5, 3, 3)))
    for seed in range(3):
        turned = gradient(params, random_elements(jax.random.key(seed), 5))
        np.testing.assert_allclose(turned, plain, rtol=1e-10)


def test_euler_angles_of_the_original():
    """euler_angles_to_matrix(angles, "XYZ") of PyTorch3D: turns about the new axes."""
    key = jax.random.key(3)
    angles = jax.random.uniform(key, (3, 5), minval=-np.pi, maxval=np.pi)
    expected = Rotation.from_euler("XYZ", np.asarray(angles).T).as_matrix()
    np.testing.assert_allclose(euler_elements(key, 5), expected, atol=1e-6)
