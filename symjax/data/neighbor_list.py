"""Neighbor lists with a skin, reused while atoms move little."""

import dataclasses
import math
from typing import Any

import ase
import numpy as np

from symjax.data.build import Edges, assemble, checked_cutoff, find_edges
from symjax.data.graph import Graph, checked_dtype
from symjax.data.structures import (
    check_distances,
    check_without_distances,
    periodic_cell,
)
from symjax.errors import ArgumentError


@dataclasses.dataclass(frozen=True, eq=False)
class NeighborList:
    """Pairs closer than cutoff + skin, and the structure they were found in.

    A distance changes by at most the sum of the displacements of its two atoms. As long
    as no atom has moved by more than skin / 2, all pairs closer than the cutoff are
    therefore in the list. :meth:`graph` drops the pairs beyond the cutoff, so that the
    result is the same as that of a new search.

    Attributes:
      atoms: The structure that was searched.
      cutoff: Cutoff radius in angstrom.
      skin: Extra distance in angstrom.
      edges: Pairs closer than ``cutoff + skin``, in both directions.

    Example:
      >>> import ase.build
      >>> import numpy as np
      >>> from symjax.data import build_graph, find_neighbors
      >>> copper = ase.build.bulk("Cu", cubic=True)
      >>> found = find_neighbors(copper, 4.0, skin=0.5)
      >>> copper.positions[0] += 0.2
      >>> found.holds(copper)  # moved by 0.35, more than 0.25
      False
      >>> copper.positions[0] -= 0.1
      >>> graph, fresh = found.graph(copper), build_graph(copper, 4.0)
      >>> found.holds(copper), np.array_equal(graph.reverse, fresh.reverse)
      (True, True)
    """

    atoms: ase.Atoms
    cutoff: float
    skin: float
    edges: Edges

    def holds(self, atoms: ase.Atoms) -> bool:
        """Whether the list is guaranteed to contain all pairs closer than the cutoff.

        Args:
          atoms: Any structure.

        Returns:
          False if species, cell vectors or periodicity differ from those of the
          searched structure, or an atom has moved by more than skin / 2.

        Example:
          >>> import ase.build
          >>> from symjax.data import find_neighbors
          >>> water = ase.build.molecule("H2O")
          >>> find_neighbors(water, 3.0).holds(water)
          True
        """
        old = self.atoms
        if not (
            len(atoms) == len(old)
            and np.array_equal(atoms.numbers, old.numbers)
            and np.array_equal(atoms.pbc, old.pbc)
            and np.array_equal(periodic_cell(atoms), periodic_cell(old))
        ):
            return False
        moved = np.linalg.norm(atoms.positions - old.positions, axis=1)
        # Not "> ... .any()": NaN must not pass.
        return bool((moved <= self.skin / 2).all())

    def graph(self, atoms: ase.Atoms, *, dtype: Any = np.float64) -> Graph:
        """Builds the same graph as :func:`symjax.data.build_graph`, without a search.

        Args:
          atoms: A structure for which the list holds.
          dtype: Floating-point type of positions, cells, volumes, vectors and lengths.

        Returns:
          A graph with NumPy arrays; its edges are the pairs closer than the cutoff.

        Raises:
          ArgumentError: The list does not hold for the structure.
          StructureError: The structure fails the checks of
            :func:`symjax.data.check_structure`.

        Example:
          >>> import ase.build
          >>> from symjax.data import find_neighbors
          >>> water = ase.build.molecule("H2O")
          >>> found = find_neighbors(water, 1.2, skin=1.0)
          >>> found.graph(water).edge_mask.tolist()  # H and H are 1.5 apart
          [[True, True], [True, False], [True, False]]
        """
        check_without_distances(atoms)
        if not self.holds(atoms):
            raise ArgumentError(
                "atoms",
                atoms,
                "differs in species, cell or periodicity from the structure that was "
                f"searched, or an atom has moved by more than {self.skin / 2} angstrom",
                "Search again with symjax.data.find_neighbors",
            )
        edges = _within(self.edges, atoms, self.cutoff)
        return assemble([atoms], [edges], self.cutoff, checked_dtype(dtype))


def find_neighbors(atoms: ase.Atoms, cutoff: float, skin: float = 0.0) -> NeighborList:
    """Finds all pairs closer than cutoff + skin, for reuse while atoms move.

    Args:
      atoms: The structure; it must pass :func:`symjax.data.check_structure`.
      cutoff: Cutoff radius in angstrom, above 1e-3.
      skin: Extra distance in angstrom; with 0, the list holds until an atom moves.

    Raises:
      ArgumentError: An argument has the wrong type or range.
      StructureError: The structure fails the checks.

    Example:
      >>> import ase.build
      >>> from symjax.data import find_neighbors
      >>> found = find_neighbors(ase.build.bulk("Cu"), 4.0, skin=1.0)
      >>> len(found.edges.centers), int(found.graph(found.atoms).edge_mask.sum())
      (42, 18)
    """
    cutoff = checked_cutoff(cutoff)
    number = isinstance(skin, int | float | np.number) and not isinstance(skin, bool)
    if not number or not math.isfinite(skin) or skin < 0:
        raise ArgumentError(
            "skin",
            skin,
            "is not a distance in angstrom",
            "Pass 0 or more, for instance 0.5",
        )
    check_without_distances(atoms)
    edges = find_edges(atoms, cutoff + float(skin), None)
    return NeighborList(atoms.copy(), cutoff, float(skin), edges)


def _within(edges: Edges, atoms: ase.Atoms, cutoff: float) -> Edges:
    """The edges that are now shorter than the cutoff, in the same order."""
    centers, neighbors = edges.centers, edges.neighbors
    r = atoms.positions.astype(np.float64)
    vectors = r[neighbors] - r[centers] + edges.shifts @ periodic_cell(atoms)
    distances = np.linalg.norm(vectors, axis=1)
    check_distances(centers, neighbors, distances)
    # An edge and its reverse may differ by rounding; they are kept or dropped together.
    keep = (distances < cutoff) & (distances < cutoff)[edges.reverse]
    rank = np.cumsum(keep) - 1
    centers = centers[keep]
    starts = np.searchsorted(centers, np.arange(len(atoms)))
    return Edges(
        centers,
        neighbors[keep],
        edges.shifts[keep],
        np.arange(len(centers)) - starts[centers],
        rank[edges.reverse[keep]],
    )
