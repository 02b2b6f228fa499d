"""Forces and stress are the derivatives of the energy, of every kind of cutoff."""

import ase
import jax
import numpy as np
import pytest
from displaced import displaced
from pet_models import CUTOFF, copper, ethanol, model, roomy, run

from symjax.data import GraphShape, build_graph, graph_shape
from symjax.data.quantities import Target
from symjax.models.pet import Evaluation, evaluate, pet_graph, predict

ENERGY = {"targets": (Target("energy", "eV"),)}
ADAPTIVE = {"num_neighbors_adaptive": 5.0, **ENERGY}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        ADAPTIVE,
        {"adaptive_cutoff_method": "grid", **ADAPTIVE},
        {
            "cutoff_function": "Cosine",
            "zbl": True,
            "featurizer_type": "residual",
            "num_gnn_layers": 2,
            **ENERGY,
        },
    ],
    ids=["fixed", "solver", "grid", "zbl"],
)
def test_forces_and_stress_by_differences(changes):
    """Central differences along one random direction; error h^2, 1e-10 / h."""
    made, atoms = model(**changes), copper()

    def evaluated(atoms):
        if not changes:
            return run(roomy(atoms))
        graph = pet_graph(made.config, atoms, shape=shape)
        return predict(made, graph, forces=True, stress=True)

    rng = np.random.default_rng(0)
    direction, strain = rng.normal(size=(4, 3)), rng.normal(size=(3, 3))
    # One size, with room for neighbors that come within an adaptive cutoff.
    shape = graph_shape(pet_graph(made.config, atoms))
    shape = GraphShape(*np.add(shape, (0, 4, 0, 4 if shape.num_surroundings else 0)))
    out, step = evaluated(atoms), 1e-4

    def moved(sign):
        copy = atoms.copy()
        copy.positions += sign * step * direction
        return float(evaluated(copy)["energy"][0])

    def strained(sign):
        copy = atoms.copy()
        gradient = np.eye(3) + sign * step * strain
        copy.set_cell(copy.cell[:] @ gradient, scale_atoms=False)
        copy.positions = copy.positions @ gradient
        return float(evaluated(copy)["energy"][0])

    slope = -(moved(1) - moved(-1)) / (2 * step)
    along = float((out["forces"][:4] * direction).sum())
    assert slope == pytest.approx(along, rel=1e-4)
    work = (strained(1) - strained(-1)) / (2 * step) / atoms.get_volume()
    assert work == pytest.approx(float((out["stress"][0] * strain).sum()), rel=1e-4)


def test_isolated_atoms_have_finite_predictions():
    atoms = ase.Atoms("OHC", [[0, 0, 0], [0, 0, 0.97], [40, 0, 0]])
    out = run(roomy(atoms))
    assert np.isfinite(out["forces"]).all()
    assert not np.asarray(out["forces"])[2].any()


def test_numpy_graphs_and_parameters_may_be_closed_over():
    graph = build_graph(ethanol(), CUTOFF)
    made = model(**ENERGY)

    @jax.jit
    @jax.value_and_grad
    def energy(positions):
        moved = displaced(graph, positions)
        return evaluate(Evaluation(made.config), made.parameters, moved)["energy"][0]

    positions, step = np.asarray(graph.positions), 1e-4
    direction = np.random.default_rng(0).normal(size=positions.shape)
    ends = [energy(positions + sign * step * direction)[0] for sign in (1, -1)]
    slope = float(ends[0] - ends[1]) / (2 * step)
    gradient = np.asarray(energy(positions)[1])
    assert slope == pytest.approx(np.sum(gradient * direction), rel=1e-4)
