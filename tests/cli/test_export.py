"""``symjax export``: options of one format are refused with the other."""

from typer.testing import CliRunner

from symjax.cli import app


def test_options_of_the_other_kind(tmp_path):
    command = ["export", "pet-ethanol", "-o", str(tmp_path / "a"), "--average", "O"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 2
    assert "--average" in result.output
    assert "without --stablehlo" in result.output
