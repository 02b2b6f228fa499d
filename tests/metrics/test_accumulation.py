"""Sums of a call and of a buffer, taken in chunks that stay in the cache."""

import functools

import jax.numpy as jnp
import numpy as np
import pytest

from symjax.metrics import Grid, accumulation, measure, streaming
from symjax.so3 import FEATURE, MATRIX

X = np.random.default_rng(0).normal(size=(7, 3))
W = np.random.default_rng(1).normal(size=(3, 5))


def model(x):
    return {
        "edges": jnp.tanh((x[:, None] - x) @ W),
        "stress": x[:, :, None] * x[:, None, :] * jnp.tanh(x[:1, :1]),
    }


@pytest.mark.parametrize(
    ("memory", "chunk"),
    # One sample after the other; some, with samples left over; some of a piece.
    [(2**30, 1), (2**30, 7000), (3 * 10**5, 4000)],
)
def test_a_call_is_added_in_chunks(memory, chunk, monkeypatch):
    options = {
        "representations": {"edges": FEATURE, "stress": MATRIX},
        "max_degree": 2,
        "over": Grid(5, on_aliasing="report"),
    }
    whole = measure(model, X, **options)  # by NumPy, as it is small
    monkeypatch.setattr(accumulation, "HOST_BYTES", 0)
    several = functools.partial(accumulation.accumulate, chunk=chunk)
    monkeypatch.setattr(streaming, "accumulate", several)
    chunks = measure(model, X, memory=memory, **options)
    for name, leaf in whole.items():
        for field in ("power", "mean", "variance", "norm"):
            np.testing.assert_allclose(
                getattr(chunks[name], field),
                getattr(leaf, field),
                rtol=1e-11,
                atol=1e-13,
            )


@pytest.mark.parametrize("chunk", [4, 5, 16])
def test_a_buffer_is_added_in_chunks(chunk):
    """Ten values: two chunks and two values, two chunks, less than one."""
    rng = np.random.default_rng(0)
    sizes = [(3, 1), (2, 2)]
    tables = [[rng.normal(size=(rows, parts, 6)) for rows, parts in sizes]]
    buffer = [rng.normal(size=(parts, 6, 2, 10)) for _, parts in sizes]
    before = [[rng.normal(size=(rows, 2, 10)) for rows, _ in sizes]]
    wanted = [
        old + np.einsum("rpb,pbsc->rsc", table, part)
        for old, table, part in zip(before[0], tables[0], buffer, strict=True)
    ]
    states = [[jnp.asarray(old) for old in before[0]]]
    (after,) = accumulation.contract(states, buffer, tables, chunk)
    for one, other in zip(after, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-13)
