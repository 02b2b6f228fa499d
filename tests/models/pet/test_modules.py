"""Layers of PET by their definitions, written out with NumPy."""

import jax
import numpy as np
import pytest
from scipy.special import expit, softmax
from small_models import random_parameters

from symjax.models.pet.modules import Attention, FeedForward, RMSNorm, SiluMLP

X = np.random.default_rng(0).normal(size=(2, 5, 4))


def applied(module, *inputs):
    """What a module of random parameters gives, and these parameters."""
    variables = random_parameters(module, *inputs)
    return jax.jit(module.apply)(variables, *inputs), variables["params"]


def linear(x, p):
    return x @ p["kernel"] + p["bias"]


def test_rms_norm():
    out, p = applied(RMSNorm(), X)
    root = np.sqrt(np.mean(X**2, axis=-1, keepdims=True) + np.finfo(float).eps)
    np.testing.assert_allclose(out, X / root * p["scale"], rtol=1e-12)


@pytest.mark.parametrize("activation", ["SwiGLU", "SiLU"])
def test_feed_forward(activation):
    out, p = applied(FeedForward(3, activation), X)
    hidden = linear(X, p["w_in"])
    if activation == "SwiGLU":
        hidden = hidden[..., :3] * expit(hidden[..., 3:])
    else:
        hidden = hidden * expit(hidden)
    np.testing.assert_allclose(out, linear(hidden, p["w_out"]), rtol=1e-11)


def test_silu_mlp():
    out, p = applied(SiluMLP(3, 2), X)
    hidden = linear(X, p["0"])
    np.testing.assert_allclose(out, linear(hidden * expit(hidden), p["2"]), rtol=1e-11)


def test_attention_under_the_cutoff():
    """exp(bias) multiplies the weights; a token at minus infinity is not there."""
    bias = np.log(np.random.default_rng(1).uniform(size=(2, 5)))
    bias[0, 4] = -np.inf
    out, p = applied(Attention(num_heads=2, temperature=1.5), X, bias)
    projected = linear(X, p["input_linear"]).reshape(2, 5, 3, 2, 2)
    query, key, value = np.moveaxis(projected, 2, 0)
    scores = np.einsum("aqhs,akhs->ahqk", query, key) / (np.sqrt(2) * 1.5)
    weights = softmax(scores + bias[:, None, None], axis=-1)
    heads = np.einsum("ahqk,akhs->aqhs", weights, value).reshape(2, 5, 4)
    expected = linear(heads, p["output_linear"])
    np.testing.assert_allclose(out, expected, rtol=1e-10)
    assert not weights[0, ..., 4].any()
