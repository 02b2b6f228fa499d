"""Random group elements as data augmentation."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from symjax.so3.sampling import haar


@functools.partial(jax.jit, static_argnames=("num", "inversion"))
def random_elements(
    key: PRNGKeyArray, num: int, *, inversion: bool = True
) -> Float[Array, "num 3 3"]:
    """Draws Haar-random elements of O(3), or of SO(3).

    Args:
      key: Random key.
      num: Number of elements.
      inversion: Whether to draw from O(3), where each element is improper with
        probability 1/2; otherwise from SO(3).

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


@functools.partial(jax.jit, static_argnames="num")
def euler_elements(key: PRNGKeyArray, num: int) -> Float[Array, "num 3 3"]:
    """Draws rotations Rx(a) Ry(b) Rz(c) with angles that are uniform on [-pi, pi].

    The augmentation of the released PoLAr-MAE. These rotations are not Haar-random:
    their density would have to be proportional to cos(b), so that directions near the
    x axis are too frequent among the images of the z axis.
    """
    angles = jax.random.uniform(key, (3, num), minval=-jnp.pi, maxval=jnp.pi)
    (ca, cb, cc), (sa, sb, sc) = jnp.cos(angles), jnp.sin(angles)
    rows = [
        [cb * cc, -cb * sc, sb],
        [ca * sc + sa * sb * cc, ca * cc - sa * sb * sc, -sa * cb],
        [sa * sc - ca * sb * cc, sa * cc + ca * sb * sc, ca * cb],
    ]
    return jnp.stack([jnp.stack(row, -1) for row in rows], -2)
