"""Errors on validation data are those of predictions, structure by structure."""

import dataclasses

import jax
import numpy as np
from water_runs import TARGETS

from symjax.data import GraphShape, pad_graph
from symjax.models.pet import predict
from symjax.training import parse_run
from symjax.training.validation import validation_errors


def test_validation_measures_predictions(fitted):
    """Against symjax.models.pet.predict, structure by structure."""
    model, data, labels, size = fitted
    run = parse_run(
        {
            "steps": 1,
            "data": {"training": "frames.xyz"},
            "targets": TARGETS,
            "batch": {"max_structures": 3, "max_atoms": 12},
        }
    )
    errors = validation_errors(model.config, labels, model.parameters, data, size, run)
    squares = {"energy": [], "forces": [], "dipole_moment": [], "shielding": []}
    zero = jax.tree.map(np.zeros_like, model.parameters["baseline"])
    free = dataclasses.replace(model, parameters={**model.parameters, "baseline": zero})
    apply = jax.jit(lambda graph: predict(free, graph, forces=True))
    for index, graph in enumerate(data.graphs):
        # Of one shape, which is compiled once.
        outputs = apply(pad_graph(graph, GraphShape(4, 3, 1)))
        atoms = len(graph.species)
        for name, rows in squares.items():
            known = data.values[name][index]
            found = np.asarray(outputs[name])[: len(known)]
            difference = found.ravel() - known.ravel()
            rows.append((difference / (atoms if name == "energy" else 1)) ** 2)
    for name, rows in squares.items():
        expected = np.sqrt(np.mean(np.concatenate(rows)))
        np.testing.assert_allclose(errors[f"{name}_rmse"], expected, rtol=1e-4)
