"""The padded graph that atomistic models read: a pytree of static shape.

Conventions:

- The edge in slot ``k`` of atom ``i`` points from ``i`` to ``j = neighbors[i, k]``
  and has the vector ``r_j - r_i + S @ cell`` with ``S = shifts[i, k]``.
- Every edge has its reverse in the graph: ``j -> i`` with ``-S``. ``reverse`` is the
  flat index ``atom * num_neighbors + slot`` of the reverse edge, so that
  ``edges.reshape(-1, features)[graph.reverse]`` gathers the features of the reverse
  edges.
- Vectors and lengths are stored rather than computed from the positions. They are
  differences in float64, rounded afterwards, so that a graph in float32 does not lose
  precision far from the origin. Lengths are invariant: under a ``vmap`` over rotations,
  whatever depends only on them is computed once.
- Real atoms, edges and structures come first, padding last. Padding is finite (zeros,
  an atom's own index, an edge's own slot), so that masked arithmetic produces no NaN in
  values or gradients.
"""

import numbers
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import flax.struct
import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from symjax.data.mesh import Mesh, join_meshes, pad, pad_mesh, rounded_up
from symjax.errors import ArgumentError

_INT32_MAX = np.iinfo(np.int32).max


@flax.struct.dataclass
class Surroundings:
    """All pairs within the cutoff, for models that use a selection of them as edges.

    The arrays have the layout of those of :class:`Graph`.

    Attributes:
      neighbors: Index ``j`` of the neighbor; the atom itself for padding.
      shifts: Cell shift ``S``.
      vectors: ``r_j - r_i + S @ cell`` in angstrom; 0 for padding.
      lengths: Lengths of the vectors in angstrom; 1 for padding.
      edge_mask: True for pairs, False for padding.
      reverse: Flat index of the reverse pair; the pair's own for padding.

    Example:
      >>> import ase.build
      >>> from symjax.data import build_graph, select_edges
      >>> graph = build_graph(ase.build.molecule("H2O"), 3.0)
      >>> chosen = select_edges(graph, graph.lengths < 1.2)  # without H to H
      >>> chosen.neighbors.shape, chosen.surroundings.neighbors.shape
      ((3, 2), (3, 2))
      >>> int(chosen.edge_mask.sum()), int(chosen.surroundings.edge_mask.sum())
      (4, 6)
    """

    neighbors: Int[Array, "atoms pairs"]
    shifts: Int[Array, "atoms pairs 3"]
    vectors: Float[Array, "atoms pairs 3"]
    lengths: Float[Array, "atoms pairs"]
    edge_mask: Bool[Array, "atoms pairs"]
    reverse: Int[Array, "atoms pairs"]

    if TYPE_CHECKING:
        # Added by flax, out of sight of type checkers.
        def __init__(self, **fields: Any) -> None: ...
        def replace(self, **changes: Any) -> "Surroundings":
            """Returns a copy with some fields changed."""


@flax.struct.dataclass
class Graph:
    """One or several structures with their neighbor lists, padded to static shapes.

    :func:`symjax.data.build_graph` builds it from ASE structures, with NumPy arrays.
    Transformations and models accept NumPy and JAX arrays.

    Attributes:
      positions: Positions in angstrom relative to the mean of the structure's atoms;
        0 for padding. Replacing them does not change the edges.
      cells: Rows are the cell vectors in angstrom; 0 for non-periodic directions and
        for padding.
      volumes: Volumes in the definition of the stress, in cubic angstrom, see
        :func:`symjax.data.cells.stress_volume`; 0 for structures without a stress and
        for padding.
      species: Atomic numbers; 0 for padding.
      structure: Index of the structure of each atom, ascending; padding atoms belong to
        the last structure, which is padding if there is any.
      atom_mask: True for atoms, False for padding.
      neighbors: Index ``j`` of the neighbor; the atom itself for padding.
      shifts: Cell shift ``S``.
      vectors: Edge vectors ``r_j - r_i + S @ cell`` in angstrom; 0 for padding.
      lengths: Edge lengths in angstrom; 1 for padding.
      edge_mask: True for edges, False for padding.
      reverse: Flat index ``atom * num_neighbors + slot`` of the reverse edge; the
        edge's own index for padding.
      charge: Total charge in units of the elementary charge; 0 for padding.
      spin_multiplicity: 2S+1; 1 for padding.
      structure_mask: True for structures, False for padding.
      cutoff: Distance in angstrom within which all pairs are edges, or surroundings. It
        is static: part of the pytree's structure, not a leaf.
      surroundings: All pairs within the cutoff, if the edges are a selection of them
        (:func:`symjax.data.select_edges`); otherwise None.
      mesh: Input of long-range sums; None for models without them.

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
    volumes: Float[Array, "structures"]
    species: Int[Array, "atoms"]
    structure: Int[Array, "atoms"]
    atom_mask: Bool[Array, "atoms"]
    neighbors: Int[Array, "atoms neighbors"]
    shifts: Int[Array, "atoms neighbors 3"]
    vectors: Float[Array, "atoms neighbors 3"]
    lengths: Float[Array, "atoms neighbors"]
    edge_mask: Bool[Array, "atoms neighbors"]
    reverse: Int[Array, "atoms neighbors"]
    charge: Int[Array, "structures"]
    spin_multiplicity: Int[Array, "structures"]
    structure_mask: Bool[Array, "structures"]
    cutoff: float = flax.struct.field(pytree_node=False)
    surroundings: Surroundings | None = None
    mesh: Mesh | None = None

    if TYPE_CHECKING:
        # Added by flax, out of sight of type checkers.
        def __init__(self, **fields: Any) -> None: ...
        def replace(self, **changes: Any) -> "Graph":
            """Returns a copy with some fields changed."""


class GraphShape(NamedTuple):
    """Sizes of the arrays of a graph, padding included.

    Attributes:
      num_atoms: Atoms over all structures.
      num_neighbors: Neighbors per atom.
      num_structures: Structures.
      num_surroundings: Surrounding pairs per atom, from which the neighbors were
        selected; 0 if there was no selection.

    Example:
      >>> from symjax.data import GraphShape
      >>> GraphShape(num_atoms=9, num_neighbors=8, num_structures=1).num_neighbors
      8
    """

    num_atoms: int
    num_neighbors: int
    num_structures: int
    num_surroundings: int = 0


def graph_shape(graph: Graph) -> GraphShape:
    """Returns the sizes of the arrays of a graph, padding included.

    Args:
      graph: A graph without leading batch axes.

    Example:
      >>> import ase.build
      >>> from symjax.data import build_graph, graph_shape
      >>> graph_shape(build_graph(ase.build.molecule("CH4"), 3.0))
      GraphShape(num_atoms=5, num_neighbors=4, num_structures=1, num_surroundings=0)
    """
    num_atoms, num_neighbors = graph.neighbors.shape
    around = graph.surroundings
    pairs = 0 if around is None else around.neighbors.shape[1]
    return GraphShape(num_atoms, num_neighbors, graph.cells.shape[0], pairs)


def pad_graph(graph: Graph, shape: GraphShape) -> Graph:
    """Pads a graph to given sizes.

    Padding follows the real atoms, edges and structures, and is finite. All padding
    atoms, including those already present, are assigned to the last structure. Runs on
    the host, outside of ``jit``.

    Args:
      graph: A graph, padded or not.
      shape: Sizes of the result, none smaller than those of the graph.

    Returns:
      A graph of NumPy arrays with the dtypes of the given one.

    Raises:
      ArgumentError: A size is not an integer or smaller than that of the graph, there
        are more edge slots than int32 can index, or surroundings are asked for that the
        graph does not have.

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
    for name, width in zip(
        ("num_neighbors", "num_surroundings"), new[1::2], strict=True
    ):
        if new.num_atoms * width > _INT32_MAX:
            raise ArgumentError(
                name,
                width,
                f"together with num_atoms={new.num_atoms} gives more edge slots than "
                f"int32 can number ({_INT32_MAX})",
                "Pass smaller sizes, or fewer structures at a time",
            )
    around = graph.surroundings
    if around is None and new.num_surroundings:
        raise ArgumentError(
            "num_surroundings",
            new.num_surroundings,
            "must be 0: the graph has all pairs as edges, and no selection of them",
            "Pass 0, or select edges with symjax.data.select_edges",
        )
    atom_mask = pad(graph.atom_mask, new.num_atoms)
    structure = pad(graph.structure, new.num_atoms)
    return Graph(
        positions=pad(graph.positions, new.num_atoms),
        cells=pad(graph.cells, new.num_structures),
        volumes=pad(graph.volumes, new.num_structures),
        species=pad(graph.species, new.num_atoms),
        structure=np.where(atom_mask, structure, new.num_structures - 1).astype("i4"),
        atom_mask=atom_mask,
        charge=pad(graph.charge, new.num_structures),
        spin_multiplicity=pad(graph.spin_multiplicity, new.num_structures, value=1),
        structure_mask=pad(graph.structure_mask, new.num_structures),
        cutoff=graph.cutoff,
        surroundings=None
        if around is None
        else Surroundings(**_padded_rows(around, new.num_atoms, new.num_surroundings)),
        mesh=None
        if graph.mesh is None
        else pad_mesh(graph.mesh, new.num_atoms, new.num_structures),
        **_padded_rows(graph, new.num_atoms, new.num_neighbors),
    )


def _padded_rows(
    rows: "Graph | Surroundings", num_atoms: int, width: int
) -> dict[str, np.ndarray]:
    """The fields with one entry per edge slot, padded."""
    sizes, old = (num_atoms, width), rows.neighbors.shape[1]
    mask = pad(rows.edge_mask, *sizes)
    # Flat indices change with the length of a row.
    row, column = np.divmod(np.asarray(rows.reverse, np.int64), old)
    reverse = pad(row * width + column, *sizes)
    own_slot = np.arange(reverse.size).reshape(reverse.shape)
    own_atom = np.arange(num_atoms)[:, None]
    neighbors = pad(rows.neighbors, *sizes)
    return {
        "neighbors": np.where(mask, neighbors, own_atom).astype("i4"),
        "shifts": pad(rows.shifts, *sizes),
        "vectors": pad(rows.vectors, *sizes),
        "lengths": pad(rows.lengths, *sizes, value=1),
        "edge_mask": mask,
        "reverse": np.where(mask, reverse, own_slot).astype("i4"),
    }


def join_graphs(graphs: Sequence[Graph], shape: GraphShape | None = None) -> Graph:
    """Concatenates the structures of several graphs into one graph.

    Runs on the host, outside of ``jit``. It copies arrays and takes microseconds per
    graph; neighbor lists are not searched again.

    Args:
      graphs: Graphs without padding atoms or structures.
      shape: Sizes to pad to; as small as possible by default.

    Returns:
      A graph of NumPy arrays with the floating-point type of the first one. Its cutoff
      is the smallest of all.

    Raises:
      ArgumentError: There is no graph; one has padding atoms; a size is too small; or
        only some graphs have surroundings, or a mesh.

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
    if len({shape.num_surroundings > 0 for shape in shapes}) > 1:
        raise ArgumentError(
            "graphs",
            shapes,
            "must all have surroundings, or none of them",
            "Join graphs built for the same model",
        )
    num_atoms, num_structures = (
        sum(shape[index] for shape in shapes) for index in (0, 2)
    )
    least = GraphShape(
        num_atoms,
        max(s.num_neighbors for s in shapes),
        num_structures,
        max(s.num_surroundings for s in shapes),
    )
    new = least if shape is None else shape
    new = GraphShape(*map(_checked_size, GraphShape._fields, new, least))
    none = jax.tree.map(lambda leaf: np.asarray(leaf)[:0], graphs[0].replace(mesh=None))
    joined = pad_graph(none, new).replace(cutoff=min(graph.cutoff for graph in graphs))
    atom = structure = 0
    for graph, (atoms, _, structures, _) in zip(graphs, shapes, strict=True):
        if not np.all(graph.atom_mask):
            raise ArgumentError(
                "graphs", shapes, "one has padding atoms", "Join first, then pad"
            )
        rows = slice(atom, atom + atoms)
        places = slice(structure, structure + structures)
        for name in ("positions", "species"):
            getattr(joined, name)[rows] = getattr(graph, name)
        for name in (
            *("cells", "volumes", "charge", "spin_multiplicity", "structure_mask"),
        ):
            getattr(joined, name)[places] = getattr(graph, name)
        joined.structure[rows] = np.asarray(graph.structure) + structure
        joined.atom_mask[rows] = True
        _fill_rows(joined, graph, atom)
        if joined.surroundings is not None:
            _fill_rows(joined.surroundings, graph.surroundings, atom)
        atom, structure = atom + atoms, structure + structures
    meshes = [graph.mesh for graph in graphs if graph.mesh is not None]
    if not meshes:
        return joined
    if len(meshes) < len(graphs):
        raise ArgumentError(
            "graphs",
            f"{len(graphs)} graphs",
            f"only {len(meshes)} of them have a mesh for long-range sums",
            "Join graphs built for the same model",
        )
    mesh = pad_mesh(join_meshes(meshes), new.num_atoms, new.num_structures)
    return joined.replace(mesh=mesh)


def empty_rows(num_atoms: int, width: int, dtype: Any) -> dict[str, np.ndarray]:
    """The fields with one entry per edge slot, filled with padding."""
    slots = (num_atoms, width)
    return {
        "neighbors": np.tile(np.arange(num_atoms, dtype="i4")[:, None], (1, width)),
        "shifts": np.zeros((*slots, 3), np.int32),
        "vectors": np.zeros((*slots, 3), dtype),
        "lengths": np.ones(slots, dtype),
        "edge_mask": np.zeros(slots, bool),
        "reverse": np.arange(num_atoms * width, dtype=np.int32).reshape(slots),
    }


def _fill_rows(joined: Any, rows: Any, first: int) -> None:
    """Writes the edges of a graph into the joined graph, from atom ``first`` on."""
    atoms, width = rows.neighbors.shape
    where = (slice(first, first + atoms), slice(0, width))
    for name in ("shifts", "vectors", "lengths", "edge_mask"):
        getattr(joined, name)[where] = getattr(rows, name)
    joined.neighbors[where] = np.asarray(rows.neighbors) + first
    row, column = np.divmod(np.asarray(rows.reverse), width)
    reverse = (row + first) * joined.neighbors.shape[1] + column
    mask = np.asarray(rows.edge_mask)
    joined.reverse[where] = np.where(mask, reverse, joined.reverse[where])


def bucket_shape(shape: GraphShape | Graph) -> GraphShape:
    """Rounds sizes up to 1, 2, 3, 4, 6, 8, 12, 16, 24, ..., ``2^k`` or ``3 * 2^k``.

    A jitted function is compiled once for each set of sizes. Rounding up leaves few
    different ones, and increases no size by more than half.

    Args:
      shape: Sizes, or a graph with these sizes.

    Returns:
      For each size the smallest number of this sequence that is not below it. A
      ``num_surroundings`` of 0 stays 0.

    Example:
      >>> from symjax.data import GraphShape, bucket_shape
      >>> bucket_shape(GraphShape(9, 17, 1))
      GraphShape(num_atoms=12, num_neighbors=24, num_structures=1, num_surroundings=0)
    """
    if isinstance(shape, Graph):
        shape = graph_shape(shape)
    sizes = map(_checked_size, GraphShape._fields, shape, [0] * len(shape))
    rounded = GraphShape(*map(rounded_up, sizes))
    return rounded if shape.num_surroundings else rounded._replace(num_surroundings=0)


def checked_dtype(dtype: Any) -> np.dtype:
    """Returns float32 or float64 as a NumPy dtype; raises for other types."""
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
