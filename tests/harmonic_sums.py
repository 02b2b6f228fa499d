"""Functions of one degree, and to how many digits their content is known."""

import jax.numpy as jnp
import numpy as np

from symjax.so3.harmonics import degree_slice, spherical_harmonics

# A content of exactly 0 or 1 comes out with the round-off of about 1e3 additions of
# squared float64 numbers.
EXACT = 1e-12

X = np.random.default_rng(0).normal(size=(4, 3))


def harmonics_sum(x, degree=2):
    y = spherical_harmonics(degree, x)[..., degree_slice(degree)]
    weights = jnp.linalg.norm(x, axis=-1, keepdims=True) ** degree
    return (y * weights).sum(0)
