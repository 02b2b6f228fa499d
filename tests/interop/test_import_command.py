"""``symjax import`` from a checkpoint to a report-ready folder."""

import pytest
from typer.testing import CliRunner

from symjax.cli import app
from symjax.models import load_model


def test_missing_file(tmp_path):
    result = CliRunner().invoke(
        app, ["import", str(tmp_path / "no.ckpt"), "-o", str(tmp_path / "model")]
    )
    assert result.exit_code == 2
    assert "CHECKPOINT" in result.output
    assert not (tmp_path / "model").exists()


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore")
def test_import(shared, tmp_path):
    pytest.importorskip("metatrain", reason="needs the extra [torch]")
    source = shared / "checkpoints" / "metatrain-pet-v16.ckpt.gz"
    command = ["import", str(source), "-o", str(tmp_path / "model"), "--name", "tiny"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert load_model(tmp_path / "model").name == "tiny"
    again = CliRunner().invoke(app, command)
    assert again.exit_code == 2
    assert "--overwrite" in again.output
