"""Bad input: every case is refused with its argument, the reason and a remedy."""

import pathlib

import ase
import ase.build
import ase.io
import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator

from symjax.data import (
    GraphShape,
    bucket_shape,
    build_graph,
    cast_graph,
    check_structure,
    find_structure,
    pad_graph,
    read_structures,
    read_targets,
    rotate_graph,
)
from symjax.data.targets import check_name
from symjax.errors import ArgumentError, StructureError

WATER = ase.build.molecule("H2O")
GRAPH = build_graph(WATER, 3.0)
XYZ = "2\nenergy=1.0\nH 0.0 0.0 0.0\nH 0.0 0.0 0.7\n"


def _atoms(**changes):
    arguments = {"symbols": "H2", "positions": [[0, 0, 0], [0, 0, 0.7]]}
    return ase.Atoms(**{**arguments, **changes})


def _numbers(*numbers):
    return ase.Atoms(numbers=numbers, positions=3.0 * np.eye(len(numbers), 3))


def _periodic(cell, pbc=True):
    return ase.Atoms("He", cell=cell, pbc=pbc)


def _refused(call, error, argument, words):
    with pytest.raises(error) as caught:
        call()
    raised, message = caught.value, str(caught.value)
    # The class itself: a StructureError in place of an ArgumentError misleads.
    assert type(raised) is error
    assert raised.argument == argument
    assert message.startswith(f"{argument}=")
    assert words in message
    # A remedy tells what to do, and is the last sentence.
    assert len(raised.remedy.split()) >= 2
    assert message.endswith(f". {raised.remedy}.")
    assert ".." not in message.replace("...", "")


# name of the file, content (None: no file), keyword arguments, argument, words
FILES = {
    "missing": ("a.xyz", None, {}, "path", "does not exist"),
    "missing folder": ("no/such/a.xyz", None, {}, "path", "does not exist"),
    "directory": (".", None, {}, "path", "is not a file"),
    "empty": ("a.xyz", "", {}, "path", "is empty"),
    "blank": ("a.xyz", "\n\n", {}, "path", "has no structures"),
    "unknown format": ("a.nonsense", "hello", {}, "path", "does not recognize"),
    "no suffix": ("nonsense", "hello", {}, "path", "does not recognize"),
    "truncated": ("a.xyz", XYZ + XYZ[:24], {}, "path", "truncated"),
    "truncated within a line": ("a.xyz", XYZ[:-8], {}, "path", "truncated"),
    "no number of atoms": ("a.xyz", "H 0 0 0\n", {}, "path", "damaged"),
    "not a number": ("a.xyz", XYZ.replace("0.7", "zero"), {}, "path", "damaged"),
    "no element": ("a.xyz", XYZ.replace("H", "Qq"), {}, "path", "'Qq' in line 3"),
    "binary": ("a.traj", "not a trajectory", {}, "path", "damaged"),
    "blank line between": ("a.xyz", XYZ + "\n" + XYZ, {}, "path", "frame 0"),
    "wrong format": ("a.xyz", XYZ, {"format": "cif"}, "path", "no cif file"),
    "no such format": ("a.xyz", XYZ, {"format": "extxy"}, "format", "extxyz"),
    "format of wrong type": ("a.xyz", XYZ, {"format": 3}, "format", "not a format"),
    "index beyond": ("a.xyz", XYZ, {"index": 1}, "path", "no frames with index 1"),
    "index before": ("a.xyz", XYZ, {"index": -2}, "path", "no frames with index -2"),
    "slice beyond": ("a.xyz", XYZ, {"index": "5:"}, "path", "no frames with index"),
    "index of words": ("a.xyz", XYZ, {"index": "all"}, "index", "number or slice"),
    "index empty": ("a.xyz", XYZ, {"index": ""}, "index", "number or slice"),
    "index fractional": ("a.xyz", XYZ, {"index": 0.5}, "index", "number or slice"),
    "index boolean": ("a.xyz", XYZ, {"index": True}, "index", "number or slice"),
    "index of four": ("a.xyz", XYZ, {"index": "1:2:3:4"}, "index", "number or slice"),
    "step zero": ("a.xyz", XYZ, {"index": "::0"}, "index", "step 0"),
    "slice of words": ("a.xyz", XYZ, {"index": slice("a")}, "index", "integers"),
}


@pytest.mark.parametrize("case", FILES)
def test_files(tmp_path, case):
    name, content, options, argument, words = FILES[case]
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    error = StructureError if argument == "path" else ArgumentError
    _refused(lambda: read_structures(path, **options), error, argument, words)
    if path.exists():
        _refused(lambda: find_structure(path, **options), error, argument, words)


NAMES = {
    "other case": ("ch3ch2oh", "close: CH3CH2OH"),
    "digit for letter": ("H20", "H2O"),
    "trivial name": ("ethanol", "formulas such as CH3CH2OH"),
    "missing file": ("water.xzy", "close: water.xyz"),
    "missing folder": ("no/such/water.xyz", "does not exist"),
}


@pytest.mark.parametrize("case", NAMES)
def test_names(tmp_path, monkeypatch, case):
    monkeypatch.chdir(tmp_path)
    pathlib.Path("water.xyz").write_text(XYZ)
    name, words = NAMES[case]
    for both in ("neither a file", "nor a molecule", words):
        _refused(lambda: find_structure(name), StructureError, "name_or_path", both)


@pytest.mark.parametrize("value", ["", None, 3, WATER])
def test_paths(value):
    _refused(lambda: read_structures(value), ArgumentError, "path", "must be a path")
    _refused(
        lambda: find_structure(value), ArgumentError, "name_or_path", "must be a path"
    )


# structure, argument, words
STRUCTURES = {
    "no atoms": (ase.Atoms(), "atoms", "no atoms"),
    "NaN": (_atoms(positions=[[0, 0, 0], [0, np.nan, 1]]), "atoms.positions[1]", "fin"),
    "infinite": (
        _atoms(positions=[[np.inf, 0, 0], [0, 0, 1]]),
        "atoms.positions[0]",
        "",
    ),
    "far": (
        _atoms(positions=[[0, 0, 0], [0, 0, 2e6]]),
        "atoms.positions[1]",
        "farther",
    ),
    "same place": (_atoms(positions=np.ones((2, 3))), "atoms.positions", "0 and 1"),
    "closer than allowed": (
        _atoms(positions=[[0, 0, 0], [0, 0, 9e-4]]),
        "atoms.positions",
        "9.0e-04",
    ),
    "same place across the boundary": (
        _atoms(positions=[[0, 0, 0], [0, 0, 4]], cell=[4, 4, 4], pbc=True),
        "atoms.positions",
        "same place",
    ),
    "placeholder": (_numbers(1, 0), "atoms.numbers[1]", "placeholder"),
    "beyond the table": (_numbers(1, 119), "atoms.numbers[1]", "not an element"),
    "negative number": (_numbers(-1, 1), "atoms.numbers[0]", "not an element"),
    "no cell": (_periodic(None), "atoms.cell[0]", "no cell vector"),
    "no third vector": (_periodic([3, 3, 0]), "atoms.cell[2]", "direction 2"),
    "dependent vectors": (
        _periodic([[3, 0, 0], [0, 3, 0], [3, 3, 0]]),
        "atoms.cell",
        "singular",
    ),
    "parallel vectors of a slab": (
        _periodic([[3, 0, 0], [6, 0, 0], [0, 0, 3]], (1, 1, 0)),
        "atoms.cell",
        "singular",
    ),
    "NaN in cell": (_periodic([3, np.nan, 3]), "atoms.cell", "finite"),
    "tiny cell": (_periodic([3, 3, 5e-4]), "atoms.cell", "periodic image"),
    "skewed onto an image": (
        _periodic([[3, 0, 0], [3, 5e-4, 0], [0, 0, 3]]),
        "atoms.cell",
        "periodic image",
    ),
    "huge cell": (_periodic([3, 3, 2e6]), "atoms.cell[2]", "longer than 1e+06"),
    "charge fractional": (
        _atoms(info={"charge": 0.5}),
        "atoms.info['charge']",
        "integ",
    ),
    "charge in words": (
        _atoms(info={"charge": "one"}),
        "atoms.info['charge']",
        "integ",
    ),
    "charge boolean": (
        _atoms(info={"charge": True}),
        "atoms.info['charge']",
        "integer",
    ),
    "charge NaN": (_atoms(info={"charge": np.nan}), "atoms.info['charge']", "integer"),
    "charge huge": (_atoms(info={"charge": 10**400}), "atoms.info['charge']", "int32"),
    "charge beyond int32": (
        _atoms(info={"charge": 2**31}),
        "atoms.info['charge']",
        "32",
    ),
    "spin 2S": (
        _atoms(info={"spin_multiplicity": 0}),
        "atoms.info['spin_multiplicity']",
        "2S+1",
    ),
}


@pytest.mark.parametrize("case", STRUCTURES)
def test_structures(case):
    atoms, argument, words = STRUCTURES[case]
    _refused(lambda: check_structure(atoms), StructureError, argument, words)
    _refused(lambda: build_graph(atoms, 3.0), StructureError, argument, words)
    # In a list the message tells which one.
    argument = argument.replace("atoms", "structures[1]", 1)
    _refused(lambda: build_graph([WATER, atoms], 3.0), StructureError, argument, words)


KNOWN_SPECIES = {
    "empty": ([], "empty"),
    "string": ("HO", "sequence of integers"),
    "number": (8, "sequence of integers"),
    "symbols": (["H", "O"], "integers only"),
    "fractional": ([1.0, 8.0], "integers only"),
    "boolean": ([True], "integers only"),
    "nested": ([1, [8]], "integers only"),
    "zero": ([0, 1], "not an atomic number"),
    "too large": ([119], "not an atomic number"),
}


@pytest.mark.parametrize("case", KNOWN_SPECIES)
def test_known_species(case):
    known, words = KNOWN_SPECIES[case]
    for call in (
        lambda: check_structure(WATER, known),
        lambda: build_graph(WATER, 3.0, known_species=known),
    ):
        _refused(call, ArgumentError, "known_species", words)


def test_unknown_elements_are_named():
    for known, words in (
        [[1], "'O': the model does not know this element; it knows H"],
        [[6], "'H, O': the model does not know these elements"],
    ):
        _refused(
            lambda known=known: build_graph(WATER, 3.0, known_species=known),
            StructureError,
            "atoms.numbers",
            words,
        )


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
    _refused(lambda: build_graph(**arguments), ArgumentError, argument, words)


def test_too_many_edges_are_refused_before_they_are_made():
    # In nanometre: 4000 atoms, each with 30000 others within 5 "angstrom".
    silver = ase.build.bulk("Ag", cubic=True).repeat(10)
    silver.set_cell(silver.cell[:] / 10, scale_atoms=True)
    _refused(lambda: build_graph(silver, 5.0), StructureError, "atoms", "cutoff of 5.0")


GRAPHS = {
    "pad: atoms": (lambda: pad_graph(GRAPH, GraphShape(2, 2, 1)), "num_atoms"),
    "pad: neighbors": (lambda: pad_graph(GRAPH, GraphShape(3, 1, 1)), "num_neighbors"),
    "pad: structures": (
        lambda: pad_graph(GRAPH, GraphShape(3, 2, 0)),
        "num_structures",
    ),
    "pad: None": (lambda: pad_graph(GRAPH, GraphShape(None, 2, 1)), "num_atoms"),
    "bucket: negative": (lambda: bucket_shape(GraphShape(1, -1, 1)), "num_neighbors"),
    "bucket: float": (lambda: bucket_shape(GraphShape(1, 1, 1.5)), "num_structures"),
    "rotate: stack": (lambda: rotate_graph(GRAPH, np.ones((2, 3, 3))), "rotation"),
    "rotate: vector": (lambda: rotate_graph(GRAPH, np.ones(3)), "rotation"),
    "cast: integer": (lambda: cast_graph(GRAPH, int), "dtype"),
}


@pytest.mark.parametrize("case", GRAPHS)
def test_graphs(case):
    call, argument = GRAPHS[case]
    _refused(call, ArgumentError, argument, "")


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
        "says 'bohr', and is read as in angstrom",
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
    _refused(lambda: read_targets(structures, **options), error, argument, words)


def test_a_cell_vector_of_no_length_to_speak_of():
    """ASE's reduction of the lattice overflows for it (found by fuzzing)."""
    cell = [[0, 0, 5e-24], [1, 0, 1], [0, 1, 2]]
    atoms = ase.Atoms("H", cell=cell, pbc=True)
    with pytest.raises(StructureError, match=r"image 5\.0e-24"):
        check_structure(atoms)


@pytest.mark.parametrize("field", ["energy_Au_slab", "energy_MAPbI3_MA", "E_Pa", "DFT"])
def test_symbols_in_names_are_no_units(field):
    check_name("energy_key", field, "eV")
    check_name("forces_key", field, "eV", "angstrom")
