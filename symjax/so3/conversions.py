"""Components in the orders and axes of e3nn, e3x and metatensor.

metatensor's spherical components (``o3_lambda``, ``o3_sigma``, ``o3_mu``) are
symjax's: irrep (l, sigma), m = -l, ..., l, nothing to convert. The others:

- e3x orders the same functions m = l, -l, l - 1, -(l - 1), ..., 0 and normalises
  harmonics after Racah unless told otherwise;
- e3nn (the PyTorch and the JAX library) has m = -l, ..., l about the y axis: with P
  (x, y, z) = (z, x, y), its harmonics are Y_l(P v) = D^l(P) Y_l(v), so that l = 1 reads
  (x, y, z). From l = 2 on this is no permutation of components.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from symjax.errors import ArgumentError
from symjax.so3._arguments import as_floating
from symjax.so3.harmonics import _normalization, degree_slice
from symjax.so3.wigner import wigner_d

_TO_E3NN_AXES = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


def _e3x_order(max_degree: int) -> np.ndarray:
    """Position in symjax's order of each component in e3x's."""
    order = []
    for degree in range(max_degree + 1):
        center = degree**2 + degree
        for m in range(degree, 0, -1):
            order += [center + m, center - m]
        order.append(center)
    return np.array(order)


@functools.lru_cache
def _e3nn_basis(max_degree: int) -> list[np.ndarray]:
    """D^l(P) for every degree."""
    with jax.enable_x64(True), jax.ensure_compile_time_eval():
        matrices = wigner_d(max_degree, jnp.asarray(_TO_E3NN_AXES))
        return [np.asarray(d) for d in matrices]


def _prepare(
    components: Float[Array, "..."], axis: int, normalization: str
) -> tuple[Float[Array, "..."], int, Float[np.ndarray, " components"]]:
    """The array with its components last, the largest degree, and factors."""
    components = as_floating(components, "components")
    axis = int(axis)
    if not -components.ndim <= axis < components.ndim:
        raise ArgumentError(
            "axis", axis, f"the array has {components.ndim} axes", "Pass one of them"
        )
    size = components.shape[axis]
    max_degree = math.isqrt(size) - 1
    if size < 1 or (max_degree + 1) ** 2 != size:
        raise ArgumentError(
            "components",
            size,
            "the number of components is not (max_degree + 1)^2",
            "Pass all degrees from 0 to max_degree, and name their axis with axis=",
        )
    degrees = np.sqrt(np.arange(size)).astype(int)
    scale = np.array([_normalization(normalization, int(d)) for d in degrees])
    return jnp.moveaxis(components, axis, -1), max_degree, scale


def _reorder(
    components: Float[Array, "..."], axis: int, normalization: str, forward: bool
) -> Float[Array, "..."]:
    last, max_degree, scale = _prepare(components, axis, normalization)
    order = _e3x_order(max_degree)
    factor = jnp.asarray(scale, last.dtype)
    # Degrees occupy the same slots in both orders, so the factor commutes.
    if forward:
        out = last[..., order] * factor
    else:
        out = last[..., np.argsort(order)] / factor
    return jnp.moveaxis(out, -1, axis)


def _turn(
    components: Float[Array, "..."], axis: int, normalization: str, forward: bool
) -> Float[Array, "..."]:
    last, max_degree, scale = _prepare(components, axis, normalization)
    out = []
    for degree, matrix in enumerate(_e3nn_basis(max_degree)):
        block = last[..., degree_slice(degree)]
        matrix = scale[degree**2] * matrix if forward else matrix.T / scale[degree**2]
        out.append(
            jnp.einsum(
                "ij,...j->...i",
                jnp.asarray(matrix, last.dtype),
                block,
                precision="highest",
            )
        )
    return jnp.moveaxis(jnp.concatenate(out, axis=-1), -1, axis)


def to_e3x(
    components: Float[Array, "..."],
    *,
    axis: int = -1,
    normalization: str = "orthonormal",
) -> Float[Array, "..."]:
    """Reorders spherical components from m = -l, ..., l to e3x's Cartesian order.

    e3x lists m = l, -l, l - 1, -(l - 1), ..., 0, so that l = 1 reads (x, y, z).
    Features only change order. Values of :func:`spherical_harmonics` also change
    normalisation: e3x's default is ``"racah"``.

    Args:
      components: Array with all degrees from 0 to L along ``axis``.
      axis: Axis of the (L + 1)^2 components; -2 for e3x features.
      normalization: Normalisation of the result, the input being orthonormal:
        ``"orthonormal"`` leaves values as they are.

    Returns:
      Array of the same shape.

    Raises:
      ArgumentError: The axis has not (L + 1)^2 components or does not exist, or
        ``normalization`` is unknown.

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.so3 import to_e3x
      >>> to_e3x(jnp.array([0.0, 2.0, 3.0, 1.0])).tolist()
      [0.0, 1.0, 2.0, 3.0]
    """
    return _reorder(components, axis, normalization, forward=True)


def from_e3x(
    components: Float[Array, "..."],
    *,
    axis: int = -1,
    normalization: str = "orthonormal",
) -> Float[Array, "..."]:
    """Inverse of :func:`to_e3x`.

    Args:
      components: Array in e3x's Cartesian order along ``axis``.
      axis: Axis of the (L + 1)^2 components; -2 for e3x features.
      normalization: Normalisation of the input; the result is orthonormal.

    Returns:
      Array of the same shape.

    Raises:
      ArgumentError: As :func:`to_e3x`.

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.so3 import from_e3x
      >>> from_e3x(jnp.array([0.0, 1.0, 2.0, 3.0])).tolist()
      [0.0, 2.0, 3.0, 1.0]
    """
    return _reorder(components, axis, normalization, forward=False)


def to_e3nn(
    components: Float[Array, "..."],
    *,
    axis: int = -1,
    normalization: str = "orthonormal",
) -> Float[Array, "..."]:
    """Turns spherical components from axes about z to e3nn's about y.

    The components of degree l are multiplied by D^l(P), P (x, y, z) = (z, x, y). What
    transforms with :func:`~symjax.so3.wigner_d` before transforms with e3nn's
    ``Irrep.D_from_matrix`` after. e3nn's parity is
    :attr:`Irrep.parity <symjax.so3.Irrep.parity>`: ``1+`` is its ``1o``.

    Args:
      components: Array with all degrees from 0 to L along ``axis``, once each.
      axis: Axis of the (L + 1)^2 components.
      normalization: Normalisation of the result, the input being orthonormal; e3nn's
        ``"integral"`` is ``"orthonormal"`` here, its ``"component"`` is ``"4pi"`` and
        its ``"norm"`` is ``"racah"``. Features only turn.

    Returns:
      Array of the same shape.

    Raises:
      ArgumentError: As :func:`to_e3x`.

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.so3 import to_e3nn
      >>> to_e3nn(jnp.array([0.0, 2.0, 3.0, 1.0])).round(6).tolist()
      [0.0, 1.0, 2.0, 3.0]
    """
    return _turn(components, axis, normalization, forward=True)


def from_e3nn(
    components: Float[Array, "..."],
    *,
    axis: int = -1,
    normalization: str = "orthonormal",
) -> Float[Array, "..."]:
    """Inverse of :func:`to_e3nn`.

    Args:
      components: Array with e3nn's degrees from 0 to L along ``axis``.
      axis: Axis of the (L + 1)^2 components.
      normalization: Normalisation of the input; the result is orthonormal.

    Returns:
      Array of the same shape.

    Raises:
      ArgumentError: As :func:`to_e3x`.

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.so3 import from_e3nn
      >>> from_e3nn(jnp.array([0.0, 1.0, 2.0, 3.0])).round(6).tolist()
      [0.0, 2.0, 3.0, 1.0]
    """
    return _turn(components, axis, normalization, forward=False)
