"""Losses against the published definitions, written out, and against scipy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.spatial
import scipy.special
from hypothesis import given
from hypothesis import strategies as st

from symjax.errors import ArgumentError
from symjax.models.pointmae.losses import (
    chamfer_distance,
    chamfer_loss,
    energy_infilling_loss,
    focal_loss,
    random_hidden,
)

SEEDS = st.integers(0, 2**32 - 1)
hidden_of = jax.jit(random_hidden, static_argnums=2)
chamfer, focal = jax.jit(chamfer_distance), jax.jit(focal_loss)


@given(SEEDS, st.integers(1, 12))
def test_chamfer_against_trees(seed, real):
    generator = np.random.default_rng(seed)
    a, b = generator.standard_normal((2, 12, 4))
    out = chamfer(a, b, np.arange(12) < real)
    there, _ = scipy.spatial.cKDTree(b[:real]).query(a[:real])
    back, _ = scipy.spatial.cKDTree(a[:real]).query(b[:real])
    np.testing.assert_allclose(out, np.mean(there**2) + np.mean(back**2))


def test_chamfer_of_nothing_is_zero_with_its_gradient():
    x = np.ones((3, 3))
    slope = jax.jit(jax.value_and_grad(chamfer_distance))
    value, gradient = slope(x, x + 1, np.zeros(3, bool))
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)


def test_sums_over_hidden_tokens_only():
    generator = np.random.default_rng(0)
    a, b = generator.standard_normal((2, 4, 6, 3))
    mask = np.arange(6) < np.array([6, 3, 0, 5])[:, None]
    hidden = np.array([True, False, True, True])
    total, count = jax.jit(chamfer_loss)(a, b, mask, hidden)
    # the third token has no point
    expected = sum(float(chamfer(a[n], b[n], mask[n])) for n in (0, 3))
    np.testing.assert_allclose(total, expected)
    assert count == 2
    infilling = jax.jit(energy_infilling_loss)
    total, count = infilling(a[..., 0], b[..., 0], mask, hidden)
    used = mask & hidden[:, None]
    np.testing.assert_allclose(total, ((a - b)[..., 0][used] ** 2).sum())
    assert count == used.sum()


@given(SEEDS, st.sampled_from([0.0, 1.0, 2.0]))
def test_focal_loss_by_definition(seed, gamma):
    generator = np.random.default_rng(seed)
    logits = 3 * generator.standard_normal((20, 4))
    labels = generator.integers(-1, 4, 20)
    weights = generator.uniform(0.5, 2, 4)
    total, count = focal(logits, labels, weights, gamma)
    p = scipy.special.softmax(logits, axis=1)
    expected = 0.0
    for row, label in zip(p, labels, strict=True):
        if label >= 0:
            expected -= weights[label] * (1 - row[label]) ** gamma * np.log(row[label])
    np.testing.assert_allclose(total, expected, rtol=1e-10)
    assert count == (labels >= 0).sum()


def test_focal_loss_of_a_sure_guess_has_a_finite_gradient():
    logits = jnp.array([[200.0, 0.0]])
    slope = jax.jit(jax.grad(lambda x: focal_loss(x, jnp.array([0]))[0]))
    gradient = slope(logits)
    np.testing.assert_array_equal(gradient, 0)


@given(SEEDS, st.integers(0, 10), st.sampled_from([0.0, 0.5, 0.6, 1.0]))
def test_the_share_of_hidden_tokens_is_exact(seed, real, ratio):
    mask = np.random.default_rng(seed).permutation(np.arange(10) < real)
    hidden = np.asarray(hidden_of(jax.random.key(seed % 999), mask, ratio))
    assert hidden.sum() == int(ratio * real + 1e-6)
    assert not (hidden & ~mask).any()


def test_all_tokens_are_hidden_equally_often():
    keys = jax.random.split(jax.random.key(0), 2000)
    mask = jnp.arange(8) < 5
    each = jax.jit(jax.vmap(lambda k: random_hidden(k, mask, 0.6)))
    share = np.asarray(each(keys)).mean(0)
    np.testing.assert_allclose(share[:5], 0.6, atol=5 * np.sqrt(0.24 / 2000))


def test_bad_ratio():
    with pytest.raises(ArgumentError, match="ratio"):
        random_hidden(jax.random.key(0), jnp.ones(3, bool), 1.5)
