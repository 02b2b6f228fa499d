"""Names of layers, and which of them say something new."""

import jax
import numpy as np
import pytest
from pet_models import CUTOFF, ethanol, model
from scipy.spatial.transform import Rotation

from symjax.data import build_graph, rotate_graph
from symjax.models.pet import layer_names, predict
from symjax.models.pet.layers import distinct_layers


@pytest.mark.parametrize("kind", ["feedforward", "residual"])
def test_distinct_layers_are_distinct_and_complete(kind):
    made = model(num_gnn_layers=2, featurizer_type=kind)
    names = layer_names(made.config)
    assert len(set(names)) == len(names)
    graph = build_graph(ethanol(), CUTOFF)
    turned = rotate_graph(graph, Rotation.from_rotvec([1, 2, 3]).as_matrix())
    out, other = (
        jax.tree.map(np.asarray, predict(made, g, layers=names))
        for g in (graph, turned)
    )
    assert all(out[name].shape[0] == 9 for name in names)
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
