"""Frames that follow the input: equivariant, and continuous where they promise it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symjax.models.biases.frames import canonical_frames, weighted_frames
from symjax.so3 import MATRIX, act, haar

ATOMS, NEIGHBORS = 4, 3


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True):
        yield


def edges(seed, atoms=ATOMS):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(atoms, NEIGHBORS, 3))
    return vectors, rng.uniform(0.3, 1, size=(atoms, NEIGHBORS))


@functools.partial(jax.jit, static_argnums=2)
def frames_of(vectors, weights, number):
    """Weighted frames of two structures of two atoms each."""
    return weighted_frames(
        vectors,
        jnp.linalg.norm(vectors, axis=-1),
        weights,
        weights > 0,
        jnp.array([0, 0, 1, 1]),
        2,
        number,
    )


@functools.partial(jax.jit, static_argnums=2)
def framed_mean(vectors, weights, number):
    """The average over frames of a function that is not equivariant."""
    elements, shares = frames_of(vectors, weights, number)

    def one(element, share):
        turned = jnp.einsum("sxy,sany->sanx", element, vectors.reshape(2, 2, 3, 3))
        values = jnp.sum(turned[..., :, None] * turned[..., None, :] ** 2, axis=(1, 2))
        back = jax.vmap(lambda g, v: act(MATRIX, g.T, v))(element, values)
        return back * share[:, None, None]

    return jnp.sum(jax.vmap(one)(elements, shares), axis=0)


frames_of_atoms = jax.jit(canonical_frames, static_argnums=4)


@pytest.mark.parametrize("sign", [1, -1])
def test_canonical_frames_turn_with_the_structure(sign):
    vectors, weights = edges(0, atoms=6)
    numbers = np.array([1.0, 8, 6, 1, 6, 8])
    structure = np.array([0, 0, 0, 1, 1, 1])
    element = sign * np.asarray(haar(jax.random.key(0), 1)[0], np.float64)
    frames, turned = (
        frames_of_atoms(v, weights, numbers, structure, 2)
        for v in (vectors, vectors @ element.T)
    )
    np.testing.assert_allclose(turned, frames @ element.T, atol=1e-12)
    frames = np.asarray(frames)
    products = frames @ np.swapaxes(frames, -1, -2)
    np.testing.assert_allclose(
        products, np.broadcast_to(np.eye(3), (2, 3, 3)), atol=1e-12
    )


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("number", [3, 100])
def test_an_average_over_frames_is_equivariant(sign, number):
    vectors, weights = edges(1)
    element = sign * np.asarray(haar(jax.random.key(1), 1)[0], np.float64)
    plain = framed_mean(jnp.asarray(vectors), weights, number)
    turned = framed_mean(jnp.asarray(vectors @ element.T), weights, number)
    wanted = element @ plain @ element.T
    np.testing.assert_allclose(turned, wanted, atol=1e-11)
    assert np.abs(plain).max() > 0.01


def test_an_average_over_frames_is_continuous():
    """Along a path on which pairs overtake each other, jumps fall with the step."""
    start, weights = edges(2)
    end = edges(3)[0]

    @jax.jit
    @jax.vmap
    def mean(t):
        return framed_mean(start + t * (end - start), weights, 3)

    def jump(steps):
        along, best = np.linspace(0, 1, steps), []
        values = np.concatenate([mean(part) for part in along.reshape(-1, 1000)])
        for t in along[:: steps // 20]:
            elements, shares = map(
                np.asarray, frames_of(start + t * (end - start), weights, 3)
            )
            best.append(elements[np.argmax(shares[:, 0]), 0].round(1))
        assert len({b.tobytes() for b in best}) > 2
        return np.abs(np.diff(values, axis=0)).max()

    assert jump(4000) < 0.5 * jump(1000)


def test_where_there_is_no_frame_the_average_is_no_number():
    vectors, weights = edges(4)
    vectors[:2] = [1.0, 0, 0]
    weights[2:] = 0
    _, shares = frames_of(vectors, weights, 4)
    # All edges on one line; and a structure without edges, which has the identity.
    assert np.isnan(shares[:, 0]).all()
    np.testing.assert_allclose(np.sum(shares[:, 1]), 1)
