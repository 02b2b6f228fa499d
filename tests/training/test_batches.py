"""Labels are read, and batches padded, as they should be."""

import dataclasses
import warnings

import ase.build
import jax
import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator
from hypothesis import given
from hypothesis import strategies as st
from water_runs import TARGETS, TINY, frames

from symjax.data import GraphShape, build_graph, join_graphs, pad_graph, read_values
from symjax.errors import ArgumentError, StructureError
from symjax.models.pet import PETConfig
from symjax.training.batches import check_labelled, collate, prepare_data
from symjax.training.fitted import labels_of
from symjax.training.sections import TargetSection

SECTIONS = {name: TargetSection(**section) for name, section in TARGETS.items()}
SPECIES = (1, 7, 8)
CONFIG = PETConfig(
    SPECIES, tuple(s.target(name) for name, s in SECTIONS.items()), **TINY
)
NAMES = ("H2O", "NH3", "CH4", "H2", "CO2", "O")


@pytest.fixture(scope="module")
def data():
    return prepare_data(frames(), SECTIONS, CONFIG)


@given(
    st.lists(st.sampled_from(NAMES), min_size=1, max_size=5),
    st.integers(0, 3),
    st.integers(0, 2),
)
def test_joined_graphs_are_those_built_together(names, atoms, structures):
    molecules = [ase.build.molecule(name) for name in names]
    together = build_graph(molecules, 4.5)
    shape = GraphShape(
        together.positions.shape[0] + atoms,
        together.neighbors.shape[1] + 1,
        len(names) + structures,
    )
    expected = pad_graph(together, shape)
    joined = join_graphs([build_graph(m, 4.5) for m in molecules], shape)
    jax.tree.map(np.testing.assert_array_equal, joined, expected)


def test_bad_joins_are_refused():
    water = build_graph(ase.build.molecule("H2O"), 4.5)
    with pytest.raises(ArgumentError, match="is empty"):
        join_graphs([])
    with pytest.raises(ArgumentError, match="num_atoms=5: is too small"):
        join_graphs([water, water], GraphShape(5, 2, 2))
    padded = build_graph(ase.build.molecule("H2O"), 4.5, num_atoms=4)
    with pytest.raises(ArgumentError, match="padding atoms"):
        join_graphs([padded])


def test_labels_have_units_and_shapes(data):
    made = frames()
    assert data.values["energy"][1] == made[1].info["energy"]
    assert data.values["forces"][0].shape == (3, 3, 1)
    # components first, copies last
    shielding = made[0].arrays["shielding"].reshape(3, 5, 2)
    np.testing.assert_array_equal(data.values["shielding"][0], shielding)
    section = {"energy_unit": "Hartree", "length_unit": "bohr", "forces": "forces"}
    other = {"energy": TargetSection(**section)}
    converted = prepare_data(made, other, PETConfig(SPECIES))
    hartree, bohr = 27.211386, 0.529177
    np.testing.assert_allclose(
        converted.values["energy"][0], hartree * data.values["energy"][0], rtol=1e-6
    )
    np.testing.assert_allclose(
        converted.values["forces"][0],
        hartree / bohr * data.values["forces"][0],
        rtol=1e-6,
    )


def test_stress_is_read_as_matrix_or_in_voigts_order():
    crystal = ase.build.bulk("Cu", cubic=True)
    section = TargetSection(energy_unit="eV", stress="stress")
    matrix = 0.01 * np.array([[1.0, 6, 5], [6, 2, 4], [5, 4, 3]])
    found = []
    for stress in (matrix, matrix.ravel(), 0.01 * np.arange(1.0, 7)):
        crystal.info.update(energy=0.0, stress=stress)
        found.append(prepare_data([crystal], {"energy": section}, PETConfig((29,))))
    for data in found:
        np.testing.assert_array_equal(data.values["stress"][0][0, ..., 0], matrix)
    del crystal.info["stress"]
    with pytest.raises(ArgumentError, match=r"structures\[0\] has no such entry"):
        prepare_data([crystal], {"energy": section}, PETConfig((29,)))


def test_values_that_cannot_be_labels_are_refused():
    water = ase.build.molecule("H2O")
    water.info["dipole_moment"] = [0.0, np.nan, 1.0]
    with pytest.raises(StructureError, match="must be finite"):
        read_values([water], "dipole_moment", (3,))
    (value,) = read_values([water], "dipole_moment", (3, 1), allow_missing=True)
    assert value.shape == (3, 1)
    with pytest.raises(StructureError, match="instead of"):
        read_values([water], "dipole_moment", (5,))
    with pytest.raises(ArgumentError, match="has no such entry"):
        read_values([water], "dipole_moment", (3,), per_atom=True)


@pytest.mark.parametrize(
    ("shape", "per_atom"), [((3, 5), True), ((15,), True), ((2, 5), False)]
)
def test_values_of_another_layout_are_refused(shape, per_atom):
    """As many numbers as there should be, which would go to other atoms or copies."""
    methane = ase.build.molecule("CH4")
    methane.calc = SinglePointCalculator(methane, forces=np.zeros((5, 3)))
    methane.calc.results["forces"] = methane.info["forces"] = np.zeros(shape)
    wanted = (3,) if per_atom else (5, 2)
    with pytest.raises(StructureError, match="instead of"):
        read_values([methane], "forces", wanted, per_atom=per_atom)


def test_fields_in_another_unit_by_their_name():
    (made,) = frames(1)
    made.info["dipole_debye"] = made.info["dipole_moment"]
    section = {**TARGETS["dipole_moment"], "field": "dipole_debye"}
    config = PETConfig(SPECIES, (SECTIONS["dipole_moment"].target("dipole_moment"),))
    with pytest.raises(ArgumentError, match=r"targets\.dipole_moment\.field.*'debye'"):
        prepare_data([made], {"dipole_moment": TargetSection(**section)}, config)
    section["unit"] = "Debye"
    prepare_data([made], {"dipole_moment": TargetSection(**section)}, config)


def test_species_without_labels_are_warned_of(data):
    (label, *_) = labels_of(SECTIONS, CONFIG)
    silent = dataclasses.replace(data, values={**data.values})
    silent.values["energy"] = [
        np.full((1, 1), np.nan) if 7 in graph.species else np.zeros((1, 1))
        for graph in data.graphs
    ]
    with pytest.warns(UserWarning, match=r"targets\.energy: .*numbers \[7\]"):
        check_labelled([label], silent, {1, 7, 8})
    silent.values["energy"] = [np.full((1, 1), np.nan) for _ in data.graphs]
    with pytest.raises(StructureError, match=r"targets\.energy=.*none of those"):
        check_labelled([label], silent, {1, 7, 8})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_labelled(labels_of(SECTIONS, CONFIG), data, {1, 7, 8})


def test_batches_hold_labels_and_say_what_is_padding(data):
    labels = labels_of(SECTIONS, CONFIG)
    batch = collate(labels, data, [1, 0], GraphShape(9, 4, 3))
    assert batch.known["forces"].sum() == 3 * 7
    assert not batch.known["energy"][2]
    np.testing.assert_allclose(batch.values["forces"][:4], data.values["forces"][1])
    np.testing.assert_allclose(
        batch.values["shielding"][4:7], data.values["shielding"][0]
    )
    assert batch.graph.positions.dtype == batch.values["energy"].dtype == np.float32


def test_edge_vectors_of_batches(fitted):
    _, data, labels, _ = fitted
    batch = collate(labels, data, [0, 1], GraphShape(8, 4, 3), np.float64)
    np.testing.assert_array_equal(batch.graph.vectors[3:7, :3], data.graphs[1].vectors)
