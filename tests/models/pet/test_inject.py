"""Biases put into a trained PET: nothing changes at first, and all of it can learn."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from biased_pet import TINY, rattled_methanol, without_biases
from pet_models import drawn

from symjax.errors import ModelError
from symjax.models.biases import Biases
from symjax.models.pet import PETConfig, predict
from symjax.models.pet.inject import inject_biases


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def graph():
    return rattled_methanol()


@pytest.fixture(scope="module")
def plain():
    return without_biases()


INJECTED = Biases(
    edge_harmonics=2, pseudotensors=0, token_layers="every", readout="sum"
)


@pytest.fixture(scope="module")
def repaired(plain):
    return inject_biases(plain, INJECTED, jax.random.key(1))


def test_predictions_stay_until_it_is_trained(graph, plain, repaired):
    before, after = predict(plain, graph), predict(repaired, graph)
    for name in before:
        np.testing.assert_allclose(after[name], before[name], atol=1e-12)
    assert repaired.card["biases"] == INJECTED.to_json()


def test_and_every_new_weight_can_learn(graph, plain, repaired):
    """From the second step on, the gradient reaches every new parameter."""

    def loss(network):
        parameters = {**repaired.parameters, "network": network}
        changed = dataclasses.replace(repaired, parameters=parameters)
        outputs = predict(changed, graph).values()
        return sum(jnp.sum((output - 1) ** 2) for output in outputs)

    network = jax.tree.map(np.asarray, repaired.parameters["network"])
    slope = jax.jit(jax.grad(loss))
    first = jax.tree.map(np.asarray, slope(network))
    # Short: a step that saturates the features leaves no gradient to see.
    step = 0.01 / max(np.abs(leaf).max() for leaf in jax.tree.leaves(first))
    once = jax.tree.map(lambda p, g: p - p.dtype.type(step) * g, network, first)
    old, new = set(names(plain.parameters["network"])), 0
    for name, leaf in names(jax.tree.map(np.asarray, slope(once))).items():
        if name not in old:
            new += 1
            assert np.abs(leaf).max() > 0, name
    assert new > 20


def test_a_bias_is_not_dropped():
    config = PETConfig(**TINY, biases=Biases(edge_harmonics=2))
    model = drawn(config)
    with pytest.raises(ModelError, match="lacks 2 parameters"):
        inject_biases(model, Biases(readout="sum"), jax.random.key(1))
    # The trained parameters would not fit into the network.
    with pytest.raises(ModelError, match=r"lacks 1 parameters.*angular"):
        inject_biases(model, Biases(edge_harmonics=3), jax.random.key(1))


def names(tree):
    """Leaves by the names of their paths."""
    flat = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path): leaf for path, leaf in flat}
