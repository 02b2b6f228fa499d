"""Finds pairs of atoms within a cutoff, by vesin, by ASE or by comparing all."""

from typing import NamedTuple

import numpy as np
from ase.neighborlist import primitive_neighbor_list
from jaxtyping import Bool, Float, Int

# Half of vesin's limit, as vesin counts bins slightly differently.
_MAXIMUM_BINS = 5e4

# Bins that must remain along the shortest direction once vesin reduces their number.
_MINIMUM_BINS = 4

# For a smaller cutoff, in angstrom, pairs are sought in bins of this size, or of that
# of the cell if it is less: vesin takes a hundred times as long to visit tiny ones.
_SMALLEST_BIN = 0.5

# Up to this many pairs of atoms and images, comparing all takes as long as vesin.
_FEW_COMPARED = 2e3

# Up to this many pairs of atoms and images, all are compared where vesin cannot be
# used. ASE also sorts into bins, and takes minutes for many bins along one direction
# and many images along another.
_MOST_COMPARED = 2e7


class Pairs(NamedTuple):
    """Pairs closer than a cutoff, each listed once: either ``i -> j`` or ``j -> i``."""

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
    """Pairs with ``|r_j - r_i + S @ cell| < cutoff``, in no particular order."""
    faces = _face_distances(cell[pbc])
    images = _images(faces, pbc, cutoff)
    bins = max(cutoff, faces.min(initial=_SMALLEST_BIN))
    safe = vesin_is_safe(positions, faces, bins)
    most = _FEW_COMPARED if safe else _MOST_COMPARED
    if len(positions) ** 2 * np.prod(2.0 * images + 1) <= most:
        return _compare_all(positions, cell, pbc, cutoff, images)
    if safe:
        # Imported here, as vesin imports PyTorch, in seconds, where that is installed.
        import vesin

        neighbor_list = vesin.NeighborList(cutoff=bins, full_list=False)
        found = Pairs(*neighbor_list.compute(positions, cell, pbc, "ijSd"))
        if bins == cutoff:
            return found
        near = found.distances < cutoff
        return Pairs(*(part[near] for part in found))
    first, second, shifts, distances = primitive_neighbor_list(
        "ijSd", pbc, cell, positions, cutoff
    )
    half = _one_of_each(first, second, shifts)
    return Pairs(first[half], second[half], shifts[half], distances[half])


def _face_distances(
    rows: Float[np.ndarray, "periodic 3"],
) -> Float[np.ndarray, "periodic"]:
    """Distances between opposite faces of a cell, along each of its vectors."""
    return 1 / np.linalg.norm(np.linalg.pinv(rows), axis=0)


def _one_of_each(
    first: Int[np.ndarray, "pairs"],
    second: Int[np.ndarray, "pairs"],
    shifts: Int[np.ndarray, "pairs 3"],
) -> Bool[np.ndarray, "pairs"]:
    """Selects one direction of pairs that are listed in both."""
    # The sign of the first shift that is not zero picks one of an image and its
    # opposite; base 3 compares all three at once.
    sign = np.sign(shifts) @ [9, 3, 1]
    return (first < second) | ((first == second) & (sign > 0))


def _images(
    faces: Float[np.ndarray, "periodic"], pbc: Bool[np.ndarray, "3"], cutoff: float
) -> Int[np.ndarray, "3"]:
    """Largest shift, along each cell vector, of a neighbor of an atom in the cell."""
    images = np.zeros(3, int)
    images[pbc] = np.floor(cutoff / faces) + 1
    return images


def _compare_all(
    positions: Float[np.ndarray, "atoms 3"],
    cell: Float[np.ndarray, "3 3"],
    pbc: Bool[np.ndarray, "3"],
    cutoff: float,
    images: Int[np.ndarray, "3"],
) -> Pairs:
    """Compares every atom with every image of every other, without bins."""
    whole = np.floor(positions @ np.linalg.pinv(cell)).astype(int) * pbc
    wrapped = positions - whole @ cell
    between = wrapped[None, :] - wrapped[:, None]
    ranges = [np.arange(-number, number + 1) for number in images]
    every = np.stack(np.meshgrid(*ranges, indexing="ij"), axis=-1).reshape(-1, 3)
    step = max(1, 2**20 // len(positions) ** 2)
    found: list[Pairs] = []
    for start in range(0, len(every), step):
        images = every[start : start + step]
        distances = np.linalg.norm(between + (images @ cell)[:, None, None], axis=-1)
        image, first, second = np.nonzero(distances < cutoff)
        shifts = images[image]
        half = _one_of_each(first, second, shifts)
        index = image[half], first[half], second[half]
        own = shifts[half] - whole[index[2]] + whole[index[1]]
        found.append(Pairs(index[1], index[2], own, distances[index]))
    return Pairs(*map(np.concatenate, zip(*found, strict=True)))


def vesin_is_safe(
    positions: Float[np.ndarray, "atoms 3"],
    faces: Float[np.ndarray, "periodic"],
    cutoff: float,
) -> bool:
    """Whether vesin can bin these atoms; if it cannot, it crashes the process.

    Vesin (0.6.2) sorts atoms into bins of the cutoff's size. Where that takes more than
    1e5 bins, it reduces their number along every direction in proportion. Along a
    direction much shorter than the others none is left, and vesin divides by zero: two
    atoms 2000 angstrom apart in a plane are enough.
    """
    # Along the cell, and extents elsewhere.
    extents = np.ptp(positions, axis=0)
    if len(faces) in (0, 3):
        lengths = extents if len(faces) == 0 else faces
    else:
        # Vesin chooses its own axes along the other directions: the extents along them
        # are bounded, their ratio is not.
        lengths = np.concatenate(
            [faces, np.full(3 - len(faces), np.linalg.norm(extents))]
        )
    total = float(np.prod(np.ceil(lengths / cutoff) + 2))
    if total <= _MAXIMUM_BINS:
        return True
    shortest = max(np.floor(lengths.min() / cutoff), 1.0)
    remaining = shortest * np.cbrt(_MAXIMUM_BINS / total)
    return len(faces) in (0, 3) and bool(remaining >= _MINIMUM_BINS)
