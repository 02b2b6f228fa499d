"""The cutoff functions of PET near their ends."""

import jax
import jax.numpy as jnp
import numpy as np

from symjax.models.pet.cutoff import bump


def test_slopes_keep_their_digits_in_float32():
    """Near s = 0 an approximate tanh short of 1 would leave 4e-4 of the slope 2."""
    distances = np.linspace(3.99, 4.51, 521, dtype=np.float32)

    def slopes(dtype):
        cutoff = jnp.asarray(4.5, dtype)
        slope = jax.jit(jax.vmap(jax.grad(lambda d: bump(d, cutoff, 0.5))))
        return np.asarray(slope(jnp.asarray(distances, dtype)), float)

    exact = slopes("float64")
    # 1 - f is a multiple of 6e-8, times pi / width / sin^2, up to 500 where f is that.
    np.testing.assert_allclose(slopes("float32"), exact, atol=1e-4)
    assert exact.min() < -2
    assert (exact <= 0).all()
