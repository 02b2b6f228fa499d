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


@pytest.fixture
def traced(invoke, small, coarse):
    """One trace with sectors, whose tables and file are read."""
    result = invoke(*small, "--trace", "OH", "--shapley", "--json", "t.json")
    assert result.exit_code == cli.OK, result.output
    return result.stdout


def test_a_trace_tells_layers_and_sectors(traced, tmp_path):
    rows = [line.split() for line in traced.splitlines()]
    assert "Where the error of energy enters: A = " in traced
    shares = [float(row[-1]) for row in rows if row[:2] == ["GNN", "layer"]]
    after = [float(row[-1]) for row in rows if row[:2] == ["after", "them"]]
    # of the energy, and then of its forces
    assert len(shares) == 4
    assert sum(shares[:2] + after[:1]) == pytest.approx(100, abs=0.2)
    # heads read what is invariant by then
    assert abs(after[0]) < 0.1
    assert "OH: forces traced on all 2 atoms." in traced
    # Shapley values and what enters elsewhere add up to A^2, in table and file.
    shapley = [float(row[-2]) for row in rows if row[:1] in (["0-"], ["1+"])]
    assert len(shapley) == 4  # two sectors of two layers
    stored = json.loads((tmp_path / "t.json").read_text())["traces"]["OH"]
    assert stored["forces"] == "all 2 atoms"
    for layer in stored["shares"]:
        whole = sum(layer["values"]["energy"]) + layer["left"]["energy"]
        error = stored["trace"]["errors"]["energy"][0]
        assert whole == pytest.approx(error**2, rel=1e-3)
        # a line has no pseudotensors
        sectors = dict(zip(layer["sectors"], layer["values"]["energy"], strict=True))
        assert abs(sectors["0-"]) < 1e-6 * whole or layer != stored["shares"][0]
    toys.read_back(tmp_path / "t.json")


def test_sectors_need_a_trace(invoke, shipped):
    alone = invoke(shipped, "--shapley")
    assert alone.exit_code == cli.BAD_INPUT
    assert "--shapley=True: has no effect without --trace" in alone.stderr
