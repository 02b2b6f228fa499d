"""Orthogonal representations of O(3) on the trailing axes of an array.

A representation is data: the shape of its components, the irreps it decomposes
into, and the orthonormal change of basis between the two. Everything else (how a
group element acts, how an array splits into irreps) follows from these three.

Conventions: active rotations, real spherical components in the order
m = -l, ..., l, so that a Cartesian vector (x, y, z) reads (y, z, x).
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from symjax.errors import RepresentationError
from symjax.so3._arguments import as_floating, as_trailing
from symjax.so3.irreps import Irrep
from symjax.so3.rotations import split_inversion
from symjax.so3.wigner import wigner_d

# (x, y, z) -> (y, z, x): m = -1, 0, 1.
_VECTOR_BASIS = np.eye(3)[[1, 2, 0]]


def _matrix_basis() -> np.ndarray:
    """Orthonormal tensors E_k, one row each, that split a 3x3 matrix M.

    Rows are flattened (row-major) matrices: the trace (l=0), the axial vector of
    the antisymmetric part in (y, z, x) order (l=1), and the five symmetric
    traceless tensors in the order m = -2, ..., 2 (l=2).
    """
    e = np.zeros((9, 3, 3))
    e[0] = np.eye(3) / np.sqrt(3)
    # axial vector a_k = eps_kij M_ij / sqrt(2), k in (y, z, x)
    for row, (i, j) in zip((1, 2, 3), ((2, 0), (0, 1), (1, 2)), strict=True):
        e[row, i, j], e[row, j, i] = 1 / np.sqrt(2), -1 / np.sqrt(2)
    for row, (i, j) in zip((4, 5, 7), ((0, 1), (1, 2), (0, 2)), strict=True):
        e[row, i, j] = e[row, j, i] = 1 / np.sqrt(2)
    e[6] = np.diag([-1, -1, 2]) / np.sqrt(6)
    e[8] = np.diag([1, -1, 0]) / np.sqrt(2)
    return e.reshape(9, 9)


_MATRIX_BASIS = _matrix_basis()


@dataclasses.dataclass(frozen=True)
class Representation:
    """An orthogonal representation of O(3) on the trailing axes of an array.

    An array that carries the representation has shape
    ``(*samples, *shape, *channels)``: any number of sample axes (atoms, edges),
    on which the group acts trivially, then the component axes, then, where
    ``has_channels`` is set, one axis of independent copies.

    Attributes:
      name: Short name, as reports print it.
      shape: Shape of the components, for instance ``(3, 3)`` for a matrix.
      irreps: The irreps of the decomposition, in the order in which
        :func:`to_spherical` lists them.
      has_channels: Whether one more trailing axis holds independent copies.
      parts: The summands of a direct sum; empty for every other representation.

    Example:
      >>> from symjax.so3 import MATRIX
      >>> [str(irrep) for irrep in MATRIX.irreps]
      ['0+', '1-', '2+']
    """

    name: str
    shape: tuple[int, ...]
    irreps: tuple[Irrep, ...]
    has_channels: bool = False
    parts: tuple["Representation", ...] = ()

    @property
    def dimension(self) -> int:
        """Number of components, the product of ``shape``."""
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


def _scalar_like(name: str, sigma: int, has_channels: bool = False) -> Representation:
    return Representation(name, (), (Irrep(0, sigma),), has_channels)


SCALAR = _scalar_like("scalar", 1)
"""An invariant number: an energy, a charge."""

PSEUDOSCALAR = _scalar_like("pseudoscalar", -1)
"""A number that changes sign under the inversion: a helicity, a triple product."""

FEATURE = _scalar_like("feature", 1, has_channels=True)
"""A feature vector: a trailing axis of channels on which the group acts trivially.

Its variance is the distance from invariance; its content says what it carries.
"""

VECTOR = Representation("vector", (3,), (Irrep(1, 1),))
"""A polar vector (x, y, z): a force, a dipole, a position."""

PSEUDOVECTOR = Representation("pseudovector", (3,), (Irrep(1, -1),))
"""An axial vector (x, y, z): a torque, a magnetic moment."""

MATRIX = Representation("matrix", (3, 3), (Irrep(0, 1), Irrep(1, -1), Irrep(2, 1)))
"""A rank-2 Cartesian tensor: a stress, a polarisability. Splits into l = 0, 1, 2."""


def spherical(degree: int, sigma: int = 1, *, channels: bool = False) -> Representation:
    """Returns the irrep (degree, sigma) in real spherical components.

    Args:
      degree: Degree l of the irrep, at least 0.
      sigma: +1 for a proper tensor, -1 for a pseudotensor.
      channels: Whether a trailing axis of independent copies follows the
        2 l + 1 components (metatensor's "properties").

    Returns:
      The representation, with components of shape ``(2 * degree + 1,)``.

    Raises:
      SymjaxError: ``degree`` or ``sigma`` is not that of an irrep.

    Example:
      >>> from symjax.so3 import spherical
      >>> spherical(2).shape
      (5,)
    """
    irrep = Irrep(degree, sigma)
    return Representation(
        f"spherical {irrep}", (irrep.dimension,), (irrep,), has_channels=channels
    )


def direct_sum(*parts: Representation) -> Representation:
    """Returns the direct sum, flattened and concatenated along one last axis.

    Args:
      *parts: Representations without channels.

    Returns:
      A representation with components of shape ``(sum of dimensions,)``.

    Raises:
      RepresentationError: There is no part, or a part has channels.

    Example:
      >>> from symjax.so3 import SCALAR, VECTOR, direct_sum
      >>> direct_sum(SCALAR, VECTOR, VECTOR).shape
      (7,)
    """
    if not parts:
        raise RepresentationError(
            "parts", parts, "a direct sum needs at least one part", "Pass one or more"
        )
    for part in parts:
        if not isinstance(part, Representation) or part.has_channels:
            raise RepresentationError(
                "parts",
                part,
                "only representations without channels can be summed",
                "Use spherical(degree, sigma) without channels, SCALAR, VECTOR, ...",
            )
    return Representation(
        " + ".join(part.name for part in parts),
        (sum(part.dimension for part in parts),),
        tuple(irrep for part in parts for irrep in part.irreps),
        parts=parts,
    )


@functools.lru_cache
def _basis(representation: Representation) -> np.ndarray:
    """Orthonormal (dimension, dimension) map from flat components to spherical."""
    if representation.parts:
        blocks = [_basis(part) for part in representation.parts]
        basis = np.zeros((representation.dimension,) * 2)
        start = 0
        for block in blocks:
            stop = start + len(block)
            basis[start:stop, start:stop] = block
            start = stop
        return basis
    if representation.shape == (3, 3):
        return _MATRIX_BASIS
    if representation.name in ("vector", "pseudovector"):
        return _VECTOR_BASIS
    return np.eye(representation.dimension)


def check_array(
    representation: Representation, shape: tuple[int, ...], argument: str
) -> None:
    """Raises unless an array of this shape can carry the representation.

    Args:
      representation: The representation that was named for the array.
      shape: Shape of the array.
      argument: Name of the array, for the message.

    Raises:
      RepresentationError: The trailing axes do not fit.

    Example:
      >>> from symjax.so3 import VECTOR
      >>> from symjax.so3.representations import check_array
      >>> check_array(VECTOR, (9, 3), "forces")
    """
    if not isinstance(representation, Representation):
        raise RepresentationError(
            f"representations[{argument!r}]",
            representation,
            "is not a representation",
            "Use SCALAR, VECTOR, MATRIX, FEATURE, spherical(degree, sigma), ...",
        )
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
            "Name the representation of this output, or move its component axes last",
        )


def split_axes(
    representation: Representation, shape: tuple[int, ...]
) -> tuple[tuple[int, ...], int, int]:
    """Splits an array's shape into samples, components and channels.

    Args:
      representation: The representation carried by the array.
      shape: Shape of the array; assumed to fit (see :func:`check_array`).

    Returns:
      The shape of the sample axes, the number of components, and the number of
      channels (1 where the representation has none).

    Example:
      >>> from symjax.so3 import FEATURE
      >>> from symjax.so3.representations import split_axes
      >>> split_axes(FEATURE, (9, 8, 128))
      ((9, 8), 1, 128)
    """
    channels = shape[-1] if representation.has_channels else 1
    rank = len(representation.shape) + representation.has_channels
    return shape[: len(shape) - rank], representation.dimension, channels


def to_spherical(
    representation: Representation, values: Float[Array, "..."]
) -> Float[Array, "*samples components channels"]:
    """Rewrites components in the real spherical basis, irrep after irrep.

    The map is orthonormal, so norms are preserved: a matrix keeps its Frobenius
    norm as the sum over its l = 0, 1 and 2 parts.

    Args:
      representation: The representation carried by ``values``.
      values: Array of shape ``(*samples, *shape, *channels)``.

    Returns:
      Array of shape ``(*samples, dimension, channels)``; the irreps of the
      representation are consecutive blocks of the component axis.

    Raises:
      ArgumentError: ``values`` is not an array of real numbers.
      RepresentationError: The shape does not fit the representation.

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
    if components == 1:
        return flat
    basis = jnp.asarray(_basis(representation), flat.dtype)
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

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.so3 import MATRIX, from_spherical, to_spherical
      >>> m = jnp.arange(9.0).reshape(3, 3)
      >>> back = from_spherical(MATRIX, to_spherical(MATRIX, m))
      >>> bool(jnp.allclose(back, m, atol=1e-5))
      True
    """
    *samples, _, channels = values.shape
    if representation.dimension > 1:
        basis = jnp.asarray(_basis(representation), values.dtype)
        values = jnp.einsum("ij,...ic->...jc", basis, values, precision="highest")
    tail = (channels,) if representation.has_channels else ()
    return values.reshape(*samples, *representation.shape, *tail)


def spherical_matrix(
    representation: Representation, rotations: Float[Array, "... 3 3"]
) -> Float[Array, "... components components"]:
    """Matrices of group elements in the representation's spherical basis.

    Block-diagonal, one real Wigner-D matrix per irrep; an improper element -R acts
    as sigma (-1)^l D^l(R).

    Args:
      representation: The representation.
      rotations: Orthogonal matrices, proper or improper.

    Returns:
      Orthogonal matrices, of the dtype of ``rotations``.

    Raises:
      ArgumentError: The last two axes of ``rotations`` are not (3, 3).

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.so3 import MATRIX, spherical_matrix
      >>> spherical_matrix(MATRIX, -jnp.eye(3)).shape
      (9, 9)
    """
    rotations = as_trailing(rotations, "rotations", (3, 3))
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


def act(
    representation: Representation,
    rotation: Float[Array, "3 3"],
    values: Float[Array, "..."],
) -> Float[Array, "..."]:
    """Applies one group element: rho(g) values.

    Args:
      representation: The representation carried by ``values``.
      rotation: One orthogonal matrix, proper or improper.
      values: Array of shape ``(*samples, *shape, *channels)``.

    Returns:
      The transformed array, of the shape and dtype of ``values``.

    Raises:
      ArgumentError: The last two axes of ``rotation`` are not (3, 3).
      RepresentationError: The shape does not fit the representation.

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.so3 import PSEUDOVECTOR, act
      >>> act(PSEUDOVECTOR, -jnp.eye(3), jnp.array([1.0, 2.0, 3.0])).round(6).tolist()
      [1.0, 2.0, 3.0]
    """
    values = jnp.asarray(values)
    check_array(representation, values.shape, "values")
    if representation.is_trivial:
        return values
    if not jnp.issubdtype(values.dtype, jnp.floating):
        raise RepresentationError(
            "values",
            values.dtype,
            f"an array of this dtype cannot carry {representation.name!r}",
            "Pass a floating-point array, or SCALAR for data that does not rotate",
        )
    rotation = as_trailing(rotation, "rotation", (3, 3)).astype(values.dtype)
    # Vectors need no recurrence, and keep the dtype's full accuracy.
    if representation == VECTOR:
        return jnp.einsum("ij,...j->...i", rotation, values, precision="highest")
    matrix = spherical_matrix(representation, rotation)
    rotated = jnp.einsum(
        "ij,...jc->...ic",
        matrix,
        to_spherical(representation, values),
        precision="highest",
    )
    return from_spherical(representation, rotated)


def act_on_samples(
    representation: Representation,
    rotations: Float[Array, "samples 3 3"],
    values: Float[Array, "samples *shape"],
) -> Float[Array, "samples *shape"]:
    """Acts on every sample with its own group element.

    Args:
      representation: Of one sample, with channels.
      rotations: One element for each sample.
      values: The samples.

    Returns:
      The transformed samples.

    Example:
      >>> import dataclasses
      >>> import jax.numpy as jnp
      >>> from symjax.so3 import VECTOR
      >>> from symjax.so3.representations import act_on_samples
      >>> vectors = dataclasses.replace(VECTOR, has_channels=True)
      >>> turned = act_on_samples(vectors, -jnp.eye(3)[None], jnp.ones((1, 3, 1)))
      >>> print(turned.ravel())
      [-1. -1. -1.]
    """
    if representation.is_trivial:
        return values
    matrices = jax.vmap(lambda element: spherical_matrix(representation, element))(
        rotations
    )
    rotated = jnp.einsum(
        "sij,sjc->sic",
        matrices.astype(values.dtype),
        to_spherical(representation, values),
        precision="highest",
    )
    return from_spherical(representation, rotated)


def act_tree(
    representations: object, rotation: Float[Array, "3 3"], tree: object
) -> object:
    """Applies one group element to every leaf of a pytree.

    Args:
      representations: A representation, or a pytree of them that is a prefix of
        ``tree``.
      rotation: One orthogonal matrix, proper or improper.
      tree: Pytree of arrays.

    Returns:
      The transformed pytree.

    Raises:
      RepresentationError: The prefix or a shape does not fit.

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.so3 import SCALAR, VECTOR, act_tree
      >>> x = {"positions": jnp.ones((2, 3)), "charges": jnp.ones(2)}
      >>> y = act_tree({"positions": VECTOR, "charges": SCALAR}, -jnp.eye(3), x)
      >>> y["positions"].tolist()
      [[-1.0, -1.0, -1.0], [-1.0, -1.0, -1.0]]
    """
    leaves = broadcast_prefix(representations, tree, "action")
    flat, structure = jax.tree.flatten(tree)
    moved = [act(rep, rotation, leaf) for rep, leaf in zip(leaves, flat, strict=True)]
    return jax.tree.unflatten(structure, moved)


def broadcast_prefix(
    representations: object, tree: object, argument: str
) -> list[Representation]:
    """One representation for each leaf of a pytree.

    Args:
      representations: A representation, or a pytree of them that is a prefix of
        ``tree``.
      tree: Pytree whose leaves need representations.
      argument: Name of the argument that held ``representations``.

    Returns:
      A list, in the order of the leaves.

    Raises:
      RepresentationError: It is not a prefix; the message lists both sides.

    Example:
      >>> from symjax.so3 import VECTOR
      >>> from symjax.so3.representations import broadcast_prefix
      >>> broadcast_prefix(VECTOR, {"a": 0, "b": 0}, "representations") == [VECTOR] * 2
      True
    """

    def is_leaf(node: object) -> bool:
        return isinstance(node, Representation)

    out: list[Representation] = []
    try:
        jax.tree.map(
            lambda rep, part: out.extend([rep] * len(jax.tree.leaves(part))),
            representations,
            tree,
            is_leaf=is_leaf,
        )
    except ValueError as error:
        leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
        names = [jax.tree_util.keystr(path, simple=True) for path, _ in leaves]
        raise RepresentationError(
            argument,
            representations,
            f"does not match the pytree it describes, whose leaves are {names}",
            "Name one representation for each leaf, with the same dictionary keys",
        ) from error
    for representation in out:
        if not isinstance(representation, Representation):
            raise RepresentationError(
                argument,
                representation,
                "is not a representation",
                "Use SCALAR, VECTOR, MATRIX, FEATURE, spherical(degree, sigma), ...",
            )
    return out
