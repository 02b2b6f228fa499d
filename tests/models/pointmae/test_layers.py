"""Norms, mini-PointNet and encodings against plain NumPy, and their invariances."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import erf
from small_models import random_parameters

from symjax.models.pointmae.layers import (
    MaskedBatchNorm,
    MaskedNorm,
    MiniPointNet,
    Mode,
    PositionEncoder,
    masked_norm,
    order_embedding,
)

SEEDS = st.integers(0, 2**32 - 1)
normed = jax.jit(masked_norm)


@given(SEEDS, st.integers(1, 7))
def test_norm_of_real_tokens(seed, real):
    x = np.random.default_rng(seed).standard_normal((7, 5)) * 3 + 1
    mask = np.arange(7) < real
    out = np.asarray(normed(x, mask))
    chosen = x[:real]
    np.testing.assert_allclose(
        out[:real], (chosen - chosen.mean()) / chosen.std(), atol=1e-9
    )
    # what stands in the padding does not matter
    x[real:] = 1e3
    again = np.asarray(normed(x, mask))
    np.testing.assert_allclose(out[:real], again[:real], atol=1e-12)


def test_norm_starts_as_the_plain_one():
    x = np.random.default_rng(0).standard_normal((7, 5))
    mask = np.arange(7) % 3 > 0
    out, _ = jax.jit(MaskedNorm().init_with_output)(jax.random.key(0), x, mask)
    np.testing.assert_allclose(out, normed(x, mask), atol=1e-12)


@pytest.mark.parametrize("axis_name", [None, "events"])
def test_batch_norm_in_training(axis_name):
    """Statistics of all real points of all events; running averages follow."""
    x = np.random.default_rng(0).standard_normal((3, 6, 4)) * 2 + 1
    mask = np.random.default_rng(1).random((3, 6)) < 0.6
    norm = MaskedBatchNorm(Mode(training=True, axis_name=axis_name))
    # Scale 1 and bias 0, as at first.
    variables = {
        "params": {"scale": np.ones(4), "bias": np.zeros(4)},
        "batch_stats": {"mean": np.zeros(4), "var": np.ones(4)},
    }

    @jax.jit
    def run(x, mask):
        return norm.apply(variables, x, mask, mutable=["batch_stats"])

    if axis_name is None:
        out, state = run(x, mask)
    else:
        out, state = jax.vmap(run, axis_name=axis_name)(x, mask)
        state = jax.tree.map(lambda leaf: np.asarray(leaf)[0], state)
    out, chosen = np.asarray(out), x[mask]
    mean, variance = chosen.mean(0), chosen.var(0)
    expected = (chosen - mean) / np.sqrt(variance + 1e-5)
    np.testing.assert_allclose(out[mask], expected, atol=1e-10)
    np.testing.assert_allclose(out[~mask], 0)
    np.testing.assert_allclose(state["batch_stats"]["mean"], 0.1 * mean)
    np.testing.assert_allclose(state["batch_stats"]["var"], 0.9 + 0.1 * variance)


@pytest.fixture(scope="module")
def pointnet():
    net = MiniPointNet(6, (4, 5, 8))
    x = np.random.default_rng(0).standard_normal((3, 7, 4))
    mask = np.arange(7) < np.array([7, 4, 1])[:, None]
    variables = random_parameters(net, x, mask)
    leaves, tree = jax.tree.flatten(variables)
    generator = np.random.default_rng(2)
    leaves = [
        (np.abs(generator.standard_normal(v.shape)) + 0.1)
        * np.where(generator.random(v.shape) < 0.5, 1, -1) ** (v.ndim - 1)
        for v in leaves
    ]
    return net, jax.tree.unflatten(tree, leaves), x, mask


@functools.partial(jax.jit, static_argnums=0)
def apply(net, variables, x, mask):
    return net.apply(variables, x, mask)


def test_pointnet_by_definition(pointnet):
    net, variables, x, mask = pointnet
    p, s = variables["params"], variables["batch_stats"]

    def norm(x, name):
        y = (x - s[name]["mean"]) / np.sqrt(s[name]["var"] + 1e-5)
        return np.maximum(y * p[name]["scale"] + p[name]["bias"], 0)

    out = apply(net, variables, x, mask)
    for row, points, real in zip(out, x, mask, strict=True):
        y = points[real]
        y = norm(y @ p["first_conv_0"]["kernel"], "first_conv_1")
        y = y @ p["first_conv_3"]["kernel"] + p["first_conv_3"]["bias"]
        y = np.concatenate([np.broadcast_to(y.max(0), y.shape), y], axis=1)
        y = norm(y @ p["second_conv_0"], "second_conv_1")
        y = y @ p["second_conv_3"]["kernel"] + p["second_conv_3"]["bias"]
        np.testing.assert_allclose(row, y.max(0), atol=1e-9)


@given(SEEDS)
def test_pointnet_is_invariant_under_permutations(pointnet, seed):
    net, variables, x, mask = pointnet
    order = np.random.default_rng(seed).permutation(7)
    np.testing.assert_allclose(
        apply(net, variables, x, mask),
        apply(net, variables, x[:, order], mask[:, order]),
        atol=1e-10,
    )


def test_pointnet_does_not_see_padding(pointnet):
    net, variables, x, mask = pointnet
    out = apply(net, variables, x, mask)
    other = np.where(mask[..., None], x, 99.0)
    np.testing.assert_allclose(out, apply(net, variables, other, mask), atol=1e-10)
    wide = np.pad(x, ((0, 0), (0, 3), (0, 0))), np.pad(mask, ((0, 0), (0, 3)))
    np.testing.assert_allclose(out, apply(net, variables, *wide), atol=1e-10)
    nothing = apply(net, variables, x, np.zeros_like(mask))
    np.testing.assert_array_equal(nothing, 0)


def test_pooled_padding_only_counts_if_it_exists(pointnet):
    """As in the released implementation: a token with free slots differs."""
    net, variables, x, mask = pointnet
    released = MiniPointNet(6, (4, 5, 8), pool_padding=True)
    plain, pooled = (np.asarray(apply(n, variables, x, mask)) for n in (net, released))
    np.testing.assert_allclose(plain[0], pooled[0], atol=1e-10)
    assert (pooled[1:] != plain[1:]).any()


def test_order_embedding_tells_numbers_apart():
    embedding = jax.jit(order_embedding, static_argnums=(0, 1))
    out = np.asarray(embedding(32, 16))
    assert len(np.unique(out.round(6), axis=0)) == 32
    rate = 10000 ** (-3 / 7)
    np.testing.assert_allclose(out[5, 3], np.sin(5 * rate), rtol=1e-6)
    np.testing.assert_allclose(out[5, 11], np.cos(5 * rate), rtol=1e-6)
    assert embedding(3, 5).shape == (3, 5)


def test_position_encoder_by_definition():
    x = np.random.default_rng(0).standard_normal((4, 3))
    encoder = PositionEncoder(6, 5)
    variables = random_parameters(encoder, x)
    out = jax.jit(encoder.apply)(variables, x)
    p = variables["params"]
    h = x @ p["pos_enc_0"]["kernel"] + p["pos_enc_0"]["bias"]
    h = h * (1 + erf(h / np.sqrt(2))) / 2
    expected = h @ p["pos_enc_2"]["kernel"] + p["pos_enc_2"]["bias"]
    np.testing.assert_allclose(out, expected, atol=1e-9)


def test_harmonics_of_padding_and_of_the_centre():
    """Padding changes nothing, and a point at the centre has no direction."""
    points = 0.3 * np.random.default_rng(0).standard_normal((3, 5, 4))
    points[0, 0, :3] = 0
    mask = np.arange(5) < np.array([5, 3, 4])[:, None]
    module = MiniPointNet(6, (4, 4, 4), edge_harmonics=3)
    variables = random_parameters(module, points, mask)
    variables["batch_stats"] = jax.tree.map(np.square, variables["batch_stats"])
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
