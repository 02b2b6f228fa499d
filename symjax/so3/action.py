"""The action of group elements on arrays and pytrees that carry representations."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from symjax.errors import ArgumentError, RepresentationError
from symjax.so3._arguments import as_array
from symjax.so3.representations import (
    VECTOR,
    Representation,
    check_array,
    from_spherical,
    no_representation,
    spherical_matrix,
    spherical_matrix_table,
    split_axes,
    to_spherical,
)
from symjax.so3.rotations import as_elements


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
      ArgumentError: ``rotation`` is not one orthogonal matrix (its values are checked
        outside of ``jit``), or ``values`` is not a numeric array.
      RepresentationError: The shape does not fit the representation, or the dtype is
        not a floating one and the representation is not trivial.

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.so3 import PSEUDOVECTOR, act
      >>> act(PSEUDOVECTOR, -jnp.eye(3), jnp.array([1.0, 2.0, 3.0])).round(6).tolist()
      [1.0, 2.0, 3.0]
    """
    values = as_array(values, "values")
    check_array(representation, values.shape, "values")
    rotation = as_elements(rotation, "rotation")
    if rotation.ndim != 2:
        raise ArgumentError(
            "rotation",
            rotation.shape,
            "is not one group element",
            "Pass one 3 x 3 matrix; use jax.vmap for several",
        )
    if representation.is_trivial:
        return values
    _check_floating(representation, values.dtype)
    return _act(representation, rotation, values)


def _check_floating(representation: Representation, dtype: Any) -> None:
    if not jnp.issubdtype(dtype, jnp.floating):
        raise RepresentationError(
            "values",
            dtype,
            f"an array of this dtype cannot carry {representation.name!r}",
            "Pass a floating-point array, or SCALAR for data that does not rotate",
        )


def _is_vector(representation: Representation) -> bool:
    return representation == dataclasses.replace(VECTOR, name=representation.name)


# Compiled even when the caller is not: see symjax.so3.rotations.
@functools.partial(jax.jit, static_argnums=0)
def _act(representation: Representation, rotation: Array, values: Array) -> Array:
    rotation = rotation.astype(values.dtype)
    # Vectors need no recurrence, and keep the dtype's full accuracy.
    if _is_vector(representation):
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
    """Applies to every sample its own group element; a channel axis comes last."""
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

    Errors are those of :func:`act` and :func:`broadcast_prefix`.
    """
    leaves = broadcast_prefix(representations, tree, "action")
    flat, structure = jax.tree.flatten(tree)
    moved = [act(rep, rotation, leaf) for rep, leaf in zip(leaves, flat, strict=True)]
    return jax.tree.unflatten(structure, moved)


def act_on_host(
    representations: object, rotations: Float[np.ndarray, "elements 3 3"], tree: object
) -> list[Any]:
    """As :func:`act_tree` for each of several elements, by NumPy in float64."""
    kinds = broadcast_prefix(representations, tree, "action")
    flat, structure = jax.tree.flatten(tree)
    moved = []
    for kind, leaf in zip(kinds, map(np.asarray, flat), strict=True):
        check_array(kind, leaf.shape, "values")
        if kind.is_trivial:
            moved.append(np.stack([leaf] * len(rotations)))
            continue
        _check_floating(kind, leaf.dtype)
        matrices, basis = rotations, kind.basis.matrix
        if not _is_vector(kind):
            matrices = basis.T @ spherical_matrix_table(kind, rotations) @ basis
        _, components, channels = split_axes(kind, leaf.shape)
        values = leaf.reshape(-1, components, channels).astype(float)
        rotated = np.einsum("gij,sjc->gsic", matrices, values).astype(leaf.dtype)
        moved.append(rotated.reshape(len(rotations), *leaf.shape))
    return [jax.tree.unflatten(structure, each) for each in zip(*moved, strict=True)]


def _names(representations: object) -> object:
    """Representations by their names, for an error message."""
    if isinstance(representations, Representation):
        return representations.name
    if isinstance(representations, Mapping):
        return {name: _names(part) for name, part in representations.items()}
    if isinstance(representations, list | tuple):
        return [_names(part) for part in representations]
    return representations


def _misspelt(representations: object, tree: object) -> str:
    """Says which keys occur on one side only."""
    if not (isinstance(representations, Mapping) and isinstance(tree, Mapping)):
        return ""
    unknown = [str(name) for name in representations if name not in tree]
    missing = [str(name) for name in tree if name not in representations]
    parts = [f"; it has no {', '.join(unknown)}"] if unknown else []
    parts += [f"; {', '.join(missing)} is not described"] if missing else []
    return "".join(parts)


def broadcast_prefix(
    representations: object, tree: object, argument: str
) -> list[Representation]:
    """One representation for each leaf of a pytree, in the order of the leaves.

    Raises:
      RepresentationError: It is not a prefix of ``tree``; the message lists both.
    """

    def is_leaf(node: object) -> bool:
        return isinstance(node, Representation)

    if type(representations).__module__.startswith("e3nn"):
        # Its irreps are tuples, which would be taken for a pytree.
        raise no_representation(argument, representations)
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
        names = [
            jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in leaves
        ]
        raise RepresentationError(
            argument,
            _names(representations),
            f"does not match the pytree it describes, whose leaves are {names}"
            + _misspelt(representations, tree),
            "Name one representation for each leaf, with the same dictionary keys",
        ) from error
    for representation in out:
        if not isinstance(representation, Representation):
            raise no_representation(argument, representation)
    return out
