"""Pairs of atoms within a cutoff, from one of two implementations."""

from typing import NamedTuple

import numpy as np
from ase.neighborlist import primitive_neighbor_list
from jaxtyping import Bool, Float, Int

# Half of the bins that vesin makes at most: vesin counts a little differently.
_MAXIMUM_BINS = 5e4

# Bins along the shortest direction that must remain of them.
_MINIMUM_BINS = 4


class Pairs(NamedTuple):
    """Pairs closer than a cutoff, each once: of ``i -> j`` and ``j -> i`` any one."""

    first: Int[np.ndarray, "pairs"]
    second: Int[np.ndarray, "pairs"]
    shifts: Int[np.ndarray, "pairs 3"]
    distances: Float[np.ndarray, "pairs"]


def find_pairs(
    positions: Float[np.ndarray, "atoms 3"],
    cell: Float[np.ndarray, "3 3"],
    pbc: Bool[np.ndarray, "3"],
    cutoff: float,
) -> Pairs:
    """Pairs with ``|r_j - r_i + S @ cell| < cutoff``, by vesin or else by ASE.

    Args:
      positions: Positions in angstrom, float64.
      cell: Cell vectors as rows, zero where not periodic.
      pbc: Which directions are periodic.
      cutoff: Cutoff radius in angstrom.

    Returns:
      Pairs in no particular order.
    """
    if vesin_is_safe(positions, cell[pbc], cutoff):
        # Not at the top: where PyTorch is installed, vesin imports it.
        import vesin

        neighbor_list = vesin.NeighborList(cutoff=cutoff, full_list=False)
        return Pairs(*neighbor_list.compute(positions, cell, pbc, "ijSd"))
    first, second, shifts, distances = primitive_neighbor_list(
        "ijSd", pbc, cell, positions, cutoff
    )
    # The sign of the first shift that is not zero picks one of an image and its
    # opposite; base 3 compares all three at once.
    sign = np.sign(shifts) @ [9, 3, 1]
    half = (first < second) | ((first == second) & (sign > 0))
    return Pairs(first[half], second[half], shifts[half], distances[half])


def vesin_is_safe(
    positions: Float[np.ndarray, "atoms 3"],
    rows: Float[np.ndarray, "periodic 3"],
    cutoff: float,
) -> bool:
    """Whether vesin can bin these atoms; where it cannot, it ends the process.

    Vesin (0.6.2) sorts atoms into bins of the cutoff's size, and where these are
    more than 1e5 makes fewer along every direction, in proportion. Along a direction
    much shorter than the others none is left, and a division by their number
    follows: two atoms 2000 angstrom apart in a plane are enough.
    """
    # Distances between opposite faces of the cell, and extents elsewhere.
    faces = 1 / np.linalg.norm(np.linalg.pinv(rows), axis=0)
    extents = np.ptp(positions, axis=0)
    if len(rows) in (0, 3):
        lengths = extents if len(rows) == 0 else faces
    else:
        # The frame that vesin takes along the other directions is its own affair:
        # only a bound on the extents holds, and none on their ratio.
        lengths = np.concatenate(
            [faces, np.full(3 - len(rows), np.linalg.norm(extents))]
        )
    total = float(np.prod(np.ceil(lengths / cutoff) + 2))
    if total <= _MAXIMUM_BINS:
        return True
    shortest = max(np.floor(lengths.min() / cutoff), 1.0)
    remaining = shortest * np.cbrt(_MAXIMUM_BINS / total)
    return len(rows) in (0, 3) and bool(remaining >= _MINIMUM_BINS)
