"""``symjax models``: a table and a card for each."""

import re

from symjax import cli


class TestModels:
    def test_lists_cards(self, invoke, monkeypatch):
        monkeypatch.setattr("symjax.models.io.shipped_models", lambda: ["fake"])
        result = invoke("models")
        assert result.exit_code == cli.OK, result.output
        title, columns, _, row, *card = result.stdout.splitlines()
        assert title == "Models that ship with symjax"
        assert re.split("  +", columns) == ["model", "knows", "outputs", "parameters"]
        assert re.split("  +", row) == ["fake", "H C O", "energy [eV]", "3"]
        entries = dict(re.split("  +", line) for line in card[4:])
        assert entries["cutoff"] == "8 angstrom"
        assert entries["test.rmse"] == "0.125"

    def test_none(self, invoke, monkeypatch):
        monkeypatch.setattr("symjax.models.io.shipped_models", list)
        assert "No model" in invoke("models").stdout
