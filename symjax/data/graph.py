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

import numbers
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from symjax.errors import ArgumentError

_INT32_MAX = np.iinfo(np.int32).max


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


class GraphShape(NamedTuple):
    """Sizes of the arrays of a graph, padding included.

    Attributes:
      num_atoms: Atoms over all structures.
      num_neighbors: Neighbors of one atom.
      num_structures: Structures.

    Example:
      >>> from symjax.data import GraphShape
      >>> GraphShape(num_atoms=9, num_neighbors=8, num_structures=1).num_neighbors
      8
    """

    num_atoms: int
    num_neighbors: int
    num_structures: int


def graph_shape(graph: Graph) -> GraphShape:
    """Sizes of the arrays of a graph, padding included.

    Args:
      graph: A graph without leading batch axes.

    Returns:
      Its sizes.

    Example:
      >>> import ase.build
      >>> from symjax.data import build_graph, graph_shape
      >>> graph_shape(build_graph(ase.build.molecule("CH4"), 3.0))
      GraphShape(num_atoms=5, num_neighbors=4, num_structures=1)
    """
    num_atoms, num_neighbors = graph.neighbors.shape
    return GraphShape(num_atoms, num_neighbors, graph.cells.shape[0])


def pad_graph(graph: Graph, shape: GraphShape) -> Graph:
    """Pads a graph to given sizes; real atoms, edges and structures come first.

    Padding is finite and masked. Padding atoms belong to the last structure slot,
    also those that the graph had before. Runs on the host, outside of ``jit``.

    Args:
      graph: A graph, padded or not.
      shape: Sizes of the result, none smaller than those of the graph.

    Returns:
      A graph of NumPy arrays with the dtypes of the given one.

    Raises:
      ArgumentError: A size is not an integer or smaller than that of the graph, or
        there are too many edge slots to number them in int32.

    Example:
      >>> import ase.build
      >>> from symjax.data import GraphShape, build_graph, pad_graph
      >>> graph = build_graph(ase.build.molecule("H2O"), 3.0)
      >>> padded = pad_graph(graph, GraphShape(4, 3, 2))
      >>> print(padded.structure, padded.atom_mask)
      [0 0 0 1] [ True  True  True False]
      >>> print(padded.reverse[0])
      [3 6 2]
    """
    old = graph_shape(graph)
    new = GraphShape(*map(_checked_size, GraphShape._fields, shape, old))
    if new.num_atoms * new.num_neighbors > _INT32_MAX:
        raise ArgumentError(
            "num_neighbors",
            new.num_neighbors,
            f"together with num_atoms={new.num_atoms} gives more edge slots than "
            f"int32 can number ({_INT32_MAX})",
            "Pass smaller sizes, or fewer structures at a time",
        )

    def pad(array: Any, *sizes: int, value: Any = 0) -> np.ndarray:
        array = np.asarray(array)
        widths = [(0, n - m) for n, m in zip(sizes, array.shape, strict=False)]
        widths += [(0, 0)] * (array.ndim - len(sizes))
        return np.pad(array, widths, constant_values=value)

    atom_mask = pad(graph.atom_mask, new.num_atoms)
    edge_mask = pad(graph.edge_mask, new.num_atoms, new.num_neighbors)
    # Slots are numbered row by row: a longer row moves all that follow.
    reverse = np.asarray(graph.reverse, np.int64)
    reverse = (
        reverse // old.num_neighbors * new.num_neighbors + reverse % old.num_neighbors
    )
    reverse = pad(reverse, new.num_atoms, new.num_neighbors)
    own_slot = np.arange(reverse.size).reshape(reverse.shape)
    own_atom = np.arange(new.num_atoms)
    neighbors = pad(graph.neighbors, new.num_atoms, new.num_neighbors)
    structure = pad(graph.structure, new.num_atoms)
    return Graph(
        positions=pad(graph.positions, new.num_atoms),
        cells=pad(graph.cells, new.num_structures),
        species=pad(graph.species, new.num_atoms),
        structure=np.where(atom_mask, structure, new.num_structures - 1).astype("i4"),
        atom_mask=atom_mask,
        neighbors=np.where(edge_mask, neighbors, own_atom[:, None]).astype("i4"),
        shifts=pad(graph.shifts, new.num_atoms, new.num_neighbors),
        edge_mask=edge_mask,
        reverse=np.where(edge_mask, reverse, own_slot).astype("i4"),
        charge=pad(graph.charge, new.num_structures),
        spin_multiplicity=pad(graph.spin_multiplicity, new.num_structures, value=1),
        structure_mask=pad(graph.structure_mask, new.num_structures),
    )


def join_graphs(graphs: Sequence[Graph], shape: GraphShape | None = None) -> Graph:
    """Joins graphs into one, whose structures follow each other.

    Runs on the host, outside of ``jit``, and takes microseconds for each graph: no
    neighbor is searched again.

    Args:
      graphs: Graphs without padding atoms or structures.
      shape: Sizes to pad to; as small as possible by default.

    Returns:
      A graph of NumPy arrays with the floating dtype of the first.

    Raises:
      ArgumentError: There is no graph, one has padding atoms, or a size is too small.

    Example:
      >>> import ase.build
      >>> from symjax.data import build_graph, join_graphs
      >>> parts = [build_graph(ase.build.molecule(name), 4.0) for name in ("H2O", "N2")]
      >>> print(join_graphs(parts).structure)
      [0 0 0 1 1]
    """
    if not graphs:
        raise ArgumentError("graphs", graphs, "is empty", "Pass one graph or more")
    shapes = [graph_shape(graph) for graph in graphs]
    num_atoms, num_structures = (
        sum(shape[index] for shape in shapes) for index in (0, 2)
    )
    least = GraphShape(num_atoms, max(s.num_neighbors for s in shapes), num_structures)
    new = least if shape is None else shape
    new = GraphShape(*map(_checked_size, GraphShape._fields, new, least))
    dtype = np.asarray(graphs[0].positions).dtype
    # Padding as pad_graph makes it: zeros, an atom's own index, an edge's own slot.
    slots = (new.num_atoms, new.num_neighbors)
    joined = Graph(
        positions=np.zeros((new.num_atoms, 3), dtype),
        cells=np.zeros((new.num_structures, 3, 3), dtype),
        species=np.zeros(new.num_atoms, np.int32),
        structure=np.full(new.num_atoms, new.num_structures - 1, np.int32),
        atom_mask=np.zeros(new.num_atoms, bool),
        neighbors=np.tile(np.arange(slots[0], dtype="i4")[:, None], (1, slots[1])),
        shifts=np.zeros((*slots, 3), np.int32),
        edge_mask=np.zeros(slots, bool),
        reverse=np.arange(slots[0] * slots[1], dtype=np.int32).reshape(slots),
        charge=np.zeros(new.num_structures, np.int32),
        spin_multiplicity=np.ones(new.num_structures, np.int32),
        structure_mask=np.zeros(new.num_structures, bool),
    )
    atom = structure = 0
    for graph, (atoms, neighbors, structures) in zip(graphs, shapes, strict=True):
        if not np.all(graph.atom_mask):
            raise ArgumentError(
                "graphs", shapes, "one has padding atoms", "Join first, pad then"
            )
        rows = slice(atom, atom + atoms)
        places = slice(structure, structure + structures)
        edges = (rows, slice(0, neighbors))
        mask = np.asarray(graph.edge_mask)
        for name in ("positions", "species"):
            getattr(joined, name)[rows] = getattr(graph, name)
        for name in ("cells", "charge", "spin_multiplicity", "structure_mask"):
            getattr(joined, name)[places] = getattr(graph, name)
        for name in ("shifts", "edge_mask"):
            getattr(joined, name)[edges] = getattr(graph, name)
        joined.structure[rows] = np.asarray(graph.structure) + structure
        joined.atom_mask[rows] = True
        joined.neighbors[edges] = np.asarray(graph.neighbors) + atom
        row, column = np.divmod(np.asarray(graph.reverse), neighbors)
        reverse = (row + atom) * new.num_neighbors + column
        joined.reverse[edges] = np.where(mask, reverse, joined.reverse[edges])
        atom, structure = atom + atoms, structure + structures
    return joined


def bucket_shape(shape: GraphShape | Graph) -> GraphShape:
    """Rounds sizes up to 1, 2, 3, 4, 6, 8, 12, 16, 24, ..., ``2^k`` or ``3 * 2^k``.

    A compiled function is specific to the sizes of its arguments. Rounded up, the
    sizes of many structures fall into a few buckets, each compiled once, and no
    size grows by more than half.

    Args:
      shape: Sizes, or the graph that has them.

    Returns:
      The smallest sizes of the ladder that hold the given ones.

    Example:
      >>> from symjax.data import GraphShape, bucket_shape
      >>> bucket_shape(GraphShape(9, 17, 1))
      GraphShape(num_atoms=12, num_neighbors=24, num_structures=1)
    """
    if isinstance(shape, Graph):
        shape = graph_shape(shape)
    return GraphShape(*map(_bucket_size, GraphShape._fields, shape))


def pad_to_bucket(graph: Graph) -> Graph:
    """Pads a graph to the next bucket, so that recompilation is rare.

    Args:
      graph: A graph.

    Returns:
      ``pad_graph(graph, bucket_shape(graph))``.

    Example:
      >>> import ase.build
      >>> from symjax.data import build_graph, graph_shape, pad_to_bucket
      >>> graph_shape(pad_to_bucket(build_graph(ase.build.molecule("CH4"), 3.0)))
      GraphShape(num_atoms=6, num_neighbors=4, num_structures=1)
    """
    return pad_graph(graph, bucket_shape(graph))


@jax.jit
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


@jax.jit
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

    Raises:
      ArgumentError: ``rotation`` has another shape.

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
    if jnp.shape(rotation) != (3, 3):
        raise ArgumentError(
            "rotation",
            jnp.shape(rotation),
            "must be one matrix of shape (3, 3)",
            "Pass one matrix; jax.vmap over a stack of them",
        )
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
    return graph.replace(
        positions=graph.positions.astype(dtype), cells=graph.cells.astype(dtype)
    )


def checked_dtype(dtype: Any) -> np.dtype:
    """Validates the floating-point type of a graph."""
    remedy = "Pass numpy.float64 or numpy.float32"
    try:
        # None would pass as float64.
        result = np.dtype("O" if dtype is None else dtype)
    except TypeError as error:
        raise ArgumentError("dtype", dtype, "is not a data type", remedy) from error
    if result not in (np.float32, np.float64):
        raise ArgumentError("dtype", str(dtype), "is not supported", remedy)
    return result


def _checked_size(name: str, size: Any, needed: int) -> int:
    remedy = f"Pass at least {needed}"
    if isinstance(size, bool) or not isinstance(size, numbers.Integral):
        raise ArgumentError(name, size, "must be an integer", remedy)
    if size < needed:
        raise ArgumentError(
            name, int(size), f"is too small, the graph needs {needed}", remedy
        )
    return int(size)


def _bucket_size(name: str, size: Any) -> int:
    size = max(_checked_size(name, size, 0), 1)
    power = 1 << (size - 1).bit_length()
    return 3 * power // 4 if power >= 4 and 3 * power // 4 >= size else power
