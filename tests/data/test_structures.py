"""What the checks of structures refuse, and what they let pass."""

import ase
import ase.build
import ase.io
import numpy as np
import pytest
from refusals import refused

from symjax.data import (
    build_graph,
    check_structure,
    periodic_cell,
)
from symjax.errors import ArgumentError, StructureError

WATER = ase.build.molecule("H2O")


def _atoms(**changes):
    arguments = {"symbols": "H2", "positions": [[0, 0, 0], [0, 0, 0.7]]}
    return ase.Atoms(**{**arguments, **changes})


def _numbers(*numbers):
    return ase.Atoms(numbers=numbers, positions=3.0 * np.eye(len(numbers), 3))


def _periodic(cell, pbc=True):
    return ase.Atoms("He", cell=cell, pbc=pbc)


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
    refused(lambda: check_structure(atoms), StructureError, argument, words)
    refused(lambda: build_graph(atoms, 3.0), StructureError, argument, words)
    # In a list the message tells which one.
    argument = argument.replace("atoms", "structures[1]", 1)
    refused(lambda: build_graph([WATER, atoms], 3.0), StructureError, argument, words)


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
        refused(call, ArgumentError, "known_species", words)


def test_unknown_elements_are_named():
    for known, words in (
        [[1], "'O': the model does not know this element; it knows H"],
        [[6], "'H, O': the model does not know these elements"],
    ):
        refused(
            lambda known=known: build_graph(WATER, 3.0, known_species=known),
            StructureError,
            "atoms.numbers",
            words,
        )


def test_a_cell_vector_of_no_length_to_speak_of():
    """ASE's reduction of the lattice overflows for it (found by fuzzing)."""
    cell = [[0, 0, 5e-24], [1, 0, 1], [0, 1, 2]]
    atoms = ase.Atoms("H", cell=cell, pbc=True)
    with pytest.raises(StructureError, match=r"image 5\.0e-24"):
        check_structure(atoms)


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
