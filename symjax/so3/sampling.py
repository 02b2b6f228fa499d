"""Random and low-discrepancy rotations."""

import math

import jax
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from scipy.spatial.transform import Rotation

from symjax.errors import ArgumentError
from symjax.so3._arguments import check_fits, check_integer
from symjax.so3.rotations import quaternion_to_matrix

# Alexa, "Super-Fibonacci spirals: fast, low-discrepancy sampling of SO(3)", CVPR
# 2022: phi = sqrt(2), and psi the real root of psi^4 = psi + 4.
_PHI = math.sqrt(2)
_PSI = 1.533751168755204288118041
# A quaternion and a matrix, in float64.
_BYTES = 8 * (4 + 9)


def check_rotations_fit(argument: str, num: int) -> None:
    """Raises if ``num`` rotations exceed the memory budget."""
    check_fits(argument, num, num * _BYTES)


def haar(key: PRNGKeyArray, num: int) -> Float[Array, "num 3 3"]:
    """Independent rotations, distributed uniformly (Haar) over SO(3).

    The direction of a standard normal vector in four dimensions is a uniform unit
    quaternion (Shoemake, Graphics Gems III, 124 (1992)).

    Args:
      key: Random key.
      num: Number of rotations (static).

    Returns:
      Rotation matrices in JAX's default floating dtype.

    Raises:
      ArgumentError: ``num`` is not a static integer of at least 1, the rotations take
        more than 4 GiB, or ``key`` is not a random key.

    Example:
      >>> import jax
      >>> from symjax.so3 import haar
      >>> haar(jax.random.key(0), 5).shape
      (5, 3, 3)
    """
    num = check_integer("num", num, 1)
    check_rotations_fit("num", num)
    try:
        quaternions = jax.random.normal(key, (num, 4))
    except (TypeError, ValueError) as error:
        raise ArgumentError(
            "key", key, "is not a random key", "Pass jax.random.key(seed)"
        ) from error
    return quaternion_to_matrix(quaternions)


def super_fibonacci(num: int) -> Float[Array, "num 3 3"]:
    """Deterministic low-discrepancy rotations on super-Fibonacci spirals.

    An equal-weight set of any size (Alexa, CVPR 2022). Averages over it have no known
    degree of exactness and no standard error; they become unbiased when all rotations
    are multiplied by the same Haar-random one (:func:`haar`). Dtype and errors are
    those of :func:`haar`.

    Example:
      >>> from symjax.so3.sampling import super_fibonacci
      >>> super_fibonacci(100).shape
      (100, 3, 3)
    """
    num = check_integer("num", num, 1)
    check_rotations_fit("num", num)
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
    rotations = Rotation.from_quat(np.stack(quaternion, axis=-1), scalar_first=True)
    return jax.device_put(rotations.as_matrix())
