"""Transformations of graphs: select edges, rotate and cast."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from symjax.data.graph import Graph, Surroundings, checked_dtype, empty_rows
from symjax.data.mesh import rotate_mesh
from symjax.errors import ArgumentError


def select_edges(graph: Graph, keep: Bool[np.ndarray, "atoms neighbors"]) -> Graph:
    """Keeps some edges of a graph, and all of them as its surroundings.

    The edges of an atom stay in order. Runs on the host, outside of ``jit``.

    Args:
      graph: A graph whose edges are all pairs.
      keep: True for the edges to keep. An edge is kept only if its reverse is too.

    Returns:
      A graph with as few neighbor slots per atom as possible, at least one.

    Raises:
      ArgumentError: ``keep`` has the wrong shape, or the graph has surroundings
        already.

    Example:
      >>> import ase.build
      >>> from symjax.data import build_graph, graph_shape, select_edges
      >>> copper = build_graph(ase.build.bulk("Cu"), 5.0)
      >>> graph_shape(select_edges(copper, copper.lengths < 3.0))
      GraphShape(num_atoms=1, num_neighbors=12, num_structures=1, num_surroundings=42)
    """
    mask = np.asarray(graph.edge_mask)
    if graph.surroundings is not None or np.shape(keep) != mask.shape:
        raise ArgumentError(
            "keep",
            np.shape(keep),
            f"must have the shape {mask.shape} of the edges of a graph without "
            "surroundings",
            "Select from the graph that build_graph returned",
        )
    keep = np.asarray(keep) & mask
    keep = keep & keep.reshape(-1)[np.asarray(graph.reverse)]
    atoms, width = np.nonzero(keep)[0], max(int(keep.sum(axis=1).max(initial=0)), 1)
    place = np.cumsum(keep, axis=1) - 1
    slots = (atoms, place[keep])
    rows = empty_rows(len(mask), width, np.asarray(graph.vectors).dtype)
    for name in ("neighbors", "shifts", "vectors", "lengths", "edge_mask"):
        rows[name][slots] = np.asarray(getattr(graph, name))[keep]
    row, column = np.divmod(np.asarray(graph.reverse)[keep], mask.shape[1])
    rows["reverse"][slots] = row * width + place[row, column]
    around = Surroundings(**{name: getattr(graph, name) for name in rows})
    return graph.replace(surroundings=around, **rows)


def rotate_graph(
    graph: Graph, rotation: Float[Array, "3 3"] | Float[Array, "structures 3 3"]
) -> Graph:
    """Rotates or reflects structures about the mean of their atoms, ``x' = x R^T``.

    Positions, cells and vectors rotate. Lengths, neighbor lists, shifts and masks
    remain the same arrays, so that under a ``vmap`` over rotations whatever depends
    only on them is computed once.

    Args:
      graph: A graph.
      rotation: Orthogonal matrix of shape ``(3, 3)``, proper or improper; or one per
        structure. Orthogonality is not checked.

    Returns:
      The rotated graph, in the dtype of ``graph.vectors``.

    Raises:
      ArgumentError: ``rotation`` has the wrong shape.

    Example:
      >>> import ase.build
      >>> import numpy as np
      >>> from symjax.data import build_graph, rotate_graph
      >>> graph = build_graph(ase.build.molecule("H2O"), 3.0)
      >>> inverted = rotate_graph(graph, -np.eye(3))
      >>> bool((inverted.vectors == -graph.vectors).all())
      True
    """
    dtype = jnp.asarray(graph.vectors).dtype
    if jnp.shape(rotation) not in ((3, 3), (len(graph.cells), 3, 3)):
        raise ArgumentError(
            "rotation",
            jnp.shape(rotation),
            "must be one matrix of shape (3, 3), or one for each structure",
            "Pass one matrix; jax.vmap over a stack of them",
        )
    matrix = jnp.asarray(rotation, dtype)
    of_atoms = matrix if matrix.ndim == 2 else matrix[jnp.asarray(graph.structure)]
    # Full precision: some accelerators round the factors of a float32 product to ten
    # bits by default, which breaks the symmetry.
    rotate = functools.partial(jnp.einsum, "...ab,...b->...a", precision="highest")

    def rotated(vectors: Array) -> Array:
        return rotate(of_atoms[..., None, :, :], jnp.asarray(vectors))

    around = graph.surroundings
    return graph.replace(
        positions=rotate(of_atoms, jnp.asarray(graph.positions, dtype)),
        cells=rotate(matrix[..., None, :, :], jnp.asarray(graph.cells, dtype)),
        vectors=rotated(graph.vectors),
        surroundings=None
        if around is None
        else around.replace(vectors=rotated(around.vectors)),
        mesh=None
        if graph.mesh is None
        else rotate_mesh(
            graph.mesh, jnp.broadcast_to(of_atoms, (len(graph.positions), 3, 3))
        ),
    )


def cast_graph(graph: Graph, dtype: Any) -> Graph:
    """Casts all floating-point arrays of a graph to another type.

    Args:
      graph: A graph of NumPy or JAX arrays; the kind of array is kept.
      dtype: ``float32`` or ``float64``.

    Returns:
      The graph with its floating-point arrays in that type.

    Raises:
      ArgumentError: ``dtype`` is not one of these.

    Example:
      >>> import ase.build
      >>> import numpy as np
      >>> from symjax.data import build_graph, cast_graph
      >>> graph = build_graph(ase.build.molecule("H2O"), 3.0)
      >>> cast_graph(graph, np.float32).positions.dtype
      dtype('float32')
    """
    dtype = checked_dtype(dtype)

    def cast(leaf: Any) -> Any:
        return leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf

    return jax.tree.map(cast, graph)
