"""A list with a skin makes the graphs that a search makes."""

import ase
import ase.build
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from symjax.data import build_graph, find_neighbors
from symjax.errors import ArgumentError, StructureError

CUTOFF, SKIN = 3.0, 0.6


def crystal():
    return ase.build.bulk("NaCl", "rocksalt", a=5.64, cubic=True)


def slab():
    return ase.build.fcc111("Cu", (2, 2, 2), vacuum=5.0)


STRUCTURES = {
    "molecule": lambda: ase.build.molecule("CH3CH2OH"),
    "crystal": crystal,
    "small cell": lambda: ase.build.bulk("Cu"),
    "slab": slab,
    "lone atom": lambda: ase.Atoms("H"),
}


def assert_equal(graph, other):
    fields, others = vars(graph), vars(other)
    for name in ("surroundings", "mesh"):
        assert fields.pop(name) is others.pop(name) is None
    assert fields.pop("cutoff") == others.pop("cutoff")
    for name, value in others.items():
        np.testing.assert_array_equal(fields[name], value, err_msg=name)
        assert fields[name].dtype == value.dtype, name


@pytest.mark.parametrize("name", STRUCTURES)
@given(seed=st.integers(0, 2**31), amount=st.floats(0, SKIN / 2))
def test_moved_atoms_have_the_graph_of_a_search(name, seed, amount):
    atoms = STRUCTURES[name]()
    found = find_neighbors(atoms, CUTOFF, SKIN)
    steps = np.random.default_rng(seed).normal(size=(len(atoms), 3))
    steps /= np.linalg.norm(steps, axis=1, keepdims=True)
    # Rounding must not push the displacement over the limit.
    atoms.positions += 0.999 * amount * steps
    assert found.holds(atoms)
    assert_equal(found.graph(atoms), build_graph(atoms, CUTOFF))


def test_dtype():
    atoms = crystal()
    found = find_neighbors(atoms, CUTOFF, SKIN).graph(atoms, dtype="float32")
    assert_equal(found, build_graph(atoms, CUTOFF, dtype="float32"))


def test_what_ends_a_list():
    atoms = crystal()
    found = find_neighbors(atoms, CUTOFF, SKIN)
    for change in (
        lambda a: a.positions.__setitem__((3, 0), a.positions[3, 0] + 0.31),
        lambda a: a.set_cell(a.cell * 1.0001),
        lambda a: a.set_pbc((True, True, False)),
        lambda a: a.numbers.__setitem__(0, 19),
        lambda a: a.extend(ase.Atoms("H", [(1.0, 1, 1)])),
        lambda a: a.positions.__setitem__((0, 0), np.nan),
    ):
        changed = atoms.copy()
        change(changed)
        assert not found.holds(changed)
        with pytest.raises((ArgumentError, StructureError)):
            found.graph(changed)
    # The list keeps its own copy of the structure.
    atoms.positions += 1.0
    assert not found.holds(atoms)


def test_without_skin_it_holds_until_an_atom_moves():
    atoms = crystal()
    found = find_neighbors(atoms, CUTOFF)
    assert found.holds(atoms)
    atoms.positions[0, 0] += 1e-12
    assert not found.holds(atoms)


def test_atoms_that_meet_are_refused():
    atoms = ase.Atoms("H2", [(0, 0, 0), (0, 0, 0.2)])
    found = find_neighbors(atoms, CUTOFF, SKIN)
    atoms.positions[1, 2] = 1e-4
    with pytest.raises(StructureError, match="same place"):
        found.graph(atoms)


@pytest.mark.parametrize("skin", [-0.1, float("nan"), float("inf"), "0.5", True, None])
def test_impossible_skin(skin):
    with pytest.raises(ArgumentError, match="skin"):
        find_neighbors(crystal(), CUTOFF, skin)
