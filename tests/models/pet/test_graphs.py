"""Graphs of the edges that a PET sees, and graphs that it refuses."""

import dataclasses

import jax
import numpy as np
import pytest
from pet_models import CONFIG, CUTOFF, copper, ethanol, model, roomy, run

from symjax.data import (
    GraphShape,
    build_graph,
    graph_shape,
    join_graphs,
    pad_graph,
)
from symjax.data.quantities import Target
from symjax.errors import ArgumentError
from symjax.models.pet import pet_graph, pet_inputs, predict
from symjax.models.pet.cutoff import adaptive_radii

ADAPTIVE = dataclasses.replace(CONFIG, cutoff=5.5, num_neighbors_adaptive=6.0)


def test_only_edges_that_the_model_sees_are_in_the_graph():
    """By its definition: pairs within the mean of both atoms' radii."""
    every = build_graph(copper(), 5.5)
    graph = pet_graph(ADAPTIVE, copper())
    radii = np.asarray(
        jax.jit(adaptive_radii, static_argnums=0)(
            ADAPTIVE, every.lengths, every.edge_mask, every.atom_mask
        )
    )
    within = (radii[:, None] + radii[every.neighbors]) / 2
    seen = every.edge_mask & (every.lengths <= within)
    assert 0 < seen.sum() < every.edge_mask.sum() / 2
    for name in ("neighbors", "shifts", "vectors", "lengths"):
        chosen = getattr(graph, name)[graph.edge_mask]
        np.testing.assert_array_equal(chosen, getattr(every, name)[seen])
        whole = getattr(graph.surroundings, name)
        np.testing.assert_array_equal(whole, getattr(every, name))
    back = graph.vectors.reshape(-1, 3)[graph.reverse]
    np.testing.assert_array_equal(back, -graph.vectors)
    np.testing.assert_array_equal(
        jax.jit(pet_inputs, static_argnums=0)(ADAPTIVE, graph).edge_mask,
        graph.edge_mask,
    )


def test_padding_and_joining_change_nothing():
    pair = [copper(), ethanol()]
    energy = (Target("energy", "eV"),)
    made = model(cutoff=5.5, num_neighbors_adaptive=6.0, targets=energy)
    parts = [pet_graph(ADAPTIVE, atoms) for atoms in pair]
    together = pet_graph(ADAPTIVE, pair)
    jax.tree.map(np.testing.assert_array_equal, join_graphs(parts), together)
    larger = GraphShape(*np.add(graph_shape(together), (2, 3, 1, 5)))
    one, other = (
        predict(made, graph, forces=True, stress=True)
        for graph in (together, pad_graph(together, larger))
    )
    for name, size in (("energy", 2), ("forces", 13), ("stress", 2)):
        np.testing.assert_allclose(
            other[name][:size], one[name][:size], atol=1e-11, err_msg=name
        )


def test_other_graphs_are_refused():
    every = build_graph(copper(), 5.5)
    with pytest.raises(ArgumentError, match=r"all pairs as edges.*pet_graph"):
        pet_inputs(ADAPTIVE, every)
    with pytest.raises(ArgumentError, match="has a selection of edges, but"):
        pet_inputs(CONFIG, pet_graph(ADAPTIVE, copper()))
    with pytest.raises(ArgumentError, match="must all have surroundings"):
        join_graphs([every, pet_graph(ADAPTIVE, copper())])


def test_a_graph_for_a_shorter_cutoff_is_refused():
    """Pairs that a model sees would be missing without a word; more do no harm."""
    shorter, longer = (build_graph(ethanol(), CUTOFF + by) for by in (-0.5, 0.5))
    with pytest.raises(ArgumentError, match="lacks pairs"):
        predict(model(), shorter)
    with pytest.raises(ArgumentError, match="lacks pairs"):
        jax.eval_shape(lambda graph: predict(model(), graph), shorter)
    joined = join_graphs([shorter, longer])
    assert (
        joined.cutoff == pad_graph(joined, graph_shape(joined)).cutoff == CUTOFF - 0.5
    )
    wider = run(roomy(ethanol(), CUTOFF + 0.5))["energy"][0]
    exact = run(roomy(ethanol()))["energy"][0]
    np.testing.assert_allclose(wider, exact, rtol=1e-12)
