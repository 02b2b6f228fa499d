"""Checks that every module of the package shares."""

import jax
import numpy as np

from symjax import so3


def test_large_integers_do_not_wrap_around():
    """Without 64 bits JAX keeps 32 of an integer: x would be 0."""
    with jax.enable_x64(False):
        wanted = so3.spherical_harmonics(1, np.array([1.0, 0.0, 0.0]))
        found = so3.spherical_harmonics(1, np.array([2**60, 1, 0]))
    np.testing.assert_allclose(found, wanted, atol=1e-6)
