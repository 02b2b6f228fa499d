"""Builds padded graphs from ASE structures."""

import math
import numbers
from collections.abc import Sequence
from typing import Any, NamedTuple

import ase
import numpy as np
from jaxtyping import Float, Int

from symjax.data._pairs import find_pairs
from symjax.data.cells import stress_volume
from symjax.data.conditions import spin_multiplicity, structure_name, total_charge
from symjax.data.graph import (
    Graph,
    GraphShape,
    checked_dtype,
    empty_rows,
    pad_graph,
)
from symjax.data.structures import (
    MINIMUM_DISTANCE,
    check_distances,
    check_without_distances,
    listed_structures,
    periodic_cell,
    periodic_volume,
)
from symjax.errors import ArgumentError, StructureError

MAXIMUM_EDGES = 1e8
"""Structures with more edges than this, by an estimate, are refused.

Their graph would take gigabytes. The usual reason is positions in nanometres.
"""


class Edges(NamedTuple):
    """Edges of one structure, sorted by centre, neighbor and shift."""

    centers: Int[np.ndarray, "edges"]
    neighbors: Int[np.ndarray, "edges"]
    shifts: Int[np.ndarray, "edges 3"]
    slots: Int[np.ndarray, "edges"]
    reverse: Int[np.ndarray, "edges"]


def build_graph(
    structures: ase.Atoms | Sequence[ase.Atoms],
    cutoff: float,
    *,
    num_atoms: int | None = None,
    num_neighbors: int | None = None,
    num_structures: int | None = None,
    known_species: Sequence[int] | None = None,
    dtype: Any = np.float64,
) -> Graph:
    """Builds the graph of all pairs of atoms and images closer than the cutoff.

    An edge ``i -> j`` with integer cell shift ``S`` exists where
    ``0 < |r_j - r_i + S @ cell| < cutoff``. A neighbor at exactly the cutoff is left
    out, as in the neighbor lists of vesin and ASE. In small cells an atom has its own
    images as neighbors, and other atoms several times. Edges of an atom are sorted by
    ``(j, S)``, an order that does not depend on orientation, origin or rounding.

    The total charge is read from ``atoms.info["charge"]`` or ``"total_charge"``, 0 by
    default; the spin multiplicity from ``"spin_multiplicity"`` or ``"multiplicity"``, 1
    by default.

    Args:
      structures: One structure or several; each must pass
        :func:`symjax.data.check_structure`.
      cutoff: Cutoff radius in angstrom, above 1e-3.
      num_atoms: Atoms to pad to, over all structures; by default as many as needed.
      num_neighbors: Neighbors per atom to pad to; by default as many as needed, and at
        least 1, so that no array is empty.
      num_structures: Structures to pad to; by default as many as given.
      known_species: Atomic numbers that the model knows; ``None`` accepts all.
      dtype: Floating-point type of positions, cells, volumes, vectors and lengths. They
        are computed in float64 and rounded at the end.

    Returns:
      A graph of NumPy arrays; integers are int32.

    Raises:
      ArgumentError: An argument has the wrong type or range, or a size to pad to is
        smaller than what the structures need.
      StructureError: A structure fails the checks, or has far too many edges; the
        message says which one and why.

    Example:
      >>> import ase.build
      >>> from symjax.data import build_graph
      >>> copper = ase.build.bulk("Cu")
      >>> graph = build_graph(copper, 8.0)
      >>> graph.neighbors.shape  # one atom with 176 images of itself as neighbors
      (1, 176)
      >>> water, methane = ase.build.molecule("H2O"), ase.build.molecule("CH4")
      >>> graph = build_graph([water, methane], 4.0, num_atoms=10, num_structures=3)
      >>> print(graph.structure)
      [0 0 0 1 1 1 1 1 2 2]
    """
    cutoff = checked_cutoff(cutoff)
    dtype = checked_dtype(dtype)
    single = isinstance(structures, ase.Atoms)
    listed = listed_structures(structures)
    edges = []
    for k, atoms in enumerate(listed):
        index = None if single else k
        check_without_distances(atoms, known_species, index)
        edges.append(find_edges(atoms, cutoff, index))
    graph = assemble(listed, edges, cutoff, dtype)
    return pad_graph(
        graph,
        GraphShape(
            graph.positions.shape[0] if num_atoms is None else num_atoms,
            graph.neighbors.shape[1] if num_neighbors is None else num_neighbors,
            graph.cells.shape[0] if num_structures is None else num_structures,
        ),
    )


def checked_cutoff(cutoff: Any) -> float:
    """Validates a cutoff radius."""
    remedy = "Pass a radius in angstrom, typically 3 to 8"
    if isinstance(cutoff, bool) or not isinstance(cutoff, numbers.Real):
        raise ArgumentError("cutoff", cutoff, "must be a number", remedy)
    if not math.isfinite(cutoff) or cutoff <= MINIMUM_DISTANCE:
        raise ArgumentError(
            "cutoff", cutoff, f"must be finite and above {MINIMUM_DISTANCE}", remedy
        )
    return float(cutoff)


def find_edges(atoms: ase.Atoms, cutoff: float, index: int | None) -> Edges:
    """Edges of a structure; raises if two atoms are at the same place."""
    positions = atoms.positions.astype(np.float64)
    cell = periodic_cell(atoms)
    _check_number_of_edges(positions, cell[atoms.pbc], cutoff, index)
    first, second, shifts, distances = find_pairs(positions, cell, atoms.pbc, cutoff)
    check_distances(first, second, distances, index)
    # Each pair is found once and mirrored here, so that every edge has its reverse even
    # where the two distances round to different sides of the cutoff.
    num_pairs = len(first)
    centers = np.concatenate([first, second]).astype(np.int32)
    neighbors = np.concatenate([second, first]).astype(np.int32)
    shifts = np.concatenate([shifts, -shifts])
    order = np.lexsort((*shifts.T[::-1], neighbors, centers))
    rank = np.empty_like(order)
    rank[order] = np.arange(2 * num_pairs)
    reverse = rank[(order + num_pairs) % max(2 * num_pairs, 1)]
    centers = centers[order]
    starts = np.searchsorted(centers, np.arange(len(atoms)))
    slots = np.arange(2 * num_pairs) - starts[centers]
    return Edges(centers, neighbors[order], shifts[order], slots, reverse)


def _check_number_of_edges(
    positions: Float[np.ndarray, "atoms 3"],
    rows: Float[np.ndarray, "periodic 3"],
    cutoff: float,
    index: int | None,
) -> None:
    """Raises if the estimated number of edges would exhaust the memory."""
    num_atoms, width = len(positions), 2 * cutoff
    # Share of the periodic lattice, and of the extent of the other directions, that
    # a cube of the cutoff's diameter covers.
    expected = num_atoms**2 * width ** len(rows) / periodic_volume(rows)
    directions = np.linalg.svd(rows, full_matrices=True)[2][len(rows) :]
    for extent in np.ptp(positions @ directions.T, axis=0):
        expected *= min(1.0, width / max(extent, 1e-300))
    if expected > MAXIMUM_EDGES:
        raise StructureError(
            structure_name(index),
            f"{num_atoms} atoms",
            f"about {expected:.0e} pairs lie within the cutoff of {cutoff} angstrom, "
            f"more than {MAXIMUM_EDGES:.0e}",
            "Give positions and cell in angstrom, or reduce cutoff",
        )


def assemble(
    structures: list[ase.Atoms], edges: list[Edges], cutoff: float, dtype: Any
) -> Graph:
    """Joins structures into one graph without padding atoms or structures.

    ``edges`` are all pairs within ``cutoff``.
    """
    counts = np.array([len(atoms) for atoms in structures])
    offsets = np.cumsum(counts) - counts
    num_atoms = int(counts.sum())
    most = max((int(e.slots.max()) + 1 for e in edges if len(e.slots)), default=1)

    rows = empty_rows(num_atoms, most, np.float64)
    for atoms, offset, e in zip(structures, offsets, edges, strict=True):
        centers = e.centers + offset
        r = atoms.positions.astype(np.float64)
        v = r[e.neighbors] - r[e.centers] + e.shifts @ periodic_cell(atoms)
        for name, values in {
            "neighbors": e.neighbors + offset,
            "shifts": e.shifts,
            "vectors": v,
            "lengths": np.linalg.norm(v, axis=1),
            "edge_mask": True,
            "reverse": (centers * most + e.slots)[e.reverse],
        }.items():
            rows[name][centers, e.slots] = values
    rows |= {name: rows[name].astype(dtype) for name in ("vectors", "lengths")}
    return Graph(
        positions=np.concatenate(
            [a.positions - a.positions.mean(axis=0) for a in structures]
        ).astype(dtype),
        cells=np.stack([periodic_cell(a) for a in structures]).astype(dtype),
        volumes=np.array([stress_volume(a) for a in structures]).astype(dtype),
        species=np.concatenate([a.numbers for a in structures]).astype(np.int32),
        structure=np.repeat(np.arange(len(structures), dtype=np.int32), counts),
        atom_mask=np.ones(num_atoms, bool),
        charge=np.array([total_charge(a) for a in structures], np.int32),
        spin_multiplicity=np.array([spin_multiplicity(a) for a in structures], "i4"),
        structure_mask=np.ones(len(structures), bool),
        cutoff=cutoff,
        **rows,
    )
