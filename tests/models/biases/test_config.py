"""Biases as data: there and back, and impossible ones are refused."""

import pytest

from symjax.errors import ModelError
from symjax.models.biases import Biases


def test_there_and_back():
    biases = Biases(
        edge_harmonics=3, symmetrized_layers=("node_heads.*",), readout="sum"
    )
    assert Biases.from_json(biases.to_json()) == biases
    assert Biases().to_json() == {}


@pytest.mark.parametrize(
    "data",
    [
        {"edge_harmonics": 0},
        {"pseudotensors": -1},
        {"pseudotensors": True},
        {"token_layers": "last"},
        {"readout": "both"},
        {"channels": 0},
        {"canonical_frame": 1},
        {"symmetrized_share": 0},
        {"symmetrized_layers": "node_heads.*"},
        {"symmetrized_layers": ["compress"], "symmetrized_group": "haar 3"},
        {"output_average": "everything"},
        {"output_average": "O", "canonical_frame": True},
        {"unknown": 1},
    ],
    ids=str,
)
def test_impossible_ones_are_refused(data):
    with pytest.raises(ModelError):
        Biases.from_json(data)
