"""Blocks: masking, permutation of tokens, and attention by definition."""

import jax
import numpy as np
import pytest
import scipy.special
from hypothesis import given
from hypothesis import strategies as st
from small_models import random_parameters

from symjax.models.pointmae.transformer import Attention, BlockOptions, Transformer

TOKENS, WIDTH = 6, 8


@pytest.fixture(scope="module")
def stack():
    net = Transformer(BlockOptions(2, 2), (0.0, 0.0), True, True)
    x, positions = np.random.default_rng(0).standard_normal((2, TOKENS, WIDTH))
    mask = np.arange(TOKENS) < 4
    variables = random_parameters(net, x, positions, mask)
    return jax.jit(lambda *a: net.apply(variables, *a)), x, positions, mask


@given(st.integers(0, 2**32 - 1))
def test_tokens_permute(stack, seed):
    run, x, positions, mask = stack
    order = np.random.default_rng(seed).permutation(TOKENS)
    out, hidden = run(x, positions, mask)
    other, _ = run(x[order], positions[order], mask[order])
    np.testing.assert_allclose(out[order], other, atol=1e-10)
    assert len(hidden) == 2


def test_padding_is_not_seen(stack):
    run, x, positions, mask = stack
    out, _ = run(x, positions, mask)
    other, _ = run(np.where(mask[:, None], x, 50.0), positions, mask)
    np.testing.assert_allclose(out[mask], other[mask], atol=1e-10)


def test_attention_by_definition():
    layer = Attention(BlockOptions(2))
    x = np.random.default_rng(1).standard_normal((TOKENS, WIDTH))
    mask = np.arange(TOKENS) < 5
    variables = random_parameters(layer, x, mask)
    out = jax.jit(layer.apply)(variables, x, mask)
    p = variables["params"]
    q, k, v = np.split(x @ p["qkv"]["kernel"] + p["qkv"]["bias"], 3, axis=1)
    heads = []
    for head in range(2):
        part = slice(4 * head, 4 * head + 4)
        scores = q[:, part] @ k[:5, part].T / 2
        heads.append(scipy.special.softmax(scores, axis=1) @ v[:5, part])
    expected = np.concatenate(heads, 1) @ p["proj"]["kernel"] + p["proj"]["bias"]
    np.testing.assert_allclose(out, expected, atol=1e-9)


def test_positions_once_or_at_every_layer(stack):
    _, x, positions, mask = stack
    outs = []
    for every in (True, False):
        net = Transformer(BlockOptions(2, 2), (0.0,), every, False)
        variables = random_parameters(net, x, positions, mask)
        outs.append(jax.jit(net.apply)(variables, x, positions, mask)[0])
    # with one block there is no difference
    np.testing.assert_allclose(outs[0], outs[1])
