"""Static descriptions of what is measured: output leaves, and pieces of them."""

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
    """One output leaf; hashable, so that it keys compiled code.

    Attributes:
      representation: The representation that it carries.
      shape: Its shape.
      dtype: Its dtype.
      index: Its position among all outputs, empty ones included. Not part of its
        identity: leaves of one kind share their compiled code.
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
        """Number of samples: atoms, edges, 1 for one output."""
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
        """Half precisions are measured in float32, larger integers in float64."""
        if (
            jnp.issubdtype(self.dtype, jnp.integer)
            and np.dtype(self.dtype).itemsize > 2
        ):
            return "float64"
        return self.dtype if self.dtype in ("float32", "float64") else "float32"

    @property
    def epsilon(self) -> float:
        """Relative round-off of its entries, in the type that the function returns."""
        floating = jnp.issubdtype(self.dtype, jnp.floating)
        return float(jnp.finfo(self.dtype if floating else self.compute_dtype).eps)

    @property
    def itemsize(self) -> int:
        """Bytes of one entry, as it is measured."""
        return np.dtype(self.compute_dtype).itemsize

    @property
    def compact(self) -> "Leaf":
        """The same leaf with its sample axes merged."""
        samples, _, _ = self.axes
        shape = (self.num_samples, *self.shape[len(samples) :])
        return dataclasses.replace(self, shape=shape)


@dataclasses.dataclass(frozen=True)
class Piece:
    """Some consecutive samples of a leaf; of a small leaf, all of them.

    Attributes:
      name: Name of the leaf.
      whole: The whole leaf, compact.
      num_samples: Number of samples of the piece.
      start: Its first sample. Not part of its identity: pieces of one length share
        their compiled code.
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
    """Name of an output: the path of its key, ``"output"`` for a single array."""
    return jax.tree_util.keystr(path, simple=True, separator="/") or "output"


def describe(
    shapes: Any, representations: Mapping[str, Representation]
) -> dict[str, Leaf]:
    """Names every output leaf and checks that its representation fits.

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
                "complex outputs have no real representation",
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
    """Boolean arrays over the samples of every leaf, True where a sample is real.

    Raises:
      ArgumentError: A mask is not boolean, does not fit, or fits no leaf.
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


def spherical_values(leaf: Leaf, responses: Array) -> Float[Array, "g samples i c"]:
    """Responses in spherical components, with sample and channel axes merged."""
    responses = responses.reshape(len(responses), *leaf.shape)
    return reps.to_spherical(leaf.representation, responses.astype(leaf.compute_dtype))


def spherical_matrices(
    leaves: Sequence[Leaf], rotations: Float[np.ndarray, "group 3 3"]
) -> list[Float[Array, "group components components"] | None]:
    """rho(g) of each leaf, in float64: its round-off must not look like a variance.

    None where the representation is trivial.
    """
    kinds = {
        leaf.representation for leaf in leaves if not leaf.representation.is_trivial
    }
    with jax.enable_x64(True):
        known = {kind: reps.spherical_matrix(kind, rotations) for kind in kinds}
    return [known.get(leaf.representation) for leaf in leaves]


def rotate_back(
    matrices: Float[Array, "g i j"] | None, values: Float[Array, "g samples i c"]
) -> Float[Array, "g samples j c"]:
    """rho(g)^-1 u; of NumPy arrays without JAX."""
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
    """Rows rho(g)^-1 u(g) of the real samples: spherical components, on the host."""
    leaf = dataclasses.replace(leaf, dtype="float64")
    with jax.enable_x64(True):
        direct = spherical_values(leaf, jax.device_put(values))
        (matrices,) = spherical_matrices([leaf], elements)
        turned = np.asarray(rotate_back(matrices, direct), np.float64)
    return turned[:, mask].reshape(len(elements), -1)
