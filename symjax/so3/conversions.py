"""Conversions between the spherical components of symjax, e3nn, e3x and metatensor.

metatensor's spherical components (``o3_lambda``, ``o3_sigma``, ``o3_mu``) are the same
as symjax's, irrep (l, sigma) with m = -l, ..., l, and need no conversion. The others:

- e3x orders the same functions m = l, -l, l - 1, -(l - 1), ..., 0, and by default uses
  Racah's normalisation for its harmonics.
- e3nn (both the PyTorch and the JAX library) orders m = -l, ..., l about the y axis:
  with P (x, y, z) = (z, x, y), its harmonics are Y_l(P v) = D^l(P) Y_l(v), so that
  l = 1 reads (x, y, z). For l >= 2 this is not a permutation of components.

A measurement needs no conversion: ``spherical(2, basis="e3nn")`` describes such an
output as it is.
"""

import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from symjax.errors import ArgumentError
from symjax.so3._arguments import as_floating, check_integer
from symjax.so3._bases import from_library
from symjax.so3.harmonics import normalization_factor


def _convert(
    basis: str,
    components: Float[Array, "..."],
    axis: int,
    normalization: str,
    degree: int | Sequence[int] | None,
    inverse: bool = False,
) -> Float[Array, "..."]:
    """Converts the components of each irrep to a library's, or from it if inverse."""
    components = as_floating(components, "components")
    axis = check_integer("axis", axis, -components.ndim)
    if axis >= components.ndim:
        raise ArgumentError(
            "axis",
            axis,
            f"is not an axis of an array with {components.ndim} of them",
            "Name the axis of the components",
        )
    size = components.shape[axis]
    if degree is None:
        degrees = list(range(math.isqrt(size)))
    else:
        several = degree if isinstance(degree, Sequence) else [degree]
        degrees = [check_integer("degree", number) for number in several]
    wanted = sum(2 * number + 1 for number in degrees) if degrees else 1
    if size != wanted:
        raise ArgumentError(
            "components",
            size,
            "the number of components is not (max_degree + 1)^2"
            if degree is None
            else f"an irrep of degree {degree} has {wanted} components"
            if isinstance(degree, int)
            else f"irreps of degrees {list(degree)} have {wanted} components",
            "Pass all degrees from 0 to max_degree, or name those of the irreps with "
            "degree=; name the axis of the components with axis=",
        )
    return _multiply(basis, normalization, tuple(degrees), inverse, axis, components)


# Compiled even when the caller is not: see symjax.so3.rotations.
@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3, 4))
def _multiply(
    basis: str,
    normalization: str,
    degrees: tuple[int, ...],
    inverse: bool,
    axis: int,
    components: Float[Array, "..."],
) -> Float[Array, "..."]:
    out = []
    ends = np.cumsum([2 * number + 1 for number in degrees], dtype=int)
    parts = jnp.split(jnp.moveaxis(components, axis, -1), ends[:-1], axis=-1)
    for number, part in zip(degrees, parts, strict=True):
        scale = normalization_factor(normalization, number)
        matrix = from_library(basis, number)
        matrix = (matrix / scale if inverse else scale * matrix.T).astype(part.dtype)
        out.append(jnp.einsum("ij,...j->...i", matrix, part, precision="highest"))
    return jnp.moveaxis(jnp.concatenate(out, axis=-1), -1, axis)


def to_e3x(
    components: Float[Array, "..."],
    *,
    axis: int = -1,
    normalization: str = "orthonormal",
    degree: int | Sequence[int] | None = None,
) -> Float[Array, "..."]:
    """Reorders spherical components from m = -l, ..., l to e3x's Cartesian order.

    e3x lists m = l, -l, l - 1, -(l - 1), ..., 0, so that l = 1 reads (x, y, z). For
    features only the order changes. For values of :func:`spherical_harmonics` the
    normalisation can change too; e3x's default is ``"racah"``.

    Args:
      components: Array with all degrees from 0 to L along ``axis``, or the irreps that
        ``degree`` names.
      axis: Axis of the components; -2 for e3x features.
      normalization: Normalisation of the result if the input is orthonormal;
        ``"orthonormal"`` keeps the values.
      degree: Degree of a single irrep with 2 l + 1 components; or the degrees of
        several irreps, one after another: ``(1, 1, 2)`` for e3nn's ``2x1o+2e``.

    Returns:
      Array of the same shape.

    Raises:
      ArgumentError: The axis does not exist, or does not have the (L + 1)^2 components
        of all degrees or those of the irreps of ``degree``; or ``normalization`` is
        unknown.

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.so3 import to_e3x
      >>> to_e3x(jnp.array([0.0, 2.0, 3.0, 1.0])).tolist()
      [0.0, 1.0, 2.0, 3.0]
    """
    return _convert("e3x", components, axis, normalization, degree)


def from_e3x(
    components: Float[Array, "..."],
    *,
    axis: int = -1,
    normalization: str = "orthonormal",
    degree: int | Sequence[int] | None = None,
) -> Float[Array, "..."]:
    """Inverse of :func:`to_e3x`; here ``normalization`` is that of the input.

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.so3 import from_e3x
      >>> from_e3x(jnp.array([0.0, 1.0, 2.0, 3.0])).tolist()
      [0.0, 2.0, 3.0, 1.0]
    """
    return _convert("e3x", components, axis, normalization, degree, inverse=True)


def to_e3nn(
    components: Float[Array, "..."],
    *,
    axis: int = -1,
    normalization: str = "orthonormal",
    degree: int | Sequence[int] | None = None,
) -> Float[Array, "..."]:
    """Converts spherical components from symjax's polar axis z to e3nn's polar axis y.

    The components of degree l are multiplied by D^l(P), P (x, y, z) = (z, x, y).
    Components that transform with :func:`~symjax.so3.wigner_d` then transform with
    e3nn's ``Irrep.D_from_matrix``. e3nn's parity is
    :attr:`Irrep.parity <symjax.so3.Irrep.parity>`: ``1+`` is its ``1o``.

    Arguments and errors are those of :func:`to_e3x`. e3nn's normalisation
    ``"integral"`` is ``"orthonormal"`` here, its ``"component"`` is ``"4pi"`` and its
    ``"norm"`` is ``"racah"``. Features keep the default, ``"orthonormal"``.

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.so3 import to_e3nn
      >>> to_e3nn(jnp.array([0.0, 2.0, 3.0, 1.0])).round(6).tolist()
      [0.0, 1.0, 2.0, 3.0]
    """
    return _convert("e3nn", components, axis, normalization, degree)


def from_e3nn(
    components: Float[Array, "..."],
    *,
    axis: int = -1,
    normalization: str = "orthonormal",
    degree: int | Sequence[int] | None = None,
) -> Float[Array, "..."]:
    """Inverse of :func:`to_e3nn`; here ``normalization`` is that of the input.

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.so3 import from_e3nn
      >>> from_e3nn(jnp.array([0.0, 1.0, 2.0, 3.0])).round(6).tolist()
      [0.0, 2.0, 3.0, 1.0]
      >>> from_e3nn(jnp.array([1.0, 2.0, 3.0]), degree=1).round(6).tolist()
      [2.0, 3.0, 1.0]
    """
    return _convert("e3nn", components, axis, normalization, degree, inverse=True)
