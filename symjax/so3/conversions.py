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

import math
from collections.abc import Callable, Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from symjax.errors import ArgumentError
from symjax.so3._arguments import as_floating, check_integer
from symjax.so3._bases import e3nn_matrices, e3x_order
from symjax.so3.harmonics import normalization_factor


def _convert(
    components: Float[Array, "..."],
    axis: int,
    degree: int | Sequence[int] | None,
    convert: Callable[[int, Float[Array, "... components"]], Float[Array, "..."]],
) -> Float[Array, "..."]:
    """The array with ``convert(degree, components)`` in place of every degree's."""
    components = as_floating(components, "components")
    axis = check_integer("axis", axis, -components.ndim)
    if axis >= components.ndim:
        raise ArgumentError(
            "axis", axis, f"the array has {components.ndim} axes", "Pass one of them"
        )
    size = components.shape[axis]
    if degree is None:
        degrees = list(range(math.isqrt(size)))
    else:
        several = degree if isinstance(degree, Sequence) else [degree]
        degrees = [check_integer("degree", number) for number in several]
    ends = np.cumsum([2 * number + 1 for number in degrees], dtype=int)
    wanted = ends[-1] if degrees else 1
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
    parts = jnp.split(jnp.moveaxis(components, axis, -1), ends[:-1], axis=-1)
    out = [convert(number, part) for number, part in zip(degrees, parts, strict=True)]
    return jnp.moveaxis(jnp.concatenate(out, axis=-1), -1, axis)


def _turn(
    matrix: np.ndarray, part: Float[Array, "... components"]
) -> Float[Array, "... components"]:
    constant = matrix.astype(part.dtype)
    return jnp.einsum("ij,...j->...i", constant, part, precision="highest")


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

    def convert(number: int, part: Float[Array, "..."]) -> Float[Array, "..."]:
        scale = normalization_factor(normalization, number)
        return part[..., np.array(e3x_order(number))] * scale

    return _convert(components, axis, degree, convert)


def from_e3x(
    components: Float[Array, "..."],
    *,
    axis: int = -1,
    normalization: str = "orthonormal",
    degree: int | Sequence[int] | None = None,
) -> Float[Array, "..."]:
    """Inverse of :func:`to_e3x`, from its arguments: ``normalization`` is the input's.

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.so3 import from_e3x
      >>> from_e3x(jnp.array([0.0, 1.0, 2.0, 3.0])).tolist()
      [0.0, 2.0, 3.0, 1.0]
    """

    def convert(number: int, part: Float[Array, "..."]) -> Float[Array, "..."]:
        scale = normalization_factor(normalization, number)
        return part[..., np.argsort(e3x_order(number))] / scale

    return _convert(components, axis, degree, convert)


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

    Arguments and errors are those of :func:`to_e3x`. Of the normalisations, e3nn's
    ``"integral"`` is ``"orthonormal"`` here, its ``"component"`` is ``"4pi"`` and its
    ``"norm"`` is ``"racah"``. Features only turn.

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.so3 import to_e3nn
      >>> to_e3nn(jnp.array([0.0, 2.0, 3.0, 1.0])).round(6).tolist()
      [0.0, 1.0, 2.0, 3.0]
    """

    def convert(number: int, part: Float[Array, "..."]) -> Float[Array, "..."]:
        scale = normalization_factor(normalization, number)
        return _turn(scale * e3nn_matrices(number)[number], part)

    return _convert(components, axis, degree, convert)


def from_e3nn(
    components: Float[Array, "..."],
    *,
    axis: int = -1,
    normalization: str = "orthonormal",
    degree: int | Sequence[int] | None = None,
) -> Float[Array, "..."]:
    """Inverse of :func:`to_e3nn`, from its arguments: ``normalization`` is the input's.

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.so3 import from_e3nn
      >>> from_e3nn(jnp.array([0.0, 1.0, 2.0, 3.0])).round(6).tolist()
      [0.0, 2.0, 3.0, 1.0]
      >>> from_e3nn(jnp.array([1.0, 2.0, 3.0]), degree=1).round(6).tolist()
      [2.0, 3.0, 1.0]
    """

    def convert(number: int, part: Float[Array, "..."]) -> Float[Array, "..."]:
        scale = normalization_factor(normalization, number)
        return _turn(e3nn_matrices(number)[number].T / scale, part)

    return _convert(components, axis, degree, convert)
