"""Scalars that jump, in a part of all orientations about an axis."""

import jax.numpy as jnp
import numpy as np

X = np.random.default_rng(0).normal(size=(6, 3))
AXIS = np.array([0.48, 0.6, 0.64])


def jump(part, height=1.0):
    """A scalar that jumps in a part of all orientations: V = p (1 - p) height^2."""

    def function(x, axis):
        cosine = x[0] @ axis / jnp.linalg.norm(x[0])
        return 10.0 + height * (0.5 * (1 - cosine) < part)

    return function
