"""Random group elements as data augmentation."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from symjax.so3.sampling import haar


def random_elements(
    key: PRNGKeyArray, num: int, *, inversion: bool = True
) -> Float[Array, "num 3 3"]:
    """Haar-random elements of O(3), or of SO(3).

    Args:
      key: Random key.
      num: Number of elements.
      inversion: Whether half of them are improper.

    Returns:
      Orthogonal matrices, in the default floating dtype of JAX.

    Example:
      >>> import jax
      >>> from symjax.training.augmentation import random_elements
      >>> random_elements(jax.random.key(0), 5).shape
      (5, 3, 3)
    """
    rotation_key, sign_key = jax.random.split(key)
    rotations = haar(rotation_key, num)
    if not inversion:
        return rotations
    signs = jax.random.rademacher(sign_key, (num, 1, 1), rotations.dtype)
    return jnp.asarray(signs * rotations)
