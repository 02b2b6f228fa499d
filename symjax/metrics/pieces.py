"""Static descriptions of output leaves, and of pieces of them."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from symjax.errors import ArgumentError
from symjax.so3 import representations as reps
from symjax.so3.representations import Representation


@dataclasses.dataclass(frozen=True)
class Leaf:
    """One output leaf; hashable, as a cache key of compiled code.

    Attributes:
      representation: The representation that it carries.
      shape: Its shape.
      dtype: Its dtype.
      index: Its position among all outputs, including empty ones. Ignored by equality,
        so that similar leaves share compiled code.
    """

    representation: Representation
    shape: tuple[int, ...]
    dtype: str
    index: int = dataclasses.field(default=0, compare=False)

    @property
    def axes(self) -> tuple[tuple[int, ...], int, int]:
        """Shape of the sample axes, number of components, number of channels."""
        return reps.split_axes(self.representation, self.shape)

    @property
    def num_samples(self) -> int:
        """Number of samples, such as atoms or edges; 1 without sample axes."""
        return int(np.prod(self.axes[0], dtype=int))

    @property
    def spherical_shape(self) -> tuple[int, int, int]:
        """Samples, components and channels of a response in spherical components."""
        _, components, channels = self.axes
        return self.num_samples, components, channels

    @property
    def size(self) -> int:
        """Number of entries."""
        return int(np.prod(self.shape, dtype=int))

    @property
    def compute_dtype(self) -> str:
        """The dtype of the measurement.

        float32 for half precisions and integers up to 16 bits, float64 for longer
        integers; otherwise that of the leaf.
        """
        if (
            jnp.issubdtype(self.dtype, jnp.integer)
            and np.dtype(self.dtype).itemsize > 2
        ):
            return "float64"
        return self.dtype if self.dtype in ("float32", "float64") else "float32"

    @property
    def epsilon(self) -> float:
        """Machine epsilon of its dtype; for integers, that of ``compute_dtype``."""
        floating = jnp.issubdtype(self.dtype, jnp.floating)
        return float(jnp.finfo(self.dtype if floating else self.compute_dtype).eps)

    @property
    def itemsize(self) -> int:
        """Bytes of one entry in ``compute_dtype``."""
        return np.dtype(self.compute_dtype).itemsize

    @property
    def compact(self) -> "Leaf":
        """The same leaf with its sample axes merged."""
        samples, _, _ = self.axes
        shape = (self.num_samples, *self.shape[len(samples) :])
        return dataclasses.replace(self, shape=shape)


@dataclasses.dataclass(frozen=True)
class Piece:
    """Some consecutive samples of a leaf; for a small leaf, all of them.

    Attributes:
      name: Name of the leaf.
      whole: The whole leaf, compact.
      num_samples: Number of samples of the piece.
      start: Its first sample. Ignored by equality, so that pieces of one length share
        compiled code.
    """

    name: str
    whole: Leaf
    num_samples: int
    start: int = dataclasses.field(default=0, compare=False)

    @property
    def leaf(self) -> Leaf:
        """The piece as a leaf."""
        shape = (self.num_samples, *self.whole.shape[1:])
        return dataclasses.replace(self.whole, shape=shape)


def leaf_name(path: Any) -> str:
    """Name of an output: the path of its key, or ``"output"`` for a single array."""
    return jax.tree_util.keystr(path, simple=True, separator="/") or "output"


def describe(
    shapes: Any, representations: Mapping[str, Representation]
) -> dict[str, Leaf]:
    """The output leaves with entries, by name, with representations that fit.

    Raises:
      RepresentationError: A representation does not fit, or an output is complex.
      ArgumentError: All outputs are empty.
    """
    leaves = {}
    for index, (path, shape) in enumerate(
        jax.tree_util.tree_flatten_with_path(shapes)[0]
    ):
        name = leaf_name(path)
        representation = representations[name]
        reps.check_array(representation, shape.shape, name)
        if np.dtype(shape.dtype).kind == "c":
            raise reps.RepresentationError(
                name,
                shape.dtype,
                "is complex, and has no real representation",
                "Return real and imaginary parts as two outputs",
            )
        if np.prod(shape.shape, dtype=int) == 0:
            continue
        leaves[name] = Leaf(representation, shape.shape, str(shape.dtype), index)
    if not leaves:
        raise ArgumentError(
            "function", shapes, "all outputs are empty", "Return arrays with entries"
        )
    return leaves


def check_masks(
    masks: Mapping[str, np.ndarray] | None, leaves: Mapping[str, Leaf]
) -> dict[str, np.ndarray]:
    """Boolean masks over the samples of every leaf, True where a sample is real.

    Raises:
      ArgumentError: A mask is not boolean, has the wrong shape, or belongs to no leaf.
    """
    masks = masks or {}
    for name in masks:
        if name not in leaves:
            raise ArgumentError(
                "masks", name, "there is no such output", f"Use one of {list(leaves)}"
            )
    out = {}
    for name, leaf in leaves.items():
        samples = leaf.axes[0]
        mask = np.asarray(masks.get(name, True))
        if mask.dtype != bool or (name in masks and mask.shape != samples):
            raise ArgumentError(
                f"masks[{name!r}]",
                (mask.dtype, mask.shape),
                f"is not a boolean array over the samples {samples}",
                "Pass True where a sample is real",
            )
        out[name] = np.broadcast_to(mask, samples)
    return out


def spherical_values(leaf: Leaf, responses: Any) -> Any:
    """Responses in spherical components, ``(elements, samples, components, channels)``.

    Sample axes are merged, as channel axes are. NumPy arrays stay on the host.
    """
    values = responses.reshape(len(responses), *leaf.spherical_shape)
    values = values.astype(leaf.compute_dtype)
    basis = leaf.representation.basis
    if basis.is_identity:
        return values
    xp = values.__array_namespace__()
    with jax.default_matmul_precision("highest"):
        return xp.einsum("ij,gsjc->gsic", basis.matrix.astype(values.dtype), values)


def spherical_matrices(
    leaves: Sequence[Leaf], rotations: Float[np.ndarray, "group 3 3"]
) -> list[Float[np.ndarray, "group components components"] | None]:
    """rho(g) of each leaf, in float64, so that its round-off is no apparent variance.

    None for a trivial representation.
    """
    kinds = {
        leaf.representation for leaf in leaves if not leaf.representation.is_trivial
    }
    known = {kind: reps.spherical_matrix_table(kind, rotations) for kind in kinds}
    return [known.get(leaf.representation) for leaf in leaves]


def rotate_back(
    matrices: Float[Array | np.ndarray, "g i j"] | None,
    values: Float[Array | np.ndarray, "g samples i c"],
) -> Float[Array | np.ndarray, "g samples j c"]:
    """Back-rotated responses rho(g)^-1 u; NumPy arrays stay on the host."""
    if matrices is None:
        return values
    xp = values.__array_namespace__()
    with jax.default_matmul_precision("highest"):
        return xp.einsum("gij,gsic->gsjc", matrices, values.astype(matrices.dtype))


def rotated_rows(
    leaf: Leaf,
    values: np.ndarray,
    elements: Float[np.ndarray, "group 3 3"],
    mask: Bool[np.ndarray, "samples"],
) -> Float[np.ndarray, "group values"]:
    """Back-rotated responses of the real samples, one flattened row per element.

    In spherical components and float64, on the host.
    """
    leaf = dataclasses.replace(leaf, dtype="float64")
    (matrices,) = spherical_matrices([leaf], elements)
    rotated = rotate_back(matrices, spherical_values(leaf, values))
    return np.asarray(rotated[:, mask].reshape(len(elements), -1))
