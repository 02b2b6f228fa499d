"""Orthogonal representations of O(3) on the trailing axes of an array.

A representation is data: the shape of its components, the irreps that it decomposes
into, and the orthonormal change of basis between the two. How a group element acts and
how an array splits into irreps follow from these three.

Conventions: active rotations, real spherical components in the order
m = -l, ..., l, so that a Cartesian vector (x, y, z) reads (y, z, x).
"""

import dataclasses
import functools
import re
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from symjax.errors import RepresentationError
from symjax.so3._arguments import as_floating, check_fits, check_integer
from symjax.so3._bases import joined, resolve
from symjax.so3._tables import LARGEST_DEGREE
from symjax.so3.irreps import Irrep
from symjax.so3.rotations import as_elements, split_inversion
from symjax.so3.wigner import wigner_d, wigner_d_tables


@dataclasses.dataclass(frozen=True)
class Representation:
    """An orthogonal representation of O(3) on the trailing axes of an array.

    An array that carries the representation has shape
    ``(*samples, *shape, *channels)``: any number of sample axes (atoms, edges),
    on which the group acts trivially, then the component axes, then, if
    ``has_channels`` is set, one axis of independent copies.

    Attributes:
      name: Short name for reports.
      shape: Shape of the components, for instance ``(3, 3)`` for a matrix.
      irreps: The irreps of the decomposition, in the order in which
        :func:`to_spherical` lists them.
      has_channels: Whether one more trailing axis holds independent copies.
      basis: Basis of the components: ``"cartesian"`` for (x, y, z) and for 3 x 3
        matrices; ``"metatensor"`` (m = -l, ..., l), ``"e3nn"`` or ``"e3x"`` for real
        spherical components, irrep after irrep; or an orthonormal matrix that maps the
        flattened components to spherical ones in the order of ``irreps``. Required if
        several bases fit; it is never inferred from ``name``. Stored as the matrix.

    Raises:
      RepresentationError: ``shape`` does not have as many components as ``irreps``; a
        degree is above 500; or the basis is not orthonormal, does not fit, or is
        missing although several fit.
      ArgumentError: There are more than 23,000 components, or the shape does not
        consist of positive integers.

    Example:
      >>> from symjax.so3 import MATRIX, VECTOR, Irrep, Representation
      >>> [str(irrep) for irrep in MATRIX.irreps]
      ['0+', '1-', '2+']
      >>> dipole = Representation("dipole", (3,), (Irrep(1, 1),), basis="cartesian")
      >>> dipole.basis == VECTOR.basis
      True
    """

    name: str
    shape: tuple[int, ...]
    irreps: tuple[Irrep, ...]
    has_channels: bool = False
    basis: Any = None

    def __post_init__(self) -> None:
        for argument, kind in (("name", str), ("shape", Sequence)):
            value = getattr(self, argument)
            if not isinstance(value, kind):
                raise RepresentationError(
                    argument,
                    value,
                    f"is an object of {type(value).__name__}",
                    "Pass for instance 'vector' and (3,)",
                )
        shape = tuple(check_integer("shape", n, 1) for n in self.shape)
        irreps = tuple(self.irreps) if isinstance(self.irreps, Sequence) else ()
        if not irreps or not all(isinstance(irrep, Irrep) for irrep in irreps):
            raise RepresentationError(
                "irreps",
                self.irreps,
                "is not a sequence of irreps",
                "Pass for instance (Irrep(1, 1),)",
            )
        number = _num_components(irreps)
        if number != int(np.prod(shape, dtype=int)):
            raise RepresentationError(
                "shape",
                shape,
                f"does not hold the {number} components of "
                + " + ".join(map(str, irreps)),
                "List the irreps of all components, or correct the shape",
            )
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "irreps", irreps)
        basis = resolve(self.name, shape, irreps, self.basis)
        object.__setattr__(self, "basis", basis)

    @property
    def dimension(self) -> int:
        """Number of components: the product of ``shape``."""
        return int(np.prod(self.shape, dtype=int))

    @property
    def max_degree(self) -> int:
        """Largest degree among the irreps."""
        return max(irrep.degree for irrep in self.irreps)

    @property
    def is_trivial(self) -> bool:
        """Whether every group element acts as the identity."""
        return all(irrep == Irrep(0, 1) for irrep in self.irreps)

    def __str__(self) -> str:
        return self.name


def _num_components(irreps: Sequence[Irrep]) -> int:
    """Number of components of a direct sum; raises if its matrices would be too big."""
    number = sum(irrep.dimension for irrep in irreps)
    largest = max(irrep.degree for irrep in irreps)
    if largest > LARGEST_DEGREE:
        raise RepresentationError(
            "irreps",
            f"degree {largest}",
            f"there are no Wigner matrices above degree {LARGEST_DEGREE}",
            "Use smaller degrees",
        )
    remedy = "Give copies of an irrep a channel axis"
    check_fits("components", number, 8 * number**2, remedy)
    return number


def _scalar_like(name: str, sigma: int, has_channels: bool = False) -> Representation:
    return Representation(name, (), (Irrep(0, sigma),), has_channels)


SCALAR = _scalar_like("scalar", 1)
"""An invariant number: an energy, a charge."""

PSEUDOSCALAR = _scalar_like("pseudoscalar", -1)
"""A number that changes sign under the inversion: a helicity, a triple product."""

FEATURE = _scalar_like("feature", 1, has_channels=True)
"""A feature vector: a trailing axis of channels on which the group acts trivially.

Its variance is the deviation from invariance; its content shows which irreps it holds.
"""

VECTOR = Representation("vector", (3,), (Irrep(1, 1),), basis="cartesian")
"""A polar vector (x, y, z): a force, a dipole, a position."""

PSEUDOVECTOR = Representation("pseudovector", (3,), (Irrep(1, -1),), basis="cartesian")
"""An axial vector (x, y, z): a torque, a magnetic moment."""

MATRIX = Representation(
    "matrix", (3, 3), (Irrep(0, 1), Irrep(1, -1), Irrep(2, 1)), basis="cartesian"
)
"""A rank-2 Cartesian tensor: a stress, a polarisability. It splits into l = 0, 1, 2."""


def spherical(
    degree: int, sigma: int = 1, *, channels: bool = False, basis: str = "metatensor"
) -> Representation:
    """Returns the irrep (degree, sigma) in real spherical components.

    Args:
      degree: Degree l of the irrep, at least 0.
      sigma: +1 for a proper tensor, -1 for a pseudotensor.
      channels: Whether a trailing axis of independent copies follows the
        2 l + 1 components (metatensor's "properties").
      basis: Order and axes of the components: ``"metatensor"``, which is symjax's own
        (m = -l, ..., l), ``"e3nn"`` or ``"e3x"``; see :mod:`symjax.so3.conversions`.

    Returns:
      The representation, with components of shape ``(2 * degree + 1,)``.

    Raises:
      ArgumentError: ``degree`` is not an integer of at least 0, or ``sigma`` is
        neither +1 nor -1.
      RepresentationError: The basis is unknown, or the degree is above 500.

    Example:
      >>> from symjax.so3 import spherical
      >>> spherical(2).shape
      (5,)
      >>> spherical(1, basis="e3nn").basis.matrix.round(6).tolist()
      [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    """
    irrep = Irrep(degree, sigma)
    if not isinstance(basis, str) or basis not in ("metatensor", "e3nn", "e3x"):
        raise RepresentationError(
            "basis", basis, "is unknown", "Use 'metatensor', 'e3nn' or 'e3x'"
        )
    whose = "" if basis == "metatensor" else f" ({basis})"
    return Representation(
        f"spherical {irrep}{whose}", (irrep.dimension,), (irrep,), channels, basis
    )


def direct_sum(*parts: Representation) -> Representation:
    """Returns the direct sum, flattened and concatenated along one last axis.

    Args:
      *parts: Representations without channels.

    Returns:
      A representation with components of shape ``(sum of dimensions,)``.

    Raises:
      RepresentationError: There are no parts, or a part has channels.
      ArgumentError: The parts have more than 23,000 components together.

    Example:
      >>> from symjax.so3 import SCALAR, VECTOR, direct_sum
      >>> direct_sum(SCALAR, VECTOR, VECTOR).shape
      (7,)
    """
    if not parts:
        raise RepresentationError(
            "parts", parts, "is empty", "Pass one representation or more"
        )
    for part in parts:
        if not isinstance(part, Representation) or part.has_channels:
            raise RepresentationError(
                "parts",
                part,
                "is not a representation without channels",
                "Use spherical(degree, sigma) without channels, SCALAR, VECTOR, ...",
            )
    irreps = tuple(irrep for part in parts for irrep in part.irreps)
    shape = (_num_components(irreps),)
    return Representation(
        " + ".join(part.name for part in parts),
        shape,
        irreps,
        basis=joined([part.basis for part in parts]),
    )


def check_array(
    representation: Representation, shape: tuple[int, ...], argument: str
) -> None:
    """Raises a RepresentationError unless an array of this shape can carry it."""
    if not isinstance(representation, Representation):
        raise no_representation(f"representations[{argument!r}]", representation)
    trailing = shape[: len(shape) - 1] if representation.has_channels else shape
    rank = len(representation.shape)
    fits = len(shape) >= rank + representation.has_channels and (
        trailing[len(trailing) - rank :] == representation.shape
    )
    if not fits:
        wanted = ", ".join(map(str, representation.shape))
        axes = f"(..., {wanted})" if wanted else "(...)"
        if representation.has_channels:
            axes = axes[:-1] + (", channels)")
        raise RepresentationError(
            argument,
            shape,
            f"this shape cannot carry the representation {representation.name!r}, "
            f"whose arrays have shape {axes}",
            "State the representation of this output, or move its component axes last",
        )


def split_axes(
    representation: Representation, shape: tuple[int, ...]
) -> tuple[tuple[int, ...], int, int]:
    """Shape of the sample axes, number of components, and number of channels (or 1)."""
    channels = shape[-1] if representation.has_channels else 1
    rank = len(representation.shape) + representation.has_channels
    return shape[: len(shape) - rank], representation.dimension, channels


def to_spherical(
    representation: Representation, values: Float[Array, "..."]
) -> Float[Array, "*samples components channels"]:
    """Rewrites components in the real spherical basis, irrep after irrep.

    The map is orthonormal, so norms are preserved: the squared Frobenius norm of a
    matrix is the sum of the squared norms of its l = 0, 1 and 2 parts.

    Args:
      representation: The representation carried by ``values``.
      values: Array of shape ``(*samples, *shape, *channels)``.

    Returns:
      Array of shape ``(*samples, dimension, channels)``; the irreps of the
      representation are consecutive blocks of the component axis.

    Raises:
      ArgumentError: ``values`` is not an array of real numbers.
      RepresentationError: ``representation`` is not a representation, or the shape
        does not fit it.

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.so3 import VECTOR, to_spherical
      >>> to_spherical(VECTOR, jnp.array([1.0, 2.0, 3.0]))[:, 0].tolist()
      [2.0, 3.0, 1.0]
    """
    values = as_floating(values, "values")
    check_array(representation, values.shape, "values")
    samples, components, channels = split_axes(representation, values.shape)
    flat = values.reshape(*samples, components, channels)
    if representation.basis.is_identity:
        return flat
    basis = representation.basis.matrix.astype(flat.dtype)
    return jnp.einsum("ij,...jc->...ic", basis, flat, precision="highest")


def from_spherical(
    representation: Representation,
    values: Float[Array, "*samples components channels"],
) -> Float[Array, "..."]:
    """Inverse of :func:`to_spherical`.

    Args:
      representation: The representation to restore.
      values: Array of shape ``(*samples, dimension, channels)``.

    Returns:
      Array of shape ``(*samples, *shape, *channels)``.

    Raises:
      ArgumentError: ``values`` is not an array of real numbers.
      RepresentationError: ``representation`` is not a representation, or the shape
        does not fit it.

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.so3 import MATRIX, from_spherical, to_spherical
      >>> m = jnp.arange(9.0).reshape(3, 3)
      >>> back = from_spherical(MATRIX, to_spherical(MATRIX, m))
      >>> bool(jnp.allclose(back, m, atol=1e-5))
      True
    """
    if not isinstance(representation, Representation):
        raise no_representation("representation", representation)
    values = as_floating(values, "values")
    *samples, components, channels = (0, 0, *values.shape)[-max(values.ndim, 2) :]
    single = channels == 1 or representation.has_channels
    if components != representation.dimension or not single:
        wanted = "channels" if representation.has_channels else "1"
        raise RepresentationError(
            "values",
            values.shape,
            f"are not the (..., {representation.dimension}, {wanted}) spherical "
            f"components of {representation.name!r}",
            "Pass an array like those that to_spherical returns",
        )
    if not representation.basis.is_identity:
        basis = representation.basis.matrix.astype(values.dtype)
        values = jnp.einsum("ij,...ic->...jc", basis, values, precision="highest")
    tail = (channels,) if representation.has_channels else ()
    return values.reshape(*samples, *representation.shape, *tail)


def spherical_matrix(
    representation: Representation, rotations: Float[Array | np.ndarray, "... 3 3"]
) -> Float[Array, "... components components"]:
    """Matrices of group elements in the representation's spherical basis.

    Block-diagonal, one real Wigner-D matrix per irrep; an improper element -R acts
    as sigma (-1)^l D^l(R).
    """
    return _spherical_matrix(representation, as_elements(rotations, "rotations"))


# Compiled even when the caller is not: see symjax.so3.rotations.
@functools.partial(jax.jit, static_argnums=0)
def _spherical_matrix(
    representation: Representation, rotations: Float[Array, "... 3 3"]
) -> Float[Array, "... components components"]:
    blocks = wigner_d(representation.max_degree, rotations)
    batch = rotations.shape[:-2]
    _, determinant = split_inversion(rotations)
    out = jnp.zeros((*batch, *(representation.dimension,) * 2), rotations.dtype)
    start = 0
    for irrep in representation.irreps:
        block = blocks[irrep.degree]
        if irrep.sigma == -1:
            block = block * determinant[..., None, None]
        stop = start + irrep.dimension
        out = out.at[..., start:stop, start:stop].set(block)
        start = stop
    return out


def spherical_matrix_table(
    representation: Representation, rotations: Float[np.ndarray, "elements 3 3"]
) -> Float[np.ndarray, "elements components components"]:
    """As :func:`spherical_matrix`, in NumPy float64.

    For tables of many different sizes, each of which would compile another program.
    """
    elements = np.asarray(rotations, np.float64)
    signs = np.where(np.linalg.det(elements) < 0, -1.0, 1.0)
    proper = elements * signs[:, None, None]
    blocks = wigner_d_tables(representation.max_degree, proper)
    out = np.zeros((len(elements), *(representation.dimension,) * 2))
    start = 0
    for irrep in representation.irreps:
        stop = start + irrep.dimension
        factor = np.where(signs < 0, irrep.parity, 1)[:, None, None]
        out[:, start:stop, start:stop] = factor * blocks[irrep.degree]
        start = stop
    return out


def no_representation(argument: str, value: object) -> RepresentationError:
    """The error for a value that is not a representation, with the remedy."""
    remedy = "Use SCALAR, VECTOR, MATRIX, FEATURE, spherical(degree, sigma)"
    is_e3nn = type(value).__module__.startswith("e3nn")
    if is_e3nn or re.fullmatch(r"(\d+x)?\d+[eo]", str(value)):
        remedy += (
            "; in e3nn's basis spherical(2, basis='e3nn') for 2e, and sigma=-1 for 2o"
        )
    return RepresentationError(argument, value, "is not a representation", remedy)
