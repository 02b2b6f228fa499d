"""``symjax stability``: the numbers of the functions, and their units."""

import json

import ase.build
import pytest
from ase.calculators.emt import EMT
from typer.testing import CliRunner

from symjax import cli
from symjax.errors import ModelError
from symjax.stability import StabilityFile, normal_modes, run_nve

EMT_NAME = "ase.calculators.emt:EMT"


def test_numbers_are_those_of_the_functions(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = f"stability CH4 --calculator {EMT_NAME} --steps 5 --orientations 2 --modes"
    done = CliRunner().invoke(cli.app, [*words.split(), "--json", "out.json"])
    assert done.exit_code == 0, done.output
    written = json.loads((tmp_path / "out.json").read_text())
    file = StabilityFile.from_json(written, "out.json")
    assert (file.model, file.steps) == (EMT_NAME, 5)
    numbers = vars(file.structures["CH4"])
    methane = ase.build.molecule("CH4", calculator=EMT())
    expected = run_nve(methane, 5).numbers() | normal_modes(methane).numbers()
    for name, value in expected.items():
        assert numbers[name] == pytest.approx(value, abs=1e-9), name
    assert numbers["converged"] == 2
    written["structures"]["CH4"]["minima"] = -1
    with pytest.raises(ModelError, match=r"out.json: structures.CH4.minima=-1"):
        StabilityFile.from_json(written, "out.json")
    # EMT is invariant: one minimum, whatever the orientation.
    assert numbers["minima"] == 1
    assert numbers["spread"] < 1e-8
    assert set(numbers) == set(written["units"])
    assert "largest net torque" in done.output


def test_crystals_are_refused(tmp_path):
    path = tmp_path / "cu.xyz"
    ase.build.bulk("Cu").write(path)
    words = f"stability {path} --calculator {EMT_NAME} --steps 1"
    done = CliRunner().invoke(cli.app, words.split())
    assert done.exit_code == 2
    assert "is periodic" in done.output
