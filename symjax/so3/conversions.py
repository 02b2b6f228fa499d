"""Components in the orders and axes of e3nn, e3x and metatensor.

metatensor's spherical components (``o3_lambda``, ``o3_sigma``, ``o3_mu``) are
symjax's: irrep (l, sigma), m = -l, ..., l, nothing to convert. The others:

- e3x orders the same functions m = l, -l, l - 1, -(l - 1), ..., 0 and normalises
  harmonics after Racah unless told otherwise;
- e3nn (the PyTorch and the JAX library) has m = -l, ..., l about the y axis: with P
  (x, y, z) = (z, x, y), its harmonics are Y_l(P v) = D^l(P) Y_l(v), so that l = 1 reads
  (x, y, z). From l = 2 on this is no permutation of components.

A measurement takes outputs as they are: ``spherical(2, basis="e3nn")``.
"""

import functools
import math
from collections.abc import Callable, Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from symjax.errors import ArgumentError
from symjax.so3._arguments import as_floating, check_integer
from symjax.so3._bases import e3nn_matrices, e3x_order
from symjax.so3.harmonics import _normalization, degree_slice


def _prepare(
    components: Float[Array, "..."],
    axis: int,
    normalization: str,
    degree: int | Sequence[int] | None,
) -> tuple[Float[Array, "..."], list[tuple[int, slice]], Callable[[int], float]]:
    """The array with its components last, where each degree is, and factors."""
    components = as_floating(components, "components")
    axis = int(axis)
    if not -components.ndim <= axis < components.ndim:
        raise ArgumentError(
            "axis", axis, f"the array has {components.ndim} axes", "Pass one of them"
        )
    size = components.shape[axis]
    if degree is None:
        blocks = [(n, degree_slice(n)) for n in range(math.isqrt(size))]
    else:
        several = degree if isinstance(degree, Sequence) else [degree]
        blocks, start = [], 0
        for number in [check_integer(number, "degree") for number in several]:
            blocks.append((number, slice(start, start + 2 * number + 1)))
            start += 2 * number + 1
    wanted = blocks[-1][1].stop if blocks else 1
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
    return (
        jnp.moveaxis(components, axis, -1),
        blocks,
        functools.partial(_normalization, normalization),
    )


def _reorder(
    components: Float[Array, "..."],
    axis: int,
    normalization: str,
    degree: int | Sequence[int] | None,
    forward: bool,
) -> Float[Array, "..."]:
    last, blocks, scale = _prepare(components, axis, normalization, degree)
    out = []
    for number, block in blocks:
        order = np.array(e3x_order(number))
        part = last[..., block]
        if forward:
            out.append(part[..., order] * scale(number))
        else:
            out.append(part[..., np.argsort(order)] / scale(number))
    return jnp.moveaxis(jnp.concatenate(out, axis=-1), -1, axis)


def _turn(
    components: Float[Array, "..."],
    axis: int,
    normalization: str,
    degree: int | Sequence[int] | None,
    forward: bool,
) -> Float[Array, "..."]:
    last, blocks, scale = _prepare(components, axis, normalization, degree)
    matrices = e3nn_matrices(max((number for number, _ in blocks), default=0))
    out = []
    for number, block in blocks:
        matrix = matrices[number]
        matrix = scale(number) * matrix if forward else matrix.T / scale(number)
        out.append(
            jnp.einsum(
                "ij,...j->...i",
                jnp.asarray(matrix, last.dtype),
                last[..., block],
                precision="highest",
            )
        )
    return jnp.moveaxis(jnp.concatenate(out, axis=-1), -1, axis)


def to_e3x(
    components: Float[Array, "..."],
    *,
    axis: int = -1,
    normalization: str = "orthonormal",
    degree: int | Sequence[int] | None = None,
) -> Float[Array, "..."]:
    """Reorders spherical components from m = -l, ..., l to e3x's Cartesian order.

    e3x lists m = l, -l, l - 1, -(l - 1), ..., 0, so that l = 1 reads (x, y, z).
    Features only change order. Values of :func:`spherical_harmonics` also change
    normalisation: e3x's default is ``"racah"``.

    Args:
      components: Array with all degrees from 0 to L along ``axis``.
      axis: Axis of the components; -2 for e3x features.
      normalization: Normalisation of the result, the input being orthonormal:
        ``"orthonormal"`` leaves values as they are.
      degree: Of a single irrep, whose 2 l + 1 components are converted; or those of
        several, one after another: ``(1, 1, 2)`` for e3nn's ``2x1o+2e``.

    Returns:
      Array of the same shape.

    Raises:
      ArgumentError: The axis has not (L + 1)^2 components, or 2 l + 1 where a
        ``degree`` is given, or does not exist; or ``normalization`` is unknown.

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.so3 import to_e3x
      >>> to_e3x(jnp.array([0.0, 2.0, 3.0, 1.0])).tolist()
      [0.0, 1.0, 2.0, 3.0]
    """
    return _reorder(components, axis, normalization, degree, forward=True)


def from_e3x(
    components: Float[Array, "..."],
    *,
    axis: int = -1,
    normalization: str = "orthonormal",
    degree: int | Sequence[int] | None = None,
) -> Float[Array, "..."]:
    """Inverse of :func:`to_e3x`.

    Args:
      components: Array in e3x's Cartesian order along ``axis``.
      axis: Axis of the components; -2 for e3x features.
      normalization: Normalisation of the input; the result is orthonormal.
      degree: Of a single irrep, whose 2 l + 1 components are converted; or those of
        several, one after another: ``(1, 1, 2)`` for e3nn's ``2x1o+2e``.

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
    return _reorder(components, axis, normalization, degree, forward=False)


def to_e3nn(
    components: Float[Array, "..."],
    *,
    axis: int = -1,
    normalization: str = "orthonormal",
    degree: int | Sequence[int] | None = None,
) -> Float[Array, "..."]:
    """Turns spherical components from axes about z to e3nn's about y.

    The components of degree l are multiplied by D^l(P), P (x, y, z) = (z, x, y). What
    transforms with :func:`~symjax.so3.wigner_d` before transforms with e3nn's
    ``Irrep.D_from_matrix`` after. e3nn's parity is
    :attr:`Irrep.parity <symjax.so3.Irrep.parity>`: ``1+`` is its ``1o``.

    Args:
      components: Array with all degrees from 0 to L along ``axis``, once each.
      axis: Axis of the components.
      normalization: Normalisation of the result, the input being orthonormal; e3nn's
        ``"integral"`` is ``"orthonormal"`` here, its ``"component"`` is ``"4pi"`` and
        its ``"norm"`` is ``"racah"``. Features only turn.
      degree: Of a single irrep, whose 2 l + 1 components are converted; or those of
        several, one after another: ``(1, 1, 2)`` for e3nn's ``2x1o+2e``.

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
    return _turn(components, axis, normalization, degree, forward=True)


def from_e3nn(
    components: Float[Array, "..."],
    *,
    axis: int = -1,
    normalization: str = "orthonormal",
    degree: int | Sequence[int] | None = None,
) -> Float[Array, "..."]:
    """Inverse of :func:`to_e3nn`.

    Args:
      components: Array with e3nn's degrees from 0 to L along ``axis``.
      axis: Axis of the components.
      normalization: Normalisation of the input; the result is orthonormal.
      degree: Of a single irrep, whose 2 l + 1 components are converted; or those of
        several, one after another: ``(1, 1, 2)`` for e3nn's ``2x1o+2e``.

    Returns:
      Array of the same shape.

    Raises:
      ArgumentError: As :func:`to_e3x`.

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.so3 import from_e3nn
      >>> from_e3nn(jnp.array([0.0, 1.0, 2.0, 3.0])).round(6).tolist()
      [0.0, 2.0, 3.0, 1.0]
      >>> from_e3nn(jnp.array([1.0, 2.0, 3.0]), degree=1).round(6).tolist()
      [2.0, 3.0, 1.0]
    """
    return _turn(components, axis, normalization, degree, forward=False)
