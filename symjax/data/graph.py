"""The padded graph: what a model of atoms reads, as a pytree of static shape.

Conventions:

- The edge in slot ``k`` of atom ``i`` points from ``i`` to ``j = neighbors[i, k]``
  and has the vector ``r_j - r_i + S @ cell`` with ``S = shifts[i, k]``.
- Every edge has its reverse in the graph: ``j -> i`` with ``-S``. ``reverse`` is
  its flat slot ``atom * neighbors + slot``, so that
  ``edges.reshape(-1, features)[graph.reverse]`` reads the other end of every edge.
- Real atoms, edges and structures come first, padding last. Padding is finite
  everywhere (zeros, an atom's own index, an edge's own slot), so that masked
  arithmetic stays free of NaN in values and gradients.
"""

from typing import TYPE_CHECKING, Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int


@flax.struct.dataclass
class Graph:
    """One or several structures with their neighbor lists, padded to static shapes.

    ``symjax.data.build_graph`` makes it from ASE structures with NumPy arrays;
    transformations and models accept NumPy and JAX arrays alike.

    Attributes:
      positions: Positions in angstrom; 0 for padding.
      cells: Rows are the cell vectors in angstrom; 0 for directions without
        periodicity and for padding.
      species: Atomic numbers; 0 for padding.
      structure: Structure of each atom, ascending; padding atoms belong to the last
        slot, which is a padding structure if there is one.
      atom_mask: True for atoms, False for padding.
      neighbors: Index ``j`` of the neighbor; the atom itself for padding.
      shifts: Cell shift ``S``: the edge vector is ``r_j - r_i + S @ cell``.
      edge_mask: True for edges, False for padding.
      reverse: Flat slot ``atom * neighbors + slot`` of the reverse edge; the
        edge's own slot for padding.
      charge: Total charge in units of the elementary charge; 0 for padding.
      spin_multiplicity: 2S+1; 1 for padding.
      structure_mask: True for structures, False for padding.

    Example:
      >>> import ase.build
      >>> from symjax.data import build_graph
      >>> graph = build_graph(ase.build.molecule("H2O"), 3.0, num_atoms=4)
      >>> graph.species
      array([8, 1, 1, 0], dtype=int32)
      >>> graph.neighbors.shape
      (4, 2)
    """

    positions: Float[Array, "atoms 3"]
    cells: Float[Array, "structures 3 3"]
    species: Int[Array, "atoms"]
    structure: Int[Array, "atoms"]
    atom_mask: Bool[Array, "atoms"]
    neighbors: Int[Array, "atoms neighbors"]
    shifts: Int[Array, "atoms neighbors 3"]
    edge_mask: Bool[Array, "atoms neighbors"]
    reverse: Int[Array, "atoms neighbors"]
    charge: Int[Array, "structures"]
    spin_multiplicity: Int[Array, "structures"]
    structure_mask: Bool[Array, "structures"]

    if TYPE_CHECKING:
        # Added by flax, out of sight of type checkers.
        def __init__(self, **fields: Any) -> None: ...
        def replace(self, **changes: Any) -> "Graph":
            """Returns a copy with some fields changed."""


def edge_vectors(graph: Graph) -> Float[Array, "atoms neighbors 3"]:
    """Vectors from every atom to its neighbors, ``r_j - r_i + S @ cell``.

    Differentiable with respect to ``positions`` and ``cells``. Padding edges get
    the zero vector and no gradient.

    Args:
      graph: A graph; its ``positions`` set the dtype of the result.

    Returns:
      Edge vectors in angstrom, shape ``(atoms, neighbors, 3)``.

    Example:
      >>> import ase.build
      >>> from symjax.data import build_graph, edge_vectors
      >>> graph = build_graph(ase.build.molecule("H2O"), 3.0)
      >>> edge_vectors(graph).shape
      (3, 2, 3)
    """
    positions = jnp.asarray(graph.positions)
    cells = jnp.asarray(graph.cells, positions.dtype)[graph.structure]
    shifts = jnp.asarray(graph.shifts, positions.dtype)
    vectors = positions[graph.neighbors] - positions[:, None, :]
    # Full precision: the default of some accelerators rounds the factors of a
    # float32 product to ten bits, a visible breaking of symmetry.
    vectors = vectors + jnp.einsum(
        "anc,acd->and", shifts, cells, precision=jax.lax.Precision.HIGHEST
    )
    return jnp.where(jnp.asarray(graph.edge_mask)[..., None], vectors, 0)


def edge_distances(graph: Graph) -> Float[Array, "atoms neighbors"]:
    """Lengths of all edges, with a gradient that is finite for padding too.

    Args:
      graph: A graph; its ``positions`` set the dtype of the result.

    Returns:
      Distances in angstrom, shape ``(atoms, neighbors)``; 0 for padding.

    Example:
      >>> import ase.build
      >>> from symjax.data import build_graph, edge_distances
      >>> graph = build_graph(ase.build.molecule("H2"), 3.0)
      >>> print(edge_distances(graph).round(2))
      [[0.74]
       [0.74]]
    """
    squared = jnp.sum(edge_vectors(graph) ** 2, axis=-1)
    # The square root has an infinite derivative at 0, and 0 * inf is NaN: replace
    # its argument, not only its value.
    mask = jnp.asarray(graph.edge_mask)
    return jnp.where(mask, jnp.sqrt(jnp.where(mask, squared, 1)), 0)


def rotate_graph(graph: Graph, rotation: Float[Array, "3 3"]) -> Graph:
    """Rotates (or reflects) all structures about the origin: ``x' = x R^T``.

    Positions and cells rotate; neighbor lists, shifts and masks do not depend on
    the orientation and stay the same arrays, so a ``vmap`` over rotations computes
    everything that reads only them once.

    Args:
      graph: A graph.
      rotation: Orthogonal matrix, proper or improper, shape ``(3, 3)``.

    Returns:
      The rotated graph, in the dtype of ``graph.positions``.

    Example:
      >>> import ase.build
      >>> import numpy as np
      >>> from symjax.data import build_graph, rotate_graph
      >>> graph = build_graph(ase.build.molecule("H2O"), 3.0)
      >>> inverted = rotate_graph(graph, -np.eye(3))
      >>> bool((inverted.positions == -graph.positions).all())
      True
    """
    positions = jnp.asarray(graph.positions)
    transposed = jnp.asarray(rotation, positions.dtype).T
    return graph.replace(
        positions=jnp.matmul(
            positions, transposed, precision=jax.lax.Precision.HIGHEST
        ),
        cells=jnp.matmul(
            jnp.asarray(graph.cells, positions.dtype),
            transposed,
            precision=jax.lax.Precision.HIGHEST,
        ),
    )


def cast_graph(graph: Graph, dtype: Any) -> Graph:
    """Casts positions and cells to another floating-point type.

    Args:
      graph: A graph of NumPy or JAX arrays; the kind of array is kept.
      dtype: ``float32`` or ``float64``.

    Returns:
      The graph with ``positions`` and ``cells`` of that type.

    Example:
      >>> import ase.build
      >>> import numpy as np
      >>> from symjax.data import build_graph, cast_graph
      >>> graph = build_graph(ase.build.molecule("H2O"), 3.0)
      >>> cast_graph(graph, np.float32).positions.dtype
      dtype('float32')
    """
    dtype = np.dtype(dtype)
    return graph.replace(
        positions=graph.positions.astype(dtype), cells=graph.cells.astype(dtype)
    )
