"""Point groups of structures."""

import ase
import ase.build
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from symjax.data import (
    bucket_shape,
    build_graph,
    edge_permutations,
    find_symmetry,
    pad_graph,
    symmetrize,
)
from symjax.errors import ArgumentError, StructureError
from symjax.so3.point_groups import multiplication_table

SF6 = ase.Atoms("SF6", [[0.0] * 3, *(1.56 * np.eye(3)), *(-1.56 * np.eye(3))])
MOLECULES = {
    "H2O": ("C2v", 4),
    "NH3": ("C3v", 6),
    "CH4": ("Td", 24),
    "C6H6": ("D6h", 24),
    "C2H6": ("D3d", 12),
    "CH3CH2OH": ("Cs", 2),
    "H2O2": ("C2", 2),
    "C2H4": ("D2h", 8),
    "C3H4_D2d": ("D2d", 8),
}
CRYSTALS = {
    "diamond": (ase.build.bulk("C"), "Oh", 48),
    "cubic cell": (ase.build.bulk("C", cubic=True), "Oh", 48),
    "supercell": (ase.build.bulk("C", cubic=True) * 2, "Oh", 48),
    "hexagonal": (ase.build.bulk("Mg"), "D6h", 24),
    "polar": (ase.build.bulk("ZnO", "wurtzite", a=3.25, c=5.2), "C6v", 12),
    "sheet": (ase.build.graphene(size=(2, 2, 1)), "D6h", 24),
    "slab": (ase.build.fcc111("Cu", (1, 1, 3), vacuum=5), "D3d", 12),
}


def assert_symmetric(atoms, found, tolerance=1e-5):
    """Group laws, and every element maps atoms onto atoms of the same species."""
    elements, permutations = found.elements, found.permutations
    table = multiplication_table(elements)
    np.testing.assert_allclose(
        elements[table], elements[:, None] @ elements, atol=1e-12
    )
    np.testing.assert_allclose(elements[0], np.eye(3), atol=1e-12)
    assert (atoms.numbers[permutations] == atoms.numbers).all()
    if not atoms.pbc.any():
        # p of h1 h2 is p1 after p2
        composed = permutations[:, permutations]
        np.testing.assert_array_equal(composed, permutations[table])
        r = atoms.positions - atoms.positions.mean(0)
        moved = np.einsum("hij,aj->hai", elements, r)
        assert np.abs(moved - r[permutations]).max() < 2 * tolerance
    assert found.residual <= 2 * tolerance


@pytest.mark.parametrize("name", MOLECULES)
def test_known_molecules(name):
    atoms = ase.build.molecule(name)
    found = find_symmetry(atoms)
    assert (found.name, found.order) == MOLECULES[name]
    assert not found.infinite
    assert_symmetric(atoms, found)


def test_octahedron():
    found = find_symmetry(SF6)
    assert (found.name, found.order) == ("Oh", 48)


def test_fullerene_is_icosahedral_once_symmetrized():
    rough = ase.build.molecule("C60")
    assert find_symmetry(rough).order == 1
    found = find_symmetry(rough, tolerance=1e-2)
    assert (found.name, found.order) == ("Ih", 120)
    fine = symmetrize(rough, found)
    assert np.abs(fine.positions - rough.positions).max() <= found.residual + 1e-12
    exact = find_symmetry(fine)
    assert exact.order == 120
    assert exact.residual < 1e-12


@pytest.mark.parametrize("name", CRYSTALS)
def test_known_crystals(name):
    atoms, symbol, order = CRYSTALS[name]
    found = find_symmetry(atoms)
    assert (found.name, found.order) == (symbol, order)
    assert_symmetric(atoms, found)


@pytest.mark.parametrize(
    ("atoms", "order"),
    [
        (ase.build.molecule("CO2"), 48),
        (ase.build.molecule("HCN"), 24),
        (ase.Atoms("He"), 48),
    ],
)
def test_infinite_groups_give_a_finite_subgroup(atoms, order):
    found = find_symmetry(atoms)
    assert found.infinite
    assert found.order == order
    assert_symmetric(atoms, found)


@given(st.sampled_from(sorted(MOLECULES)), st.integers(0, 2**31 - 1))
def test_orientation_origin_and_order_do_not_matter(name, seed):
    rng = np.random.default_rng(seed)
    atoms = ase.build.molecule(name)
    sign = rng.choice([-1, 1])
    turn = sign * Rotation.random(random_state=seed).as_matrix()
    atoms.positions = atoms.positions @ turn.T + rng.normal(size=3)
    atoms = atoms[rng.permutation(len(atoms))]
    found = find_symmetry(atoms)
    assert (found.name, found.order) == MOLECULES[name]
    assert_symmetric(atoms, found)


@given(st.sampled_from(["CH4", "C6H6", "C2H6", "NH3"]), st.integers(0, 2**31 - 1))
def test_rattled_molecules_have_none(name, seed):
    atoms = ase.build.molecule(name)
    atoms.rattle(0.02, seed=seed)
    assert find_symmetry(atoms).order == 1


@given(st.integers(0, 2**31 - 1), st.floats(-6, -2))
def test_small_displacements_never_break_closure(seed, exponent):
    """Near the tolerance, what is returned is a group within it."""
    atoms = ase.build.molecule("CH4")
    rng = np.random.default_rng(seed)
    atoms.positions += 10**exponent * rng.normal(size=(5, 3))
    found = find_symmetry(atoms, tolerance=1e-4)
    assert 24 % found.order == 0
    assert_symmetric(atoms, found, tolerance=1e-4)


@pytest.mark.parametrize("name", ["H2O", "C6H6", "diamond", "supercell", "slab"])
def test_edges_are_permuted(name):
    atoms = CRYSTALS[name][0] if name in CRYSTALS else ase.build.molecule(name)
    graph = build_graph(atoms, 3.9)
    graph = pad_graph(graph, bucket_shape(graph))
    found = find_symmetry(atoms)
    keep, slots = edge_permutations(graph, found)
    assert keep.all()
    vectors = graph.vectors.reshape(-1, 3)
    for element, slot in zip(found.elements, slots, strict=True):
        assert sorted(slot.ravel()) == list(range(slot.size))
        np.testing.assert_allclose(
            vectors @ element.T, vectors[slot.ravel()], atol=1e-4
        )
        # padding stays where it is
        own = np.arange(slot.size).reshape(slot.shape)
        assert (slot == own)[~graph.edge_mask].all()


def test_a_graph_that_is_cut_unevenly_loses_elements():
    """An edge at the cutoff is kept for one neighbor and not for its image."""
    atoms = ase.build.molecule("H2O")
    atoms.positions[1] *= 1 + 1e-7
    cutoff = np.linalg.norm(atoms.positions[2] - atoms.positions[0]) + 5e-8
    graph = build_graph(atoms, cutoff)
    found = find_symmetry(atoms)
    assert found.order == 4
    keep, _ = edge_permutations(graph, found)
    assert keep.sum() == 2
    assert found.subset(keep).order == 2


@pytest.mark.parametrize("tolerance", [0, -1e-3, 1.0, float("nan"), "small"])
def test_bad_tolerance(tolerance):
    with pytest.raises(ArgumentError, match="tolerance"):
        find_symmetry(ase.build.molecule("H2O"), tolerance)


def test_refusals():
    water = find_symmetry(ase.build.molecule("H2O"))
    with pytest.raises(StructureError, match="periodic"):
        symmetrize(ase.build.bulk("Cu"), water)
    with pytest.raises(ArgumentError, match="number of atoms"):
        symmetrize(ase.build.molecule("CH4"), water)
    with pytest.raises(ArgumentError, match="subgroup"):
        water.subset(np.array([False, True, True, True]))
