"""Sampled rotations: Haar-random, stratified and low-discrepancy."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from symjax.so3._arguments import check_integer
from symjax.so3.rotations import quaternion_to_matrix

# Alexa, "Super-Fibonacci spirals: fast, low-discrepancy sampling of SO(3)", CVPR
# 2022: phi = sqrt(2), and psi the real root of psi^4 = psi + 4.
_PHI = math.sqrt(2)
_PSI = 1.533751168755204288118041


def haar(key: PRNGKeyArray, num: int) -> Float[Array, "num 3 3"]:
    """Independent rotations, uniform in the Haar measure of SO(3).

    Directions of standard normal vectors in four dimensions are uniform on the unit
    quaternions (Shoemake, Graphics Gems III, 124 (1992)).

    Args:
      key: Random key.
      num: Number of rotations (static).

    Returns:
      Proper rotation matrices, in JAX's default floating dtype.

    Raises:
      ArgumentError: ``num`` is not a static integer of at least 1.

    Example:
      >>> import jax
      >>> from symjax.so3 import haar
      >>> haar(jax.random.key(0), 5).shape
      (5, 3, 3)
    """
    num = check_integer(num, "num", minimum=1)
    return quaternion_to_matrix(jax.random.normal(key, (num, 4)))


def _from_cube(
    u: Float[Array, "num"], v: Float[Array, "num"], w: Float[Array, "num"]
) -> Float[Array, "num 3 3"]:
    """Measure-preserving map from the unit cube to SO(3) (Shoemake 1992)."""
    a, b = jnp.sqrt(1 - u), jnp.sqrt(u)
    v, w = 2 * jnp.pi * v, 2 * jnp.pi * w
    quaternion = [b * jnp.cos(w), a * jnp.sin(v), a * jnp.cos(v), b * jnp.sin(w)]
    return quaternion_to_matrix(jnp.stack(quaternion, axis=-1))


def stratified(key: PRNGKeyArray, cells: int) -> Float[Array, "num 3 3"]:
    """Random rotations, one in each of ``cells**3`` equal volumes of SO(3).

    Every rotation is uniform in its volume, so averages are unbiased, and their
    variance is at most that of as many independent rotations.

    Args:
      key: Random key.
      cells: Cells along each of the three directions (static).

    Returns:
      ``cells**3`` proper rotation matrices, in JAX's default floating dtype.

    Raises:
      ArgumentError: ``cells`` is not a static integer of at least 1.

    Example:
      >>> import jax
      >>> from symjax.so3 import stratified
      >>> stratified(jax.random.key(0), 2).shape
      (8, 3, 3)
    """
    cells = check_integer(cells, "cells", minimum=1)
    corners = np.moveaxis(np.indices((cells,) * 3), 0, -1).reshape(-1, 3)
    offsets = jax.random.uniform(key, corners.shape)
    return _from_cube(*((corners + offsets) / cells).T)


def super_fibonacci(num: int) -> Float[Array, "num 3 3"]:
    """Deterministic low-discrepancy rotations on super-Fibonacci spirals.

    Alexa, CVPR 2022. A set without weights, of any size; averages over it have no
    known degree of exactness and no standard error. Multiply it by one Haar-random
    rotation (:func:`haar`) for averages that are unbiased.

    Args:
      num: Number of rotations (static).

    Returns:
      Proper rotation matrices, in JAX's default floating dtype.

    Raises:
      ArgumentError: ``num`` is not a static integer of at least 1.

    Example:
      >>> from symjax.so3 import super_fibonacci
      >>> super_fibonacci(100).shape
      (100, 3, 3)
    """
    num = check_integer(num, "num", minimum=1)
    # In NumPy float64: the fractional part of s / phi needs more than float32.
    s = np.arange(num) + 0.5
    a, b = np.sqrt(s / num), np.sqrt(1 - s / num)
    alpha, beta = 2 * np.pi * s / _PHI, 2 * np.pi * s / _PSI
    quaternion = [
        b * np.cos(beta),
        a * np.sin(alpha),
        a * np.cos(alpha),
        b * np.sin(beta),
    ]
    return quaternion_to_matrix(jnp.asarray(np.stack(quaternion, axis=-1)))
