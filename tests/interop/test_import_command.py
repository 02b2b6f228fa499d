"""``symjax import`` from a checkpoint to a report-ready folder."""

import subprocess
import sys

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


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore")
def test_import_of_an_exported_model(tmp_path):
    pytest.importorskip("metatrain", reason="needs the extra [torch]")
    from torch_pet import make_variant

    make_variant("other targets").export().save(tmp_path / "model.pt")
    folder = tmp_path / "model"
    # In a process that has not scripted a model itself.
    command = ["-m", "symjax", "import", str(tmp_path / "model.pt"), "-o", str(folder)]
    result = subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert "non_conservative_forces" in result.stdout
    assert load_model(folder).config.target("mtt::bands").blocks[0].properties == 4


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore")
def test_import_writes_nothing_that_is_refused(tmp_path):
    pytest.importorskip("metatrain", reason="needs the extra [torch]")
    (tmp_path / "model.ckpt").write_bytes(b"hello")
    folder = tmp_path / "model"
    command = ["import", str(tmp_path / "model.ckpt"), "-o", str(folder)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 2
    assert "cannot be read" in result.output
    assert not folder.exists()
