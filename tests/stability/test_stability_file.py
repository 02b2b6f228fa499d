"""The file of ``symjax stability``: numbers with their units."""

import json

import pytest

from symjax.errors import ModelError
from symjax.stability import StabilityFile
from symjax.stability.stability_file import Figures


def file(**numbers):
    return StabilityFile("pet", "O", 200, 300.0, 6, 0, {"water": Figures(**numbers)})


def test_every_number_has_a_unit_and_is_read_back():
    before = file(energy_drift=58.8, minima=1, spread=6e-6)
    value = json.loads(json.dumps(before.to_json()))
    assert set(value["units"]) == set(value["structures"]["water"])
    assert value["units"]["energy_drift"] == "meV/atom/ps"
    assert StabilityFile.from_json(value) == before


def test_what_was_not_simulated_is_not_shown():
    shown = list(Figures(energy_drift=0.0, minima=2).known())
    assert [(figure.unit, value) for figure, value in shown] == [
        *(("meV/atom/ps", 0.0), ("", 2)),
    ]


def test_counts_are_not_negative():
    with pytest.raises(ModelError, match="minima=-1"):
        file(minima=-1)
