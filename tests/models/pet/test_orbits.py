"""PETs on the orbit: rotating the problem is rotating the structure."""

import ase.build
import jax
import numpy as np
import pytest
from pet_models import CONFIG, CUTOFF, TARGETS, copper, ethanol, model, roomy, run
from scipy.spatial.transform import Rotation

from symjax.data import build_graph, rotate_graph
from symjax.errors import ModelError, StructureError
from symjax.metrics import Grid, measure
from symjax.models.pet import orbit_problem, pet_graph, predict, select_layers
from symjax.models.pet.layers import distinct_layers
from symjax.so3 import quadrature


def test_selection():
    assert select_layers(CONFIG, "none") == ()
    assert select_layers(CONFIG, "all") == distinct_layers(CONFIG)
    chosen = select_layers(CONFIG, "node_heads.*, gnn_layers.0.compress")
    assert chosen[0] == "gnn_layers.0.compress"
    assert len(chosen) == 1 + len(TARGETS)


ADAPTIVE = {"num_neighbors_adaptive": 5.0, "targets": TARGETS[:1]}


@pytest.mark.parametrize("changes", [{}, ADAPTIVE], ids=["fixed", "adaptive"])
def test_function_is_the_model_on_rotated_structures(changes):
    """Rotating what the problem says equals rotating the atoms."""
    made, atoms = model(**changes), copper()
    layers = ("gnn_layers.0.compress", "node_heads.energy.0")
    problem = orbit_problem(made, atoms, layers=layers, dtype="float64")
    rotation = -Rotation.from_rotvec([0.3, -1, 2]).as_matrix()
    direct = jax.jit(problem.function)(problem.x @ rotation.T, *problem.args)
    atoms.set_cell(atoms.cell[:] @ rotation.T, scale_atoms=False)
    atoms.positions = atoms.positions @ rotation.T
    if changes:
        graph = pet_graph(made.config, atoms)
        whole = predict(made, graph, forces=True, stress=True, layers=layers)
    else:
        whole = run(roomy(atoms))
    assert np.abs(whole["stress"]).max() > 0
    for name in set(direct) - {"energy", "density/0+"}:
        # Of the real atoms and neighbors; others are padding.
        part = np.asarray(whole[name])[tuple(map(slice, direct[name].shape))]
        scale = np.abs(part).max()
        np.testing.assert_allclose(direct[name], part, atol=1e-10 * scale, err_msg=name)
    baseline = 4 * 4.0  # four atoms of the fourth species
    energy = np.asarray(whole["energy"])[:1] - baseline
    np.testing.assert_allclose(direct["energy"], energy, atol=1e-9)
    assert set(direct) == set(problem.outputs)


def test_measured_by_quadrature_and_by_hand():
    """Variance of the energy over the grid, against a plain loop over it."""
    problem = orbit_problem(
        model(), ethanol(), layers="none", outputs=["energy"], dtype="float64"
    )
    result = measure(problem, max_degree=1, over=Grid(3, on_aliasing="report"))
    rule = quadrature(3)
    elements = np.concatenate([rule.rotations, -rule.rotations])
    weights = np.concatenate([rule.weights, rule.weights]) / 2
    graph = roomy(ethanol())
    energies = np.array(
        [float(run(rotate_graph(graph, g))["energy"][0]) for g in elements]
    )
    mean = weights @ energies
    variance = weights @ (energies - mean) ** 2
    totals = result["energy"].totals()
    assert float(totals.variance.sum()) == pytest.approx(variance, rel=1e-9)


def test_same_function_for_every_structure():
    problems = [orbit_problem(model(), ethanol(seed)) for seed in range(2)]
    assert problems[0].function is problems[1].function


def test_edge_vectors_are_what_rotates():
    graph = build_graph(ethanol(), CUTOFF)
    problem = orbit_problem(model(), ethanol(), layers="none", dtype="float64")
    np.testing.assert_array_equal(problem.x, graph.vectors)


def test_samples_and_masks_under_an_adaptive_cutoff():
    made = model(cutoff=5.5, num_neighbors_adaptive=6.0)
    problem = orbit_problem(made, copper(), layers="gnn_layers.0.compress")
    seen = pet_graph(made.config, copper()).edge_mask
    np.testing.assert_array_equal(problem.outputs["gnn_layers.0.compress"].mask, seen)


def test_unknown_species():
    with pytest.raises(StructureError, match="does not know"):
        orbit_problem(model(), ase.build.molecule("NH3"))


def with_info(**info):
    atoms = ethanol()
    atoms.info.update(info)
    return atoms


BAD_CALLS = {
    "pattern": {"layers": "heads"},
    "no pattern": {"layers": "("},
    "output": {"outputs": ["charge"]},
    "stress of a molecule": {"outputs": ["stress"]},
}


@pytest.mark.parametrize("case", BAD_CALLS)
def test_bad_calls(case):
    with pytest.raises(ModelError) as caught:
        orbit_problem(model(), ethanol(), **BAD_CALLS[case])
    assert caught.value.remedy


@pytest.mark.parametrize("info", [{"charge": 99}, {"spin_multiplicity": 99}])
def test_conditions_that_a_model_does_not_know(info):
    (name,) = info
    with pytest.raises(ModelError, match=f"{name}=99") as caught:
        orbit_problem(model(system_conditioning=True), with_info(**info))
    assert caught.value.remedy
