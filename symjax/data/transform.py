"""What is done to a graph: selecting edges, moving atoms, rotating, casting."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from symjax.data.cells import spanned
from symjax.data.graph import Graph, Surroundings, checked_dtype, empty_rows
from symjax.data.mesh import move_mesh, turn_mesh
from symjax.errors import ArgumentError


def select_edges(graph: Graph, keep: Bool[np.ndarray, "atoms neighbors"]) -> Graph:
    """The graph of some of its edges, with all of them as surroundings.

    Edges of an atom stay in their order. Runs on the host, outside of ``jit``.

    Args:
      graph: A graph whose edges are all pairs.
      keep: Which edges to keep; an edge goes with its reverse.

    Returns:
      A graph with as many slots for neighbors as the atom with most of them needs.

    Raises:
      ArgumentError: ``keep`` has another shape, or edges were selected before.

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
            f"must have one entry for each of the edge slots, {mask.shape}, of a graph "
            "of all pairs",
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


def displace(
    graph: Graph,
    positions: Float[Array, "atoms 3"],
    cells: Float[Array, "structures 3 3"] | None = None,
) -> Graph:
    """The graph of structures whose atoms have moved, with the same edges.

    ``vectors + (u_j - u_i) + S @ (cell' - cell)`` with displacements u: differentiable
    with respect to positions and cells, and as precise for small displacements as the
    vectors were. No pairs are found, and none selected: those of the given structures
    stay, so that displacements must be too small for atoms to gain neighbors.

    Args:
      graph: A graph.
      positions: New positions, in the frame of ``graph.positions``.
      cells: New cells; unchanged by default.

    Returns:
      The graph, in the dtype of ``graph.vectors``.

    Example:
      >>> import ase.build
      >>> import jax
      >>> from symjax.data import build_graph, displace
      >>> graph = build_graph(ase.build.molecule("H2"), 3.0)
      >>> def length(positions):
      ...     return displace(graph, positions).lengths[0, 0]
      >>> print(jax.jit(jax.grad(length))(graph.positions).round(3) + 0.0)
      [[ 0.  0.  1.]
       [ 0.  0. -1.]]
    """
    dtype = jnp.asarray(graph.vectors).dtype
    moved = jnp.asarray(positions, dtype) - jnp.asarray(graph.positions, dtype)
    new = jnp.asarray(graph.cells if cells is None else cells, dtype)
    strained = (new - jnp.asarray(graph.cells, dtype))[jnp.asarray(graph.structure)]

    def follow(rows: Any) -> dict[str, Array]:
        mask = jnp.asarray(rows.edge_mask)
        change = moved[jnp.asarray(rows.neighbors)] - moved[:, None, :]
        if cells is not None:
            change = change + jnp.einsum(
                "anc,acd->and",
                jnp.asarray(rows.shifts, dtype),
                strained,
                precision="highest",
            )
        vectors = jnp.asarray(rows.vectors) + jnp.where(mask[..., None], change, 0)
        # The square root has an infinite derivative at 0, and 0 * inf is NaN: replace
        # its argument, not only its value.
        squared = jnp.where(mask, jnp.sum(vectors**2, axis=-1), 1)
        return {"vectors": vectors, "lengths": jnp.sqrt(squared)}

    around = graph.surroundings
    return graph.replace(
        positions=jnp.asarray(positions, dtype),
        cells=new,
        volumes=jnp.asarray(graph.volumes, dtype) * spanned(new) / spanned(graph.cells),
        surroundings=None if around is None else around.replace(**follow(around)),
        mesh=None
        if graph.mesh is None
        else move_mesh(graph.mesh, jnp.asarray(positions, dtype), new),
        **follow(graph),
    )


def rotate_graph(
    graph: Graph, rotation: Float[Array, "3 3"] | Float[Array, "structures 3 3"]
) -> Graph:
    """Rotates (or reflects) structures about the mean of their atoms: ``x' = x R^T``.

    Positions, cells and vectors rotate; lengths, neighbor lists, shifts and masks do
    not depend on the orientation and stay the same arrays, so a ``vmap`` over
    rotations computes everything that reads only them once.

    Args:
      graph: A graph.
      rotation: Orthogonal matrix, proper or improper, of shape ``(3, 3)``; or one for
        each structure.

    Returns:
      The rotated graph, in the dtype of ``graph.vectors``.

    Raises:
      ArgumentError: ``rotation`` has another shape.

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
    # Full precision: the default of some accelerators rounds the factors of a
    # float32 product to ten bits, a visible breaking of symmetry.
    turn = functools.partial(jnp.einsum, "...ab,...b->...a", precision="highest")

    def turned(vectors: Array) -> Array:
        return turn(of_atoms[..., None, :, :], jnp.asarray(vectors))

    around = graph.surroundings
    return graph.replace(
        positions=turn(of_atoms, jnp.asarray(graph.positions, dtype)),
        cells=turn(matrix[..., None, :, :], jnp.asarray(graph.cells, dtype)),
        vectors=turned(graph.vectors),
        surroundings=None
        if around is None
        else around.replace(vectors=turned(around.vectors)),
        mesh=None
        if graph.mesh is None
        else turn_mesh(
            graph.mesh, jnp.broadcast_to(of_atoms, (len(graph.positions), 3, 3))
        ),
    )


def cast_graph(graph: Graph, dtype: Any) -> Graph:
    """Casts all real numbers of a graph to another floating-point type.

    Args:
      graph: A graph of NumPy or JAX arrays; the kind of array is kept.
      dtype: ``float32`` or ``float64``.

    Returns:
      The graph with these of that type.

    Raises:
      ArgumentError: ``dtype`` is another type.

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
