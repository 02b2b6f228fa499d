"""Where the error of an output enters, layer by layer, and sector by sector."""

import json

import pytest
import toys

from symjax import cli


@pytest.fixture
def coarse(monkeypatch):
    """Degrees that are enough for two atoms."""
    monkeypatch.setattr("symjax.diagnose.tracing.DEGREE", 2)
    monkeypatch.setattr("symjax.diagnose.tracing.SECTOR_DEGREE", 1)


def test_layers_at_which_an_error_enters(invoke, shipped, coarse):
    result = invoke(shipped, "--trace", "OH")
    assert result.exit_code == cli.OK, result.output
    assert "Where the error of energy enters: A = " in result.stdout
    rows = [line.split() for line in result.stdout.splitlines()]
    shares = [float(row[-1]) for row in rows if row[:2] == ["GNN", "layer"]]
    behind = [float(row[-1]) for row in rows if row[:2] == ["after", "them"]]
    # of the energy, and then of its forces
    assert len(shares) == 4
    assert sum(shares[:2] + behind[:1]) == pytest.approx(100, abs=0.2)
    # heads read what is invariant by then
    assert abs(behind[0]) < 0.1
    assert "OH: forces traced on all 2 atoms." in result.stdout


def test_sectors_share_out_what_a_layer_changes(invoke, shipped, coarse, tmp_path):
    """Shapley values and what enters elsewhere add up to A^2, in table and file."""
    result = invoke(shipped, "--trace", "OH", "--shapley", "--json", "t.json")
    assert result.exit_code == cli.OK, result.output
    rows = [line.split() for line in result.stdout.splitlines()]
    shapley = [float(row[-2]) for row in rows if row[:1] in (["0-"], ["1+"])]
    assert len(shapley) == 4  # two sectors of two layers
    traced = json.loads((tmp_path / "t.json").read_text())["traces"]["OH"]
    assert traced["forces"] == "all 2 atoms"
    for layer in traced["shares"]:
        whole = sum(layer["values"]["energy"]) + layer["left"]["energy"]
        error = traced["trace"]["errors"]["energy"][0]
        assert whole == pytest.approx(error**2, rel=1e-3)
        # a line has no pseudotensors
        shares = dict(zip(layer["sectors"], layer["values"]["energy"], strict=True))
        assert abs(shares["0-"]) < 1e-6 * whole or layer != traced["shares"][0]
    toys.read_back(tmp_path / "t.json")
    alone = invoke(shipped, "--shapley")
    assert alone.exit_code == cli.BAD_INPUT
    assert "--shapley=True: has no effect without --trace" in alone.stderr
