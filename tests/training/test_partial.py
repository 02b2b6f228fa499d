"""Parts of a network by name: what is named is trained, the rest stays to the bit."""

import flax.traverse_util
import numpy as np
import pytest

from symjax.errors import ArgumentError, ModelError
from symjax.models import load_model
from symjax.models.pet import layer_names
from symjax.training import parse_run
from symjax.training.partial import choose_parameters, remaining_network, whole_network


@pytest.fixture(scope="module")
def model():
    return load_model("pet-ethanol")


def chosen(model, *patterns):
    found = choose_parameters(model.config, model.parameters["network"], patterns)
    return {"/".join(path) for path in flax.traverse_util.flatten_dict(found)}


def test_every_layer_with_parameters_can_be_named(model):
    """Names of layers, as reports and traces have them, are names of modules."""
    network = model.parameters["network"]
    without = ("gnn_layers_post_mp", "node_backbone", "edge_backbone")
    for name in layer_names(model.config):
        if name.startswith(without):
            with pytest.raises(ModelError, match="no module with parameters"):
                choose_parameters(model.config, network, [name])
        else:
            assert chosen(model, name), name


def test_modules_and_patterns(model):
    every = chosen(model, ".*")
    assert len(every) == len(
        flax.traverse_util.flatten_dict(model.parameters["network"])
    )
    last = chosen(model, "gnn_layers.1")
    assert last == {path for path in every if path.startswith("gnn_layers_1/")}
    one = chosen(model, "gnn_layers.1.trans.layers.0_edge")
    assert one == chosen(model, "gnn_layers.1.trans.layers.0")
    assert one < last
    heads = chosen(model, "node_heads.energy.0", "edge_last_layers.*")
    assert {path.split("/")[1] for path in heads} == {
        "node_heads_0",
        "edge_last_layers_0_0",
    }
    bias = chosen(model, r".*\.mlp\.w_in\.bias")
    assert bias
    assert all(path.endswith("mlp/w_in/bias") for path in bias)


def test_the_rest_is_put_back(model):
    network = model.parameters["network"]
    part = choose_parameters(model.config, network, ["node_heads.*"])
    rest = remaining_network(network, part)
    whole, *parts = map(flax.traverse_util.flatten_dict, (network, part, rest))
    assert sorted([*parts[0], *parts[1]]) == sorted(whole)
    again = flax.traverse_util.flatten_dict(whole_network(rest, part))
    assert again.keys() == whole.keys()
    for path in whole:
        np.testing.assert_array_equal(whole[path], again[path])


def test_bad_names(model):
    network = model.parameters["network"]
    with pytest.raises(ModelError, match=r"model.trainable='nope'.*gnn_layers.0") as e:
        choose_parameters(model.config, network, ["nope"])
    assert "kernel" not in str(e.value)
    run = {"steps": 1, "data": {"training": "a.xyz"}, "targets": {"e": {}}}
    with pytest.raises(ArgumentError, match="trainable is about an initial model"):
        parse_run({**run, "model": {"trainable": ["gnn_layers.0"]}})
    for penalty, match in (
        ({"sectors": ["2+"]}, "name layers too"),
        ({"layers": ["a"], "sectors": ["0+"]}, "is the invariant part"),
        ({"layers": ["a"], "sectors": ["two"]}, "is not the label of an irrep"),
    ):
        with pytest.raises(ArgumentError, match=match):
            parse_run({**run, "penalty": penalty})
    turned = {"augmentation": "SO(3)", "penalty": {"layers": ["a"], "sectors": ["2+"]}}
    with pytest.raises(ArgumentError, match="distinguishes parities"):
        parse_run({**run, **turned})
    events = {"kind": "events", "steps": 1, "losses": {"segmentation": 1.0}}
    with pytest.raises(ArgumentError, match=r"penalty\.layers is for PET"):
        parse_run({**events, "penalty": {"layers": ["a"]}})
    with pytest.raises(ArgumentError, match="trainable is for PET"):
        parse_run({**events, "model": {"initial": "m", "trainable": ["a"]}})
