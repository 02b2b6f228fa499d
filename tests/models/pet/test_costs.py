"""What a bias costs, each as if it were alone."""

import dataclasses

import pytest
from biased_pet import TINY
from pet_models import ethanol

from symjax.models.biases import Biases
from symjax.models.pet import PETConfig, pet_graph
from symjax.models.pet.costs import bias_costs

PLAIN = PETConfig(**TINY)


def costs(**biases):
    config = dataclasses.replace(PLAIN, biases=Biases(**biases))
    graph = pet_graph(config, ethanol(), dtype="float32")
    return {cost.name: cost for cost in bias_costs(config, graph)}


def test_none():
    assert costs() == {}


def test_sources_and_readouts():
    found = costs(edge_harmonics=2, pseudotensors=1, readout="sum")
    assert list(found) == ["edge_harmonics", "pseudotensors", "readout"]
    irreps = {name: [str(i) for i in cost.sectors] for name, cost in found.items()}
    assert irreps == {
        "edge_harmonics": ["1+", "2+"],
        "pseudotensors": ["0-", "1-"],
        # Of the targets of a matrix and of a pseudotensor; scalars need no bias.
        "readout": ["1-", "2+", "2-"],
    }
    # Of 8 harmonics and of 8 radial functions four features each.
    assert found["edge_harmonics"].parameters == 4 * (8 + 8)
    for cost in found.values():
        assert cost.group == ""
        assert cost.parameters > 0
        assert 1 < cost.operations < 3


@pytest.mark.parametrize(
    ("average", "group", "number"),
    [("Oh", "Oh", 48), ("frames 3", "O(3)", 6), ("haar 3", "O(3) to degree 3", 48)],
)
def test_averages_repeat_the_network(average, group, number):
    cost = costs(output_average=average)["output_average"]
    assert (cost.group, cost.parameters, cost.operations) == (group, 0, number)


def test_layers_that_are_averaged():
    cost = costs(symmetrized_layers=("node_heads.*",))["symmetrized_layers"]
    assert (cost.group, cost.sectors, cost.parameters) == ("O", (), 0)
    assert cost.operations > 10
