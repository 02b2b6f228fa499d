"""Files of other packages are imported once, into a cache of their digests."""

import dataclasses
import logging
import os
import sys
import types

import pytest

from symjax.errors import ModelError
from symjax.interop import SymjaxCalculator
from symjax.models import fingerprint, load_model, loading


@pytest.fixture
def importer(monkeypatch, tmp_path):
    """An importer that counts, in place of the one that needs PyTorch."""
    calls = []

    def import_checkpoint(path, name):
        calls.append(path.name)
        if path.read_bytes().startswith(b"bad"):
            raise ModelError("path", str(path), "is damaged", "Get it again")
        model = load_model("pet-ethanol")
        return dataclasses.replace(model, name=name, card={"source": path.name})

    module = types.SimpleNamespace(import_checkpoint=import_checkpoint)
    monkeypatch.setitem(sys.modules, "fake_importer", module)
    monkeypatch.setattr(loading, "IMPORTER", "fake_importer")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return calls


def write(path, text="weights"):
    path.write_text(text)
    return path


def test_the_importer_is_there():
    from symjax.interop.checkpoints import import_checkpoint

    assert import_checkpoint.__module__ == loading.IMPORTER


def test_imported_once(importer, tmp_path, caplog):
    path = write(tmp_path / "a.ckpt.gz")
    with caplog.at_level(logging.INFO, "symjax"):
        first = load_model(path)
    assert "this is done once" in caplog.text
    assert str(tmp_path / "cache") in caplog.text
    caplog.clear()
    again = load_model(path)
    assert caplog.text == ""
    assert importer == ["a.ckpt.gz"]
    assert fingerprint(first) == fingerprint(again)
    assert (first.name, again.name) == ("a", "a")
    # The same contents under another name: nothing is imported, the name is its own.
    other = load_model(write(tmp_path / "b.pt"))
    assert (other.name, other.card["source"]) == ("b", "b.pt")
    assert importer == ["a.ckpt.gz"]
    assert load_model(write(path, "other weights")).name == "a"
    assert importer == ["a.ckpt.gz"] * 2


@pytest.mark.parametrize("name", ["model.json", "model.safetensors"])
@pytest.mark.parametrize("damage", ["cut", "removed"])
def test_a_damaged_cache_is_made_again(name, damage, importer, tmp_path):
    path = write(tmp_path / "a.ckpt")
    load_model(path)
    (file,) = (tmp_path / "cache").rglob(name)
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-5])
    else:
        file.unlink()
    assert load_model(path).name == "a"
    assert load_model(path).name == "a"
    assert importer == ["a.ckpt"] * 2


def test_what_is_refused_is_not_kept(importer, tmp_path):
    path = write(tmp_path / "a.ckpt", "bad")
    for _ in range(2):
        with pytest.raises(ModelError, match="is damaged"):
            load_model(path)
    assert importer == ["a.ckpt"] * 2
    assert not list((tmp_path / "cache").rglob("model.json"))


def test_a_cache_that_cannot_be_written(importer, tmp_path, caplog):
    write(tmp_path / "cache", "a file where the folder should be")
    assert load_model(write(tmp_path / "a.ckpt")).name == "a"
    assert "is imported each time" in caplog.text


@pytest.mark.parametrize("name", ["", "  "])
def test_empty_names(name):
    with pytest.raises(ModelError, match="is an empty name"):
        load_model(name)
    with pytest.raises(ModelError, match="is an empty name"):
        SymjaxCalculator(name)


@pytest.mark.parametrize("name", ["no-such-model", "a\0b", "a" * 5000, "a/b/c.ckpt"])
def test_names_of_nothing(name):
    with pytest.raises(ModelError, match="neither a model that ships"):
        load_model(name)


def test_what_is_no_file(importer, tmp_path):
    os.mkfifo(tmp_path / "a.ckpt")
    with pytest.raises(ModelError, match="it is a pipe, not a regular file"):
        load_model(tmp_path / "a.ckpt")
    with pytest.raises(ModelError, match="it is a device"):
        load_model("/dev/zero")
    with pytest.raises(ModelError, match="there is no such file"):
        load_model(tmp_path)  # a folder without model.json
    os.mkfifo(tmp_path / "model.json")
    with pytest.raises(ModelError, match="it is a pipe"):
        load_model(tmp_path)
    assert importer == []


def test_the_calculator_takes_files(importer, tmp_path):
    calculator = SymjaxCalculator(write(tmp_path / "a.ckpt"))
    assert calculator.model.name == "a"
