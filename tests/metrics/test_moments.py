"""Running moments: the same sums on the host as on a device, batch after batch."""

import jax
import numpy as np
import pytest

from symjax.metrics import moments
from symjax.so3 import MATRIX, SCALAR, Representation

WEIGHTS = np.array([0.1, 0.2, 0.3, 0.4])


@pytest.mark.parametrize(("representation", "irreps"), [(SCALAR, 1), (MATRIX, 3)])
def test_host_and_device_agree_with_plain_sums(
    representation: Representation, irreps: int
) -> None:
    size = representation.dimension
    offset = 1e8  # far above the variation, which must keep its digits
    values = offset + np.random.default_rng(0).normal(size=(4, 5, size, 2))
    start = values[0]
    found = []
    for xp in (np, jax.numpy):
        with jax.enable_x64(True):
            state = moments.init(1, 5, size, 2, irreps, xp=xp)
            for part in (slice(0, 1), slice(1, 4)):
                centred = xp.asarray(values[part] - start)
                weights = xp.asarray(WEIGHTS[None, part])
                state = moments.update(state, representation, centred, weights)
        assert isinstance(state.first, np.ndarray) == (xp is np)
        found.append(moments.finalize(state, representation, start, 4, 1e-16))
    mean = np.einsum("g,gsic->sic", WEIGHTS, values - offset)
    squares = np.einsum("g,gsic->si", WEIGHTS, np.square(values - offset - mean))
    starts = moments.irrep_starts(representation)
    for one in found:
        np.testing.assert_allclose(one.mean - offset, mean, atol=1e-7)
        variance = np.add.reduceat(squares, starts, axis=-1)
        np.testing.assert_allclose(one.variance, variance, rtol=1e-7)
