"""Pairs where neither vesin nor ASE can sort atoms into bins."""

import ase
import numpy as np
import pytest

from symjax.data import _pairs, build_graph, find_neighbors

CASES = {
    "molecule": (np.zeros((3, 3)), (False, False, False)),
    "wire": (np.array([[1.3, 0.4, 0.2], [0, 0, 0], [0, 0, 0]]), (True, False, False)),
    "slab": (np.array([[0, 0, 0], [2.1, 0, 0.3], [1.0, 1.9, 0]]), (False, True, True)),
    "crystal": (np.array([[2, 0.5, 0.1], [0.3, 2.5, 0], [0, -0.7, 1.8]]), (True,) * 3),
    "left-handed": (np.array([[0, 2.5, 0], [2, 0, 0.3], [0, 0, 2.2]]), (True,) * 3),
    "acute": (np.array([[3, 0, 0], [2.9, 0.9, 0], [2.8, 0.5, 2]]), (True,) * 3),
    "tiny": (np.eye(3), (True,) * 3),
}


def compare_all(positions, cell, pbc, cutoff):
    images = images_of(cell, pbc, cutoff)
    return _pairs._compare_all(positions, cell, pbc, cutoff, images)


def images_of(cell, pbc, cutoff):
    return _pairs._images(_pairs._face_distances(cell[pbc]), pbc, cutoff)


def both_ways(found):
    """Pairs as a graph has them, from one of the two that each is."""
    pairs = zip(found.first, found.second, found.shifts, strict=True)
    ways = {row for i, j, s in pairs for row in ((i, j, *s), (j, i, *-s))}
    assert len(ways) == 2 * len(found.first)
    return ways


@pytest.mark.parametrize("case", CASES)
def test_every_pair_once(case):
    cell, pbc = CASES[case]
    pbc, cutoff = np.array(pbc), 3.1
    # Outside of the cell too.
    positions = np.random.default_rng(1).normal(size=(4, 3)) * 4
    given = positions, cell, pbc, cutoff
    ours = both_ways(compare_all(*given))
    assert ours == both_ways(_pairs.find_pairs(*given))
    # Images along each vector that can be within the cutoff.
    longest = cutoff + np.linalg.norm(np.ptp(positions, axis=0))
    faces = 1 / np.linalg.norm(np.linalg.pinv(cell[pbc]), axis=0)
    reach = np.zeros(3, int)
    reach[pbc] = np.ceil(longest / faces)
    ranges = [np.arange(-n, n + 1) for n in reach]
    shifts = np.stack(np.meshgrid(*ranges, indexing="ij"), -1).reshape(-1, 3)
    right = set()
    for i in range(4):
        for j in range(4):
            lengths = np.linalg.norm(
                positions[j] - positions[i] + shifts @ cell, axis=1
            )
            near = (lengths < cutoff) & ((i != j) | np.any(shifts != 0, axis=1))
            right |= {(i, j, *s) for s in shifts[near]}
    assert ours == right


@pytest.mark.parametrize("cutoff", [1.1, 0.05])
@pytest.mark.parametrize("case", CASES)
def test_vesin_finds_the_same(case, cutoff):
    """Also for a cutoff that is less than the bins in which pairs are sought."""
    cell, pbc = CASES[case]
    few = np.array([[0, 0, 0], [0.03, 0, 0], [0.2, 0, 0], [2, 1, 0.0]])
    positions = np.concatenate([few, np.random.default_rng(2).normal(size=(50, 3)) * 4])
    given = positions, cell, np.array(pbc), cutoff
    images = images_of(*given[1:])
    assert 54**2 * np.prod(2 * images + 1) > _pairs._FEW_COMPARED
    found = both_ways(_pairs.find_pairs(*given))
    assert found == both_ways(compare_all(*given))
    assert found >= {(0, 1, 0, 0, 0), (1, 0, 0, 0, 0)}
    assert ((0, 2, 0, 0, 0) in found) == (cutoff > 0.2)


@pytest.mark.parametrize("cell", [[0.02, 3000, 3000], [3000, 0.02, 0.02]])
def test_thin_cells(cell):
    graph = build_graph(ase.Atoms("H", cell=cell, pbc=True), 0.5)
    # Images along a line, or on a square lattice, within 25 spacings.
    lattice = np.arange(-25, 26) ** 2
    number = len(lattice) - 3
    if cell[1] < 1:
        number = np.sum(lattice[:, None] + lattice < 25**2) - 1
    assert int(graph.edge_mask.sum()) == number


def test_far_atoms():
    flat = ase.Atoms("CO", [[0, 0, 0], [2000, 0, 0]])
    assert len(find_neighbors(flat, 5.0).edges.centers) == 0
