"""Files of PyTorch, told apart, on the way through the command line."""

import gzip
import io
import os
import pickle
import zipfile

import ase.build
import ase.io
import pytest
from typer.testing import CliRunner

from symjax.cli import app
from symjax.errors import ModelError
from symjax.interop import SymjaxCalculator
from symjax.interop.checkpoints import import_checkpoint
from symjax.models import load_model
from symjax.report import read_report

pytestmark = pytest.mark.filterwarnings("ignore")
MINIMAL = ("--max-degree", "1", "--no-figures", "--no-html")


@pytest.fixture(autouse=True)
def empty_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def archive(path, size=0, compression=zipfile.ZIP_DEFLATED):
    """An archive as PyTorch writes it, with a pickle and one more entry."""
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("model/data.pkl", pickle.dumps({"architecture_name": "pet"}))
        file.writestr("model/data/0", bytes(size))
    return path


def test_archives_that_grow_too_far(tmp_path, monkeypatch):
    monkeypatch.setattr("symjax._files.SMALL", 2**16)
    size = 2**21
    path = archive(tmp_path / "a.ckpt", size)
    assert path.stat().st_size < 2**16
    with pytest.raises(ModelError, match="entries unpack to"):
        import_checkpoint(path)
    packed = tmp_path / "a.ckpt.gz"
    packed.write_bytes(gzip.compress(bytes(size)))
    with pytest.raises(ModelError, match="it unpacks to more than"):
        import_checkpoint(packed)


@pytest.mark.parametrize("contents", [b"", b"hello", b"PK\x03\x04", b"\x1f\x8bhello"])
def test_files_of_nobody(contents, tmp_path):
    pytest.importorskip("metatrain", reason="needs the extra [torch]")
    (tmp_path / "a.ckpt").write_bytes(contents)
    with pytest.raises(ModelError, match="cannot be read"):
        import_checkpoint(tmp_path / "a.ckpt")


@pytest.mark.parametrize("command", ["report", "import"])
def test_pipes_are_refused(command, tmp_path):
    path = str(tmp_path / "a.ckpt")
    os.mkfifo(path)
    arguments = {
        "report": ("report", "H2O", "--model", path),
        "import": ("import", path),
    }[command]
    result = CliRunner().invoke(app, [*arguments, "-o", str(tmp_path / "out")])
    assert result.exit_code == 2, result.output
    assert "it is a pipe" in result.output
    assert ("--model" if command == "report" else "CHECKPOINT") in result.output


def test_an_empty_name_is_refused(tmp_path):
    result = CliRunner().invoke(app, ["report", "H2O", "--model", ""])
    assert result.exit_code == 2
    assert "--model='': is an empty name" in result.output


@pytest.mark.torch
def test_report_on_a_checkpoint(shared, tmp_path):
    pytest.importorskip("metatrain", reason="needs the extra [torch]")
    source = str(shared / "checkpoints" / "metatrain-pet-v16.ckpt.gz")
    ase.io.write(tmp_path / "a.xyz", ase.build.molecule("H2O"))
    outputs = []
    for number in range(2):
        out = tmp_path / str(number)
        command = ["report", str(tmp_path / "a.xyz"), "--model", source, *MINIMAL]
        outputs.append(CliRunner().invoke(app, [*command, "-o", str(out)]))
        assert outputs[-1].exit_code in (0, 3), outputs[-1].output
    assert "Importing" in outputs[0].stderr
    assert "Importing" not in outputs[1].stderr
    first, again = (read_report(tmp_path / name) for name in "01")
    assert first.model == again.model
    assert first.model.name == "metatrain-pet-v16"
    # The one cache serves everybody.
    calculator = SymjaxCalculator(source)
    assert calculator.model.config == load_model(source).config
    kept = list((tmp_path / "cache").rglob("model.json"))
    assert len(kept) == 1


@pytest.mark.torch
def test_checkpoints_of_polarmae(shared, tmp_path):
    torch = pytest.importorskip("torch", reason="needs the extra [torch]")
    source = shared / "checkpoints" / "polarmae-tiny-seg.ckpt.gz"
    model = load_model(source)
    assert model.name == "polarmae-tiny-seg"
    assert model.config.num_classes > 1
    # Written the old way, PyTorch's checkpoints are no archives.
    with gzip.open(source) as file:
        contents = torch.load(io.BytesIO(file.read()), weights_only=True)
    old = tmp_path / "old.ckpt"
    torch.save(contents, old, _use_new_zipfile_serialization=False)
    assert load_model(old).config == model.config
    result = CliRunner().invoke(
        app, ["import", str(source), "-o", str(tmp_path / "model")]
    )
    assert result.exit_code == 0, result.output
    assert load_model(tmp_path / "model").config == model.config
