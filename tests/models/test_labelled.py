"""Labels beside outputs: on the zero of a PET, with its uncertainty, of classes."""

import dataclasses

import ase.build
import ase.units
import jax
import numpy as np
import pytest
from pet_models import drawn
from small_models import TINY, drawn_pointmae

from symjax.data import LabelFields
from symjax.data.point_clouds import SMALL, generate_event, select_points
from symjax.models.labelled import with_labels
from symjax.models.pet import PETConfig, Uncertainty, orbit_problem, predict
from symjax.models.pet.graphs import pet_graph
from symjax.models.pointmae import event_problem

CONFIG = PETConfig(species=(1, 8), **TINY)


@pytest.fixture(scope="module")
def model():
    made = drawn(CONFIG)
    made.parameters["baseline"]["energy"]["scalar"] = np.array(
        [[-13.6], [-2041.0]], np.float32
    )
    # A trained model would have its own; features of nodes and of edges are read.
    sure = {"cholesky": np.eye(8, dtype=np.float32), "multiplier": np.ones(1)}
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


def test_what_is_no_label_is_left_out_with_a_word(model):
    water = ase.build.molecule("H2O")
    water.info["energy"] = "unknown"
    water.info["stress"] = np.diag([0.01, 0.0, 0.02])
    water.set_cell(5 * np.eye(3))
    water.pbc = True
    problem = orbit_problem(model, water, layers="none")
    with pytest.warns(UserWarning, match=r"'energy' is not compared.*unknown"):
        found = with_labels(water, problem, LabelFields()).outputs
    assert [name for name in found if found[name].labels is not None] == ["stress"]
    np.testing.assert_allclose(found["stress"].labels[0], water.info["stress"])


def test_events_have_labels_of_their_classes():
    """1 for the class of a point, 0 for others; unknown for a class beyond those."""
    cloud = select_points(generate_event(12, SMALL))
    cloud = cloud._replace(semantic=np.arange(len(cloud.mask)) % 6 - 1)
    problem = event_problem(drawn_pointmae(), cloud, layers="none")
    labels = with_labels(cloud, problem, LabelFields()).outputs["class_probabilities"]
    rows, truth = labels.labels, np.asarray(cloud.semantic)[np.asarray(cloud.mask)]
    known = (truth >= 0) & (truth < 4)
    np.testing.assert_array_equal(rows[known], np.eye(4)[truth[known]])
    assert np.isnan(rows[~known]).all()
    assert known.any()
    assert not known.all()
