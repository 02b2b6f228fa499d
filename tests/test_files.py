"""Files are regular and bounded when read, and only regular files are replaced."""

import gzip
import os
import pathlib
import signal
import stat
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from symjax import _files, cli
from symjax._files import (
    check_readable,
    file_digest,
    held,
    read_bounded,
    replace_atomically,
)
from symjax.errors import ArgumentError


def fifo(tmp_path):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path


@pytest.mark.parametrize("read", [check_readable, read_bounded, file_digest])
@pytest.mark.parametrize("kind", ["a pipe", "a folder", "a device"])
def test_other_kinds_are_refused_at_once(kind, read, tmp_path):
    paths = {"a pipe": fifo, "a folder": lambda path: path}
    path = paths[kind](tmp_path) if kind in paths else "/dev/zero"
    with pytest.raises(OSError, match=kind):
        read(path)


def test_sizes_are_limited(tmp_path):
    path = tmp_path / "sparse"
    with open(path, "wb") as file:
        file.truncate(_files.LARGEST + 1)
    for read in (check_readable, read_bounded, file_digest):
        with pytest.raises(OSError, match="more than"):
            read(path)


def test_unpacking_is_limited(tmp_path, monkeypatch):
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(bytes(10**6)))
    assert read_bounded(path) == bytes(10**6)
    # A file of a kilobyte may grow by a factor, beyond what small files may have.
    monkeypatch.setattr(_files, "SMALL", 10**5)
    with pytest.raises(OSError, match="unpacks to more than"):
        read_bounded(path)
    random = os.urandom(10**6)
    path.write_bytes(gzip.compress(random))
    assert read_bounded(path) == random


@pytest.mark.parametrize("cut", [2, 9, -1, -9])
def test_damaged_gzip(cut, tmp_path):
    path = tmp_path / "a.gz"
    whole = gzip.compress(os.urandom(1000))
    path.write_bytes(whole[:cut])
    with pytest.raises(OSError, match=r"\w"):
        read_bounded(path)


def test_pipes_are_written_to(tmp_path):
    path = fifo(tmp_path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        replace_atomically(path, lambda part: part.write_text("text"))
        assert os.read(reader, 100) == b"text"
    finally:
        os.close(reader)
    assert stat.S_ISFIFO(path.stat().st_mode)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_device_that_is_full():
    with pytest.raises(OSError, match="space"):
        replace_atomically(_files.Path("/dev/full"), lambda p: p.write_text("text"))
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode)


def test_links_stay(tmp_path):
    (tmp_path / "far").mkdir()
    path, target = tmp_path / "link", tmp_path / "far" / "file"
    path.symlink_to(target)
    for text in ("one", "two"):  # a link to nothing, then to a file
        replace_atomically(path, lambda part, text=text: part.write_text(text))
        assert path.is_symlink()
        assert target.read_text() == text


def test_a_folder_is_not_replaced(tmp_path):
    with pytest.raises(OSError, match="folder"):
        replace_atomically(tmp_path, lambda part: part.write_text("text"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {}, "/home/u/.cache/symjax/jax"),
        ("linux", {"XDG_CACHE_HOME": "/c"}, "/c/symjax/jax"),
        ("linux", {"XDG_CACHE_HOME": "relative"}, "/home/u/.cache/symjax/jax"),
        ("linux", {"XDG_CACHE_HOME": ""}, "/home/u/.cache/symjax/jax"),
        ("darwin", {}, "/home/u/Library/Caches/symjax/jax"),
        ("win32", {"LOCALAPPDATA": "/l"}, "/l/symjax/cache/jax"),
    ],
)
def test_cache_folder(monkeypatch, platform, variables, expected):
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HOME": "/home/u", **variables}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(_files.sys, "platform", platform)
    assert str(_files.user_cache("jax")) == expected


def test_no_home(monkeypatch):
    def fail():
        raise RuntimeError("no home")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(_files.Path, "home", fail)
    assert _files.user_cache("jax") is None


# Another process holds the folder, and is then killed in the middle of a file.
HOLD = """
import pathlib, sys, time
from symjax._files import held, replace_atomically
folder = pathlib.Path(sys.argv[1])
def write(part):
    part.write_text("half")
    print("writing", flush=True)
    time.sleep(600)
with held(folder, "output"):
    replace_atomically(folder / "report.json", write)
"""


@pytest.fixture
def holder(tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path / "out")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "writing\n"
    yield process
    process.kill()
    process.wait()


def test_one_process_on_one_folder(holder, tmp_path):
    out = tmp_path / "out"
    with (
        pytest.raises(
            ArgumentError, match=f"in use by process {holder.pid} on .* since"
        ),
        held(out, "output"),
    ):
        pass
    for more in ((), ("--overwrite",)):
        command = ["report", "H2O", "-o", str(out), *more]
        result = CliRunner().invoke(cli.app, command)
        assert result.exit_code == cli.BAD_INPUT
        assert f"in use by process {holder.pid}" in result.output
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert any(path.name.startswith(".symjax-") for path in out.iterdir())
    # The lock of a dead process is taken over; what it left half-written goes.
    with held(out, "output"):
        assert [path.name for path in out.iterdir()] == [".symjax.lock"]
    assert list(out.iterdir()) == []


def test_a_training_holds_its_folder(tmp_path):
    import water_runs

    from symjax.training import parse_run, train

    run = parse_run(water_runs.settings(str(tmp_path / "frames.xyz")))
    with (
        held(tmp_path / "out", "output"),
        pytest.raises(ArgumentError, match=f"in use by process {os.getpid()}"),
    ):
        train(run, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_was_made_for_nothing_goes(tmp_path):
    with pytest.raises(ZeroDivisionError), held(tmp_path / "new", "output"):
        _ = 1 / 0
    assert not (tmp_path / "new").exists()
    with held(pathlib.Path(tmp_path / "new"), "output"):
        (tmp_path / "new" / "file").write_text("")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["file"]
