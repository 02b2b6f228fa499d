"""Labels as they are read: units, sources, and refusals."""

import pathlib

import ase
import ase.build
import ase.io
import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator
from refusals import refused

from symjax.data import (
    build_graph,
    read_structures,
    read_targets,
    read_values,
)
from symjax.data.targets import check_name
from symjax.errors import ArgumentError, StructureError

WATER = ase.build.molecule("H2O")


def _atoms(**changes):
    arguments = {"symbols": "H2", "positions": [[0, 0, 0], [0, 0, 0.7]]}
    return ase.Atoms(**{**arguments, **changes})


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


def _labelled(energy=-1.0, forces=((0, 0, 1), (0, 0, -1))):
    atoms = _atoms(info={"energy": energy})
    atoms.arrays["forces"] = np.asarray(forces)
    return atoms


def _outdated():
    atoms = _atoms()
    atoms.calc = SinglePointCalculator(atoms, energy=-1.0)
    atoms.rotate(90, "x")
    return atoms


GOOD = _labelled()
# structures, keyword arguments, error, argument, words
TARGETS = {
    "no energy": ([GOOD, WATER], {}, ArgumentError, "energy_key", "structures[1]"),
    "other energy": (
        GOOD,
        {"energy_key": "U0"},
        ArgumentError,
        "energy_key",
        "'energy'",
    ),
    "no forces": (GOOD, {"forces_key": "f"}, ArgumentError, "forces_key", "'forces'"),
    "energy unit": (
        GOOD,
        {"energy_unit": "kcal"},
        ArgumentError,
        "energy_unit",
        "kcal/mol",
    ),
    "no unit": (GOOD, {"energy_unit": None}, ArgumentError, "energy_unit", "Hartree"),
    "length unit": (GOOD, {"length_unit": "eV"}, ArgumentError, "length_unit", "bohr"),
    "path": ("a.xyz", {}, ArgumentError, "structures", "read_structures"),
    "nothing": ([], {}, ArgumentError, "structures", "empty"),
    "list of paths": (["a.xyz"], {}, ArgumentError, "structures[0]", "str"),
    "energy NaN": (
        [GOOD, _labelled(np.nan)],
        {},
        StructureError,
        "structures[1]['energy']",
        "finite",
    ),
    "energy of words": (
        _labelled("low"),
        {},
        StructureError,
        "structures[0]['energy']",
        "numeric",
    ),
    "energy of atoms": (
        _labelled([1.0, 2.0]),
        {},
        StructureError,
        "structures[0]['energy']",
        "shape (2,)",
    ),
    "forces infinite": (
        _labelled(forces=[[0, 0, np.inf], [0, 0, 0]]),
        {},
        StructureError,
        "structures[0]['forces']",
        "inf",
    ),
    "forces of two columns": (
        _labelled(forces=[[0, 1], [0, -1]]),
        {},
        StructureError,
        "structures[0]['forces']",
        "instead of (2, 3)",
    ),
    "energy per atom by its name": (
        _labelled(),
        {"energy_key": "energy_per_atom"},
        ArgumentError,
        "energy_key",
        "of the whole structure",
    ),
    "forces of another unit by their name": (
        _labelled(),
        {"forces_key": "forces_ha_bohr", "energy_unit": "Hartree"},
        ArgumentError,
        "forces_key",
        "says 'bohr', but is read in angstrom",
    ),
    "a gradient by its name": (
        _labelled(),
        {"forces_key": "dft_gradients"},
        ArgumentError,
        "forces_key",
        "minus the forces",
    ),
    "geometry changed": (
        _outdated(),
        {"forces_key": None},
        StructureError,
        "structures[0].calc.results['energy']",
        "positions changed",
    ),
}


@pytest.mark.parametrize("case", TARGETS)
def test_targets(case):
    structures, options, error, argument, words = TARGETS[case]
    refused(lambda: read_targets(structures, **options), error, argument, words)


@pytest.mark.parametrize("field", ["energy_Au_slab", "energy_MAPbI3_MA", "E_Pa", "DFT"])
def test_symbols_in_names_are_no_units(field):
    check_name("energy_key", field, "eV")
    check_name("forces_key", field, "eV", "angstrom")


def test_absent_keys_are_missing_values():
    frames = [_atoms(info={"dipole": [0.0, 0.0, 1.0]}), _atoms()]
    _, unknown = read_values(frames, "dipole", (3,), allow_missing=True)
    assert np.isnan(unknown).all()
    with pytest.raises(ArgumentError, match="no such entry"):
        read_values(frames, "dipole", (3,))
    with pytest.raises(ArgumentError, match="no such entry"):
        read_values(frames, "dipoles", (3,), allow_missing=True)
