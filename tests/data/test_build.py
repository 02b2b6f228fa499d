"""Neighbor lists against ASE's, an independent implementation."""

import ase
import ase.build
import numpy as np
import pytest
from ase.neighborlist import neighbor_list
from hypothesis import given
from hypothesis import strategies as st
from refusals import refused
from scipy.spatial.transform import Rotation

from symjax.data import build_graph, check_structure
from symjax.errors import ArgumentError, StructureError

CUTOFF = 4.0
WATER = ase.build.molecule("H2O")


def _left_handed():
    atoms = ase.build.bulk("NaCl", "rocksalt", a=5.6)
    atoms.set_cell(atoms.cell[[1, 0, 2]])
    assert np.linalg.det(atoms.cell[:]) < 0
    return atoms


def _wire():
    return ase.Atoms("H2", [[0, 0, 0], [0.9, 0.3, 0]], cell=[0, 0, 1.7], pbc=(0, 0, 1))


def _outside_cell():
    atoms = ase.build.bulk("Si", cubic=True)
    atoms.positions += [17.0, -33.0, 4.0]
    atoms.positions[3] += 3 * atoms.cell[1]
    return atoms


def _with_unused_cell():
    atoms = ase.build.molecule("CH3CH2OH")
    atoms.cell[:] = np.diag([1.0, 2.0, 3.0])
    return atoms


STRUCTURES = {
    "single atom": ase.Atoms("He"),
    "isolated atoms": ase.Atoms("Ar3", [[0, 0, 0], [0, 0, 3], [50, 0, 0]]),
    "molecule": ase.build.molecule("CH3CH2OH"),
    "molecule with a cell": _with_unused_cell(),
    "fcc, one atom": ase.build.bulk("Cu"),
    "tiny cell": ase.Atoms("H", cell=[1, 1, 1], pbc=True),
    "slab": ase.build.fcc111("Al", (1, 2, 3), vacuum=5.0),
    "wire": _wire(),
    "left-handed": _left_handed(),
    "outside of the cell": _outside_cell(),
    "acute": ase.Atoms(
        "H2",
        [[0, 0, 0], [1.0, 0.2, 0.9]],
        cell=[[3, 0, 0], [2.9, 0.9, 0], [2.8, 0.5, 2]],
        pbc=True,
    ),
}


def _edges(graph):
    i, k = np.nonzero(graph.edge_mask)
    return list(zip(i, graph.neighbors[i, k], *graph.shifts[i, k].T, strict=True))


def _compare(atoms, cutoff):
    graph = build_graph(atoms, cutoff)
    i, j, shifts, vectors = neighbor_list("ijSD", atoms, cutoff)
    expected = list(zip(i, j, *shifts.T, strict=True))
    found = _edges(graph)
    assert found == sorted(found)
    assert sorted(expected) == found
    order = sorted(range(len(expected)), key=lambda e: expected[e])
    # A few sums of terms as large as the positions, here below 100 angstrom.
    np.testing.assert_allclose(
        graph.vectors[graph.edge_mask],
        vectors[order].reshape(-1, 3),
        rtol=0,
        atol=1e-12,
    )


@pytest.mark.parametrize("name", STRUCTURES)
def test_edges_equal_those_of_ase(name):
    _compare(STRUCTURES[name], CUTOFF)


def test_cases_are_what_they_claim():
    count = {
        name: len(_edges(build_graph(a, CUTOFF))) for name, a in STRUCTURES.items()
    }
    assert count["single atom"] == 0
    assert count["isolated atoms"] == 2
    # Lattice points within 4 lattice constants of the origin, N(4) = 257, less the
    # origin and the 6 at exactly this distance.
    assert count["tiny cell"] == 257 - 1 - 6


# Vesin bins these with none left along the shortest direction and divides by zero,
# which ends the process; an implementation without bins has to take over.
ELONGATED = {
    "pair in a plane": ase.Atoms(
        "H4", [[0, 0, 0], [1, 0, 0], [2e3, 2e3, 0], [0, 2e3, 0]]
    ),
    "line": ase.Atoms("H3", [[0, 0, 0], [0, 1, 0], [0, 9e5, 0]]),
    "wide cell": ase.Atoms("H", cell=[2000, 2000, 1.5], pbc=True),
    "wide slab": ase.Atoms(
        "H2", [[0] * 3, [0, 0, 1]], cell=[9e3, 9e3, 0], pbc=(1, 1, 0)
    ),
    "long wire": ase.Atoms("H2", [[0] * 3, [0, 0, 1]], cell=[9e5, 0, 0], pbc=(1, 0, 0)),
}


@pytest.mark.parametrize("name", ELONGATED)
def test_elongated_structures_equal_ase(name):
    check_structure(ELONGATED[name])
    _compare(ELONGATED[name], CUTOFF)


def test_flat_structures_pass_the_check():
    for name in ("C6H6", "CO2", "H2CO", "C4H4O"):
        check_structure(ase.build.molecule(name))
    sheet = ase.build.graphene().repeat((2, 2, 1))
    check_structure(sheet)
    sheet.pbc = (True, True, False)
    check_structure(sheet)


@st.composite
def _random_structures(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    pbc = draw(st.tuples(st.booleans(), st.booleans(), st.booleans()))
    num_atoms = draw(st.integers(1, 5))
    # Well-conditioned triclinic cells of either hand.
    cell = rng.uniform(1.5, 5, 3)[:, None] * (
        Rotation.random(rng=rng).as_matrix() + rng.uniform(-0.3, 0.3, (3, 3))
    )
    positions = rng.uniform(-8, 8, (num_atoms, 3))
    return ase.Atoms(f"H{num_atoms}", positions, cell=cell, pbc=pbc)


@given(_random_structures(), st.floats(1.0, 5.0))
def test_random_triclinic_cells_equal_ase(atoms, cutoff):
    _compare(atoms, cutoff)


@given(_random_structures(), st.integers(0, 2**32 - 1))
def test_reordering_atoms_reorders_the_graph(atoms, seed):
    order = np.random.default_rng(seed).permutation(len(atoms))
    rank = np.argsort(order)
    moved = {
        (rank[i], rank[j], *shift) for i, j, *shift in _edges(build_graph(atoms, 4.0))
    }
    assert set(_edges(build_graph(atoms[order], 4.0))) == moved


@given(_random_structures(), st.integers(0, 2**32 - 1), st.booleans())
def test_rotation_leaves_the_neighbor_list(atoms, seed, improper):
    rotation = Rotation.random(rng=seed).as_matrix() * (-1 if improper else 1)
    rotated = atoms.copy()
    rotated.positions = atoms.positions @ rotation.T
    rotated.cell[:] = atoms.cell[:] @ rotation.T
    first, second = build_graph(atoms, 4.0), build_graph(rotated, 4.0)
    for name in ("neighbors", "shifts", "edge_mask", "reverse"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    np.testing.assert_allclose(first.lengths, second.lengths, rtol=0, atol=1e-12)


@given(_random_structures())
def test_reverse_is_an_involution(atoms):
    graph = build_graph(atoms, 4.0)
    reverse = graph.reverse.ravel()
    np.testing.assert_array_equal(reverse[reverse], np.arange(reverse.size))
    # No edge is its own reverse: an atom's image has another image opposite.
    own = np.arange(reverse.size).reshape(graph.reverse.shape)
    np.testing.assert_array_equal(graph.reverse == own, ~graph.edge_mask)


@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize(
    ("distance", "included"),
    [(np.nextafter(2.0, 0.0), True), (2.0, False), (np.nextafter(2.0, 3.0), False)],
)
def test_neighbor_at_the_cutoff_is_left_out(distance, included, periodic):
    atoms = ase.Atoms("H2", [[0, 0, 0], [0, 0, distance]])
    if periodic:
        atoms = ase.Atoms("H", cell=[9, 9, distance], pbc=True)
    assert bool(build_graph(atoms, 2.0).edge_mask.any()) == included
    assert bool(len(neighbor_list("i", atoms, 2.0))) == included


def test_batch_equals_its_members():
    listed = list(STRUCTURES.values())
    batch = build_graph(listed, CUTOFF)
    offset = 0
    for k, atoms in enumerate(listed):
        single = build_graph(atoms, CUTOFF)
        rows = slice(offset, offset + len(atoms))
        width = single.neighbors.shape[1]
        assert set(batch.structure[rows]) == {k}
        np.testing.assert_array_equal(batch.edge_mask[rows, :width], single.edge_mask)
        assert not batch.edge_mask[rows, width:].any()
        np.testing.assert_array_equal(
            batch.neighbors[rows, :width] - offset, single.neighbors
        )
        np.testing.assert_array_equal(batch.shifts[rows, :width], single.shifts)
        slots = batch.reverse[rows, :width]
        back = (slots // batch.neighbors.shape[1] - offset) * width
        back += slots % batch.neighbors.shape[1]
        np.testing.assert_array_equal(
            back[single.edge_mask], single.reverse[single.edge_mask]
        )
        offset += len(atoms)


def test_cells_of_directions_without_periodicity_are_zero():
    graph = build_graph(STRUCTURES["molecule with a cell"], CUTOFF)
    assert not graph.cells.any()
    slab = build_graph(STRUCTURES["slab"], CUTOFF)
    assert slab.cells[0].any(axis=1).tolist() == [True, True, False]


def test_dtype_rounds_positions_but_not_the_neighbor_list():
    # In float32 both distances round to 2.0.
    positions = [[0, 0, 0], [0, 0, 2.0 - 1e-9], [0, 2.0 + 1e-9, 0]]
    graph = build_graph(ase.Atoms("H3", positions), 2.0, dtype=np.float32)
    assert graph.positions.dtype == graph.cells.dtype == np.float32
    assert _edges(graph) == [(0, 1, 0, 0, 0), (1, 0, 0, 0, 0)]


def test_real_structures(shared):
    structures = ase.io.read(shared / "data" / "qm9_reduced_100.xyz", ":10")
    for atoms in structures:
        _compare(atoms, 5.0)


# keyword arguments that replace the good ones, argument, words
BUILD = {
    "structures: none": ({"structures": []}, "structures", "empty"),
    "structures: a path": ({"structures": "a.xyz"}, "structures", "read_structures"),
    "structures: None": ({"structures": None}, "structures", "NoneType"),
    "structures: no list": ({"structures": {1: WATER}}, "structures", "dict"),
    "structures: of paths": ({"structures": ["a.xyz"]}, "structures[0]", "str"),
    "cutoff: zero": ({"cutoff": 0}, "cutoff", "above 0.001"),
    "cutoff: negative": ({"cutoff": -3.0}, "cutoff", "above 0.001"),
    "cutoff: NaN": ({"cutoff": np.nan}, "cutoff", "finite"),
    "cutoff: infinite": ({"cutoff": np.inf}, "cutoff", "finite"),
    "cutoff: string": ({"cutoff": "3"}, "cutoff", "must be a number"),
    "cutoff: None": ({"cutoff": None}, "cutoff", "must be a number"),
    "cutoff: boolean": ({"cutoff": True}, "cutoff", "must be a number"),
    "dtype: integer": ({"dtype": np.int32}, "dtype", "not supported"),
    "dtype: half": ({"dtype": np.float16}, "dtype", "not supported"),
    "dtype: None": ({"dtype": None}, "dtype", "not supported"),
    "dtype: no type": ({"dtype": "decimal"}, "dtype", "not a data type"),
    "atoms: too few": ({"num_atoms": 2}, "num_atoms", "needs 3"),
    "atoms: fractional": ({"num_atoms": 4.0}, "num_atoms", "must be an integer"),
    "neighbors: too few": ({"num_neighbors": 1}, "num_neighbors", "needs 2"),
    "neighbors: boolean": ({"num_neighbors": True}, "num_neighbors", "integer"),
    "structures: too few": ({"num_structures": 0}, "num_structures", "needs 1"),
    "structures: string": ({"num_structures": "2"}, "num_structures", "integer"),
    "slots beyond int32": (
        {"num_atoms": 2**20, "num_neighbors": 2**11},
        "num_neighbors",
        "num_atoms=1048576",
    ),
}


@pytest.mark.parametrize("case", BUILD)
def test_build_graph(case):
    changes, argument, words = BUILD[case]
    arguments = {"structures": WATER, "cutoff": 3.0, **changes}
    refused(lambda: build_graph(**arguments), ArgumentError, argument, words)


def test_too_many_edges_are_refused_before_they_are_made():
    # In nanometre: 4000 atoms, each with 30000 others within 5 "angstrom".
    silver = ase.build.bulk("Ag", cubic=True).repeat(10)
    silver.set_cell(silver.cell[:] / 10, scale_atoms=True)
    refused(lambda: build_graph(silver, 5.0), StructureError, "atoms", "cutoff of 5.0")
