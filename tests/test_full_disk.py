"""A full disk: one line says which file and how much it needs, and nothing is lost.

A limit of the size of files stands for a full disk, where none can be made: the system
refuses writes in the same places, with another number of the error.
"""

import contextlib
import json
import os
import pathlib
import resource

import h5py
import pytest
from typer.testing import CliRunner
from water_runs import write_host_model

from symjax import cli
from symjax._files import is_full, no_space, replace_atomically, reserve
from symjax.report import read_results


def test_every_message_says_which_file_and_how_much(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def full(part):
        part.write_text("12345")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="it needs more than 5 bytes") as caught:
        replace_atomically(path, full)
    assert caught.value.filename == str(path)
    with pytest.raises(OSError, match="it needs 1,234 bytes"):
        replace_atomically(path, full, lambda: 1234)
    assert path.read_text() == "old"
    assert [*tmp_path.iterdir()] == [path]


def test_words_of_hdf5_are_understood():
    words = "[Errno 28] Can't write data (errno = 28, error message = 'No space')"
    assert is_full(OSError(words))
    assert is_full(no_space(pathlib.Path("a"), "1 byte"))
    assert not is_full(OSError("errno = 2, no such file"))


@contextlib.contextmanager
def largest_file(size):
    """No file of this process may be larger. Python ignores the signal of the limit."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_reserving_sees_limits_of_size(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(bytes(600))
    with largest_file(1000):
        reserve(path, 300)
        with pytest.raises(OSError, match="it needs 600 bytes"):
            reserve(path, 600)
    assert os.listdir(tmp_path) == ["a"]


REPORT = ["report", "H2O", "-o", "out", "--max-degree", "0", "--model"]
REPORT += ["model.py:problem", "--no-figures", "--no-html"]


@pytest.mark.parametrize("size", [pytest.param(1000, marks=pytest.mark.slow), 100_000])
def test_a_report_is_resumed_after_a_full_disk(tmp_path, monkeypatch, size):
    """No traceback, no signal; then the numbers of an undisturbed run."""
    write_host_model(tmp_path / "model.py")
    monkeypatch.chdir(tmp_path)
    with largest_file(size):
        result = CliRunner().invoke(cli.app, REPORT)
    assert result.exit_code == 2, result.output
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error")]
    assert "no space is left: it needs" in line
    assert "out/" in line
    begun = (tmp_path / "out" / "structures.jsonl").exists()
    going_on = "--resume" if begun else "--overwrite"
    again = CliRunner().invoke(cli.app, [*REPORT, going_on])
    assert again.exit_code in (0, 3), again.output  # 3: a coarse grid
    json.loads((tmp_path / "out" / "report.json").read_text())
    assert set(read_results(tmp_path / "out")["structure"]) == {"H2O"}
    with h5py.File(tmp_path / "out" / "results.h5") as file:
        assert len(file["row"]) == 1
    leftovers = [p.name for p in (tmp_path / "out").iterdir() if p.name[0] == "."]
    assert not leftovers


def test_a_checkpoint_without_space(tmp_path, monkeypatch):
    """The one before it stays whole, and is what the run goes on from."""
    import jax.numpy as jnp

    from symjax.errors import ArgumentError
    from symjax.training import logs
    from symjax.training.optimisation import TrainState

    fields = dict.fromkeys(TrainState._fields, jnp.ones(3))
    first = TrainState(**{**fields, "step": jnp.asarray(4)})
    checkpoints = logs.Checkpoints(tmp_path / "checkpoints")
    checkpoints.save(first, [])

    def full(path, size):
        raise no_space(path, f"{size} bytes")

    monkeypatch.setattr(logs, "reserve", full)
    with pytest.raises(ArgumentError, match=r"checkpoints/8.*no space is left"):
        checkpoints.save(first._replace(step=jnp.asarray(8)), [])
    monkeypatch.setattr(logs, "reserve", reserve)
    assert checkpoints.latest() == 4
    state, _ = checkpoints.restore(first)
    assert int(state.step) == 4
    checkpoints.close()
