"""Labels of structures beside the outputs of a PET: its zero, its uncertainty."""

import dataclasses

import ase.build
import ase.units
import jax
import numpy as np
import pytest

from symjax.data import LabelFields
from symjax.errors import ArgumentError
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


def test_what_is_no_label_is_left_out(model):
    water = ase.build.molecule("H2O")
    water.info["energy"] = "unknown"
    water.info["stress"] = np.eye(3)
    water.set_cell(5 * np.eye(3))
    water.pbc = True
    problem = orbit_problem(model, water, layers="none")
    assert "stress" in problem.outputs
    found = with_labels(water, problem, LabelFields()).outputs
    assert all(output.labels is None for output in found.values())
    with pytest.raises(ArgumentError, match="dft"):
        with_labels(water, problem, LabelFields({"energy": "dft"}))
    with pytest.raises(ArgumentError, match="energy_unit"):
        LabelFields(energy_unit="Rydbergs")
