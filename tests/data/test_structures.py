"""Reading structures and targets, and what the checks let pass."""

import pathlib

import ase
import ase.build
import ase.io
import ase.units
import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator

from symjax.data import (
    build_graph,
    check_structure,
    find_structure,
    periodic_cell,
    read_structures,
    read_targets,
)


@pytest.fixture
def trajectory(tmp_path):
    """Six frames of one to six helium atoms, so that a frame tells its number."""
    path = tmp_path / "frames.xyz"
    ase.io.write(path, [ase.Atoms(f"He{n}", np.eye(6, 3)[:n] + n) for n in range(1, 7)])
    return path


INDICES = [":", 0, "0", -1, "-2", "2:", ":3", "1:5:2", "-3:", "::-1", slice(4), "4:-1"]


@pytest.mark.parametrize("index", INDICES)
def test_index_selects_as_python_does(trajectory, index):
    frames = read_structures(trajectory, index=index)
    if isinstance(index, str) and ":" in index:
        parts = [int(part) if part else None for part in index.split(":")]
        expected = list(range(6))[slice(*parts)]
    elif isinstance(index, slice):
        expected = list(range(6))[index]
    else:
        expected = [list(range(6))[int(index)]]
    assert [len(atoms) - 1 for atoms in frames] == expected
    labels = [f"frames.xyz:{k}" for k in expected]
    assert list(find_structure(trajectory, index=index)) == labels


@pytest.mark.parametrize("name", ["a.cif", "POSCAR", "a.traj", "a.json", "a.xyz.gz"])
def test_formats(tmp_path, name):
    copper = ase.build.bulk("Cu", cubic=True)
    ase.io.write(tmp_path / name, copper)
    (atoms,) = read_structures(tmp_path / name)
    # POSCAR and CIF store decimals, at least 8 of them.
    np.testing.assert_allclose(atoms.positions, copper.positions, atol=1e-6)
    assert atoms.pbc.all()
    assert list(find_structure(tmp_path / name)) == [f"{name}:0"]


@pytest.mark.parametrize("name", ["run@3.xyz", "postgres.xyz", "H2O"])
def test_awkward_file_names(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    ase.io.write(name, ase.Atoms("He"), format="extxyz")
    # The last one is a molecule's name too: the file goes first.
    assert list(find_structure(name)) == [f"{name}:0"]
    assert len(read_structures(name)) == 1


def test_molecules_by_name():
    ((label, atoms),) = find_structure("CH3CH2OH").items()
    assert label == "CH3CH2OH"
    assert str(atoms.symbols) == str(ase.build.molecule("CH3CH2OH").symbols)
    assert len(find_structure("C60")["C60"]) == 60


def test_format_overrides_the_name(tmp_path):
    path = tmp_path / "frames.dat"
    ase.io.write(path, ase.Atoms("He2", [[0, 0, 0], [0, 0, 3]]), format="extxyz")
    assert len(read_structures(path, format="extxyz")[0]) == 2


ACCEPTED = {
    "numpy integer species": (ase.Atoms("He"), np.array([1, 2])),
    "vacuum direction without cell": (
        ase.Atoms("He", cell=[3, 3, 0], pbc=(1, 1, 0)),
        None,
    ),
    "left-handed": (ase.Atoms("He", cell=-3 * np.eye(3), pbc=True), None),
    "acute": (ase.Atoms("He", cell=[[3, 0, 0], [3, 1, 0], [0, 0, 3]], pbc=True), None),
    "far outside": (ase.Atoms("He", [[900, 0, -900]], cell=[3, 3, 3], pbc=True), None),
    "integer written as a float": (ase.Atoms("He", info={"charge": 2.0}), None),
    "close but apart": (ase.Atoms("H2", [[0, 0, 0], [0, 0, 2e-3]]), None),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_unusual_structures_pass(name):
    atoms, known_species = ACCEPTED[name]
    check_structure(atoms, known_species)
    build_graph(atoms, 3.0, known_species=known_species)


def test_periodic_cell_is_a_copy():
    atoms = ase.Atoms("He", cell=[3, 4, 5], pbc=(1, 0, 1))
    cell = periodic_cell(atoms)
    np.testing.assert_array_equal(cell, np.diag([3.0, 0.0, 5.0]))
    cell[:] = 0
    assert atoms.cell[0, 0] == 3


# One hartree and one bohr in eV and angstrom, and the thermochemical calorie: CODATA
# 2018 and NIST, apart from ase.units, which is of an earlier adjustment (1e-8).
ENERGIES = {
    "eV": 1.0,
    "kcal/mol": 27.211386246 / 627.509474,
    "kJ/mol": 27.211386246 / 2625.4996395,
    "Hartree": 27.211386246,
}
LENGTHS = {"angstrom": 1.0, "bohr": 0.529177210903}


@pytest.mark.parametrize("energy_unit", ENERGIES)
@pytest.mark.parametrize("length_unit", LENGTHS)
def test_units(energy_unit, length_unit):
    atoms = ase.build.molecule("H2")
    atoms.info["E"], atoms.arrays["F"] = -2.0, np.arange(6.0).reshape(2, 3)
    for spelled in (energy_unit, energy_unit.upper(), energy_unit.lower()):
        energies, forces = read_targets([atoms] * 2, "E", "F", spelled, length_unit)
        assert energies.dtype == forces.dtype == np.float64
        energy, length = ENERGIES[energy_unit], LENGTHS[length_unit]
        np.testing.assert_allclose(energies, [-2 * energy] * 2, rtol=1e-7)
        single = np.arange(6.0).reshape(2, 3) * energy / length
        np.testing.assert_allclose(forces, np.concatenate([single] * 2), rtol=1e-7)


def test_targets_from_calculator_or_file(tmp_path):
    atoms = ase.build.molecule("H2")
    forces = np.array([[0, 0, 1.5], [0, 0, -1.5]])
    atoms.calc = SinglePointCalculator(atoms, energy=-31.0, forces=forces)
    ase.io.write(tmp_path / "h2.xyz", atoms)
    for source in ([atoms], read_structures(tmp_path / "h2.xyz")):
        targets = read_targets(source)
        assert targets.energies.tolist() == [-31.0]
        np.testing.assert_array_equal(targets.forces, forces)
    assert read_targets(atoms, energy_key=None).energies is None
    assert read_targets(atoms, forces_key=None).forces is None


def test_stored_entries_go_before_the_calculator():
    atoms = ase.build.molecule("H2")
    atoms.calc = SinglePointCalculator(atoms, energy=-31.0)
    atoms.info["energy"] = -32.0
    assert read_targets(atoms, forces_key=None).energies.tolist() == [-32.0]


def test_ethanol(shared):
    path: pathlib.Path = shared / "data" / "ethanol_reduced_100.xyz"
    structures = read_structures(path)
    energies, forces = read_targets(structures, energy_unit="kcal/mol")
    assert energies.shape == (100,)
    assert forces.shape == (900, 3)
    # The total energy of ethanol is close to -154.7 hartree in the unit that the
    # file is in, and in no other.
    np.testing.assert_allclose(energies / 27.211386246, -154.7, atol=0.1)
    # No net force on a molecule in vacuum; the file's numbers are that consistent.
    assert np.abs(forces.reshape(100, 9, 3).sum(axis=1)).max() < 1e-2
    graph = build_graph(structures, 4.5)
    assert graph.positions.shape == forces.shape
