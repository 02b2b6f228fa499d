"""Hyperparameters of PET: impossible ones are refused by name, and a round trip."""

import json

import pytest
from pet_models import CONFIG

from symjax.data.quantities import Target
from symjax.errors import ModelError
from symjax.models.pet import PETConfig

BAD_CONFIGS = {
    "no species": ({"species": ()}, "species"),
    "unsorted species": ({"species": (6, 1)}, "species"),
    "list of species": ({"species": [1, 6]}, "species"),
    "text": ({"zbl": "no"}, "zbl"),
    "no element": ({"species": (0, 1)}, "species"),
    "heads": ({"num_heads": 3}, "num_heads"),
    "norm": ({"normalization": "BatchNorm"}, "normalization"),
    "activation": ({"activation": "ReLU"}, "activation"),
    "transformer": ({"transformer_type": "MidLN"}, "transformer_type"),
    "featurizer": ({"featurizer_type": "x"}, "featurizer_type"),
    "cutoff function": ({"cutoff_function": "Step"}, "cutoff_function"),
    "adaptive method": ({"adaptive_cutoff_method": "x"}, "adaptive_cutoff_method"),
    "cutoff": ({"cutoff": 0.0}, "cutoff"),
    "infinite cutoff": ({"cutoff": float("inf")}, "cutoff"),
    "width": ({"cutoff_width": -1.0}, "cutoff_width"),
    "temperature": ({"attention_temperature": 0}, "attention_temperature"),
    "no layers": ({"num_gnn_layers": 0}, "num_gnn_layers"),
    "fractional width": ({"d_pet": 8.5}, "d_pet"),
    "adaptive": ({"num_neighbors_adaptive": -1.0}, "num_neighbors_adaptive"),
    "same names": ({"targets": (Target("a"), Target("a"))}, "targets"),
    "zbl beyond cutoff": ({"zbl": True, "cutoff": 2.0}, "cutoff"),
}


@pytest.mark.parametrize("case", BAD_CONFIGS)
def test_bad_configurations(case):
    changes, argument = BAD_CONFIGS[case]
    with pytest.raises(ModelError) as caught:
        PETConfig(**{**CONFIG.__dict__, **changes})
    assert argument in caught.value.argument
    assert caught.value.remedy


def test_an_integer_is_the_same_number():
    integer, number = (PETConfig((1,), cutoff=value) for value in (4, 4.0))
    assert json.dumps(integer.to_json()) == json.dumps(number.to_json())


def test_configuration_round_trip():
    assert PETConfig.from_json(CONFIG.to_json()) == CONFIG
