"""Names of layers, and which of them say something new."""

import jax
import numpy as np
import pytest
from pet_models import CONFIG, CUTOFF, ethanol, model, run
from scipy.spatial.transform import Rotation

from symjax.data import build_graph, rotate_graph
from symjax.models.pet import layer_names, predict
from symjax.models.pet.layers import distinct_layers


def test_names_are_those_of_the_features():
    names = layer_names(CONFIG)
    out = run(build_graph(ethanol(), CUTOFF))
    assert set(names) <= set(out)
    assert len(set(names)) == len(names)
    for name in names:
        assert out[name].shape[0] == 9


@pytest.mark.parametrize("kind", ["feedforward", "residual"])
def test_distinct_layers_are_distinct_and_complete(kind):
    made = model() if kind == "feedforward" else model(featurizer_type=kind)
    names = layer_names(made.config)
    graph = build_graph(ethanol(), CUTOFF)
    turned = rotate_graph(graph, Rotation.from_rotvec([1, 2, 3]).as_matrix())

    def features(graph):
        if kind == "feedforward":
            return run(graph)
        return predict(made, graph, layers=names)

    out, other = (jax.tree.map(np.asarray, features(g)) for g in (graph, turned))
    chosen = distinct_layers(made.config)
    for i, name in enumerate(chosen):
        assert np.abs(out[name] - other[name]).max() > 1e-6, name
        for later in chosen[i + 1 :]:
            same = out[name].shape == out[later].shape
            assert not (same and np.array_equal(out[name], out[later])), name
    for name in set(names) - set(chosen):
        constant = np.abs(out[name] - other[name]).max() < 1e-12
        repeats = any(
            out[name].shape == out[known].shape
            and np.array_equal(out[name], out[known])
            for known in chosen
        )
        assert constant or repeats, name
