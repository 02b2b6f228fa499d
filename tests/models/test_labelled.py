"""Labels of structures beside the outputs of a PET: its zero, its uncertainty."""

import dataclasses

import ase.build
import ase.units
import jax
import numpy as np
import pytest
from ase.stress import full_3x3_to_voigt_6_stress

from symjax.data import LabelFields
from symjax.errors import ArgumentError, StructureError
from symjax.models.labelled import with_labels
from symjax.models.pet import PETConfig, Uncertainty, init_pet, orbit_problem, predict
from symjax.models.pet.graphs import pet_graph

CONFIG = PETConfig(
    species=(1, 8),
    d_pet=8,
    d_node=8,
    d_head=8,
    d_feedforward=8,
    num_heads=2,
    num_gnn_layers=1,
)


@pytest.fixture(scope="module")
def model():
    made = init_pet(CONFIG, jax.random.key(0))
    made.parameters["baseline"]["energy"]["scalar"] = np.array(
        [[-13.6], [-2041.0]], np.float32
    )
    # A trained model would have its own; features of nodes and of edges are read.
    sure = {"cholesky": np.eye(16, dtype=np.float32), "multiplier": np.ones(1)}
    return dataclasses.replace(
        made,
        config=dataclasses.replace(CONFIG, uncertainties=(Uncertainty("energy"),)),
        parameters={**made.parameters, "uncertainty": {"energy": sure}},
    )


def test_labels_lie_on_the_zero_of_the_model(model):
    """What the model predicts, baseline included, is a label without error."""
    water = ase.build.molecule("H2O")
    graph = pet_graph(CONFIG, water, dtype="float32")
    predicted = predict(model, graph, forces=True)
    unit = ase.units.kcal / ase.units.mol
    water.info["total"] = float(predicted["energy"][0]) / unit
    water.arrays["forces"] = np.asarray(predicted["forces"], float) / unit
    problem = orbit_problem(model, water, layers="none")
    fields = LabelFields({"energy": "total"}, energy_unit="kcal/mol")
    outputs = with_labels(water, problem, fields).outputs
    values = jax.jit(problem.function)(problem.x, *problem.args)
    # float32 holds 2,068 eV to 1e-4
    np.testing.assert_allclose(outputs["energy"].labels, values["energy"], atol=3e-4)
    np.testing.assert_allclose(outputs["forces"].labels, values["forces"], atol=1e-6)
    assert outputs["energy"].uncertainty == "energy_uncertainty"
    assert outputs["energy_uncertainty"].labels is None


def test_labels_of_stress(model):
    """In Voigt's order and any unit of energy and length, as training reads it."""
    water = ase.build.molecule("H2O")
    water.set_cell([5.0, 5.5, 6.0])
    water.pbc = True
    stress = np.array([[0.01, 0.002, 0.0], [0.002, -0.03, 0.004], [0.0, 0.004, 0.02]])
    factor = ase.units.Hartree / ase.units.Bohr**3
    water.info["dft_stress"] = full_3x3_to_voigt_6_stress(stress) / factor
    problem = orbit_problem(model, water, layers="none")
    fields = LabelFields({"stress": "dft_stress"}, "Hartree", "bohr")
    found = with_labels(water, problem, fields).outputs["stress"].labels
    np.testing.assert_allclose(found, stress[None], rtol=1e-6)
    water.pbc = (True, True, False)
    slab = orbit_problem(model, water, layers="none")
    found = with_labels(water, slab, fields).outputs["stress"].labels
    assert not found[0, 2].any()
    water.info["dft_stress"] = 1e3 * np.eye(3)
    with pytest.raises(StructureError, match="GPa"):
        with_labels(water, problem, fields)


def test_what_is_no_label_is_left_out_with_a_word(model):
    water = ase.build.molecule("H2O")
    water.info["energy"] = "unknown"
    water.info["stress"] = 100 * np.eye(3)  # no stress in eV/angstrom^3
    water.set_cell(5 * np.eye(3))
    water.pbc = True
    problem = orbit_problem(model, water, layers="none")
    assert "stress" in problem.outputs
    with pytest.warns(UserWarning, match="is not compared with labels") as given:
        found = with_labels(water, problem, LabelFields()).outputs
    said = sorted(str(one.message) for one in given)
    assert [text.split()[0] for text in said] == ["'energy'", "'stress'"]
    assert "unknown" in said[0]
    assert "GPa" in said[1]
    assert all(output.labels is None for output in found.values())
    with pytest.raises(ArgumentError, match="dft"):
        with_labels(water, problem, LabelFields({"energy": "dft"}))
    with pytest.raises(ArgumentError, match="energy_unit"):
        LabelFields(energy_unit="Rydbergs")
