"""Real spherical harmonics by recurrence, to any degree.

Components are ordered l = 0, ..., L and m = -l, ..., l; degree l occupies
:func:`degree_slice`. There is no Condon-Shortley phase: l = 1 is proportional to
(y, z, x). For the conventions of other libraries see :mod:`symjax.so3.conversions`.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from symjax.errors import ArgumentError
from symjax.so3._arguments import as_trailing, check_integer

_NORMALIZATIONS = ("orthonormal", "racah", "4pi")


def degree_slice(degree: int) -> slice:
    """Slice of the component axis that holds degree l: l^2 to (l + 1)^2.

    Raises:
      ArgumentError: ``degree`` is not an integer of at least 0.

    Example:
      >>> from symjax.so3.harmonics import degree_slice
      >>> degree_slice(2)
      slice(4, 9, None)
    """
    degree = check_integer("degree", degree)
    return slice(degree**2, (degree + 1) ** 2)


def normalization_factor(name: str, degree: int) -> float:
    """Factor from orthonormal harmonics to those of another normalisation."""
    if name == "orthonormal":
        return 1.0
    if name == "racah":
        return math.sqrt(4 * math.pi / (2 * degree + 1))
    if name == "4pi":
        return math.sqrt(4 * math.pi)
    raise ArgumentError(
        "normalization", name, "is unknown", f"Use one of {', '.join(_NORMALIZATIONS)}"
    )


def solid_harmonics(
    max_degree: int,
    vectors: Float[Array, "... 3"],
    *,
    normalization: str = "orthonormal",
) -> Float[Array, "... components"]:
    """Regular solid harmonics r^l Y_lm, homogeneous polynomials in x, y and z.

    For m > 0, r^l Y_lm = sqrt(2) Q_l^m(z, r^2) Re (x + i y)^m; for -m the imaginary
    part takes the place of the real part, and r^l Y_l0 = Q_l^0. The fully normalised Q
    follow from

      Q_m^m = sqrt((2m + 1) / (2m)) Q_{m-1}^{m-1},   Q_0^0 = 1 / sqrt(4 pi),
      Q_l^m = a_l^m (z Q_{l-1}^m - r^2 Q_{l-2}^m / a_{l-1}^m),
      a_l^m = sqrt((4 l^2 - 1) / (l^2 - m^2)),

    the standard upward recurrence of associated Legendre functions (Numerical
    Recipes, 3rd ed., section 6.7) with the powers of sin(beta) factored out, so that
    nothing is singular at the poles or at the origin.

    Args:
      max_degree: Largest degree L (static).
      vectors: Vectors of any length, shape ``(..., 3)``.
      normalization: As in :func:`spherical_harmonics`.

    Returns:
      Shape ``(..., (max_degree + 1)**2)``, in the unit of ``vectors`` to the power l.

    Raises:
      ArgumentError: As :func:`spherical_harmonics`.

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.so3.harmonics import solid_harmonics
      >>> r = solid_harmonics(1, jnp.array([1.0, 2.0, 3.0]), normalization="racah")
      >>> r.round(4).tolist()
      [1.0, 2.0, 3.0, 1.0]
    """
    max_degree = check_integer("max_degree", max_degree)
    return _solid(max_degree, normalization, as_trailing(vectors, "vectors", (3,)))


def _recurrence(max_degree: int) -> Float[np.ndarray, "degrees 3 orders"]:
    """The factors of z Q_{l-1}^m and of -r^2 Q_{l-2}^m, and the constants Q_m^m."""
    degree = np.arange(max_degree + 1.0)[:, None]
    m = degree.T
    below = np.where(m < degree, degree**2 - m**2, np.inf)
    a = np.sqrt((4 * degree**2 - 1).clip(0) / below)
    lower = np.roll(a, 1, axis=0)
    b = np.divide(a, lower, out=np.zeros_like(a), where=lower > 0)
    diagonal = np.sqrt(np.cumprod(np.append(1, 1 + 1 / (2 * m[0, 1:]))) / (4 * np.pi))
    return np.stack([a, b, np.diag(diagonal)], axis=1)


# Compiled even when the caller is not: outside of jit, JAX compiles a separate program
# for each operation and shape.
@functools.partial(jax.jit, static_argnums=(0, 1))
def _solid(
    max_degree: int, normalization: str, vectors: Float[Array, "... 3"]
) -> Float[Array, "... components"]:
    x, y, z = jnp.moveaxis(vectors, -1, 0)
    squared = (x * x + y * y + z * z)[..., None]

    def following(carry: Any, factors: Array) -> Any:
        """Q_l^m of all orders m, and Re and Im of (x + i y)^l, from those before."""
        row, before, c, s = carry
        a, b, constant = factors
        above = a * z[..., None] * row - b * squared * before + constant
        return (above, row, x * c - y * s, x * s + y * c), (above, c, s)

    none = jnp.zeros((*z.shape, max_degree + 1), vectors.dtype)
    factors = jnp.asarray(_recurrence(max_degree), vectors.dtype)
    start = none, none, jnp.ones_like(x), jnp.zeros_like(x)
    # A loop compiles in the same time for any degree; through degree 7 there is none.
    _, (rows, *waves) = jax.lax.scan(following, start, factors, unroll=8)
    degrees = np.repeat(range(max_degree + 1), np.arange(max_degree + 1) * 2 + 1)
    m = np.arange(len(degrees)) - degrees * (degrees + 1)
    scale = np.array([normalization_factor(normalization, int(l)) for l in degrees])  # noqa: E741
    scale = (scale * np.where(m, math.sqrt(2), 1)).astype(vectors.dtype)
    wave = jnp.stack(waves)[np.where(m < 0, 1, 0), abs(m)]
    return jnp.moveaxis(wave * rows[degrees, ..., abs(m)], 0, -1) * scale


def spherical_harmonics(
    max_degree: int,
    vectors: Float[Array, "... 3"],
    *,
    normalization: str = "orthonormal",
) -> Float[Array, "... components"]:
    """Real spherical harmonics Y_lm of the directions of vectors.

    They obey Y_l(R v) = D^l(R) Y_l(v) with :func:`symjax.so3.wigner_d`.

    Args:
      max_degree: Largest degree L (static).
      vectors: Nonzero vectors of any length, shape ``(..., 3)``.
      normalization: Integral of Y_lm^2 over the sphere: 1 for ``"orthonormal"``,
        4 pi / (2l + 1) for ``"racah"``, 4 pi for ``"4pi"``; the names are e3x's.

    Returns:
      Shape ``(..., (max_degree + 1)**2)``; NaN for l > 0 at a zero vector, which has
      no direction.

    Raises:
      ArgumentError: ``max_degree`` is not a static integer of at least 0, the last
        axis does not have length 3, or ``normalization`` is unknown.

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.so3 import spherical_harmonics
      >>> spherical_harmonics(3, jnp.ones((5, 3))).shape
      (5, 16)
    """
    max_degree = check_integer("max_degree", max_degree)
    return _spherical(max_degree, normalization, as_trailing(vectors, "vectors", (3,)))


@functools.partial(jax.jit, static_argnums=(0, 1))
def _spherical(
    max_degree: int, normalization: str, vectors: Float[Array, "... 3"]
) -> Float[Array, "... components"]:
    # Scaled first, so that the square of a very long vector does not overflow.
    scale = jnp.max(jnp.abs(vectors), axis=-1, keepdims=True)
    vectors = vectors / scale
    unit = vectors / jnp.linalg.norm(vectors, axis=-1, keepdims=True)
    return _solid(max_degree, normalization, unit)
