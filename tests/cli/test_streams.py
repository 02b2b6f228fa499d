"""Closed pipes and signals: files are complete, and one line says what happened."""

import os
import signal
import subprocess
import sys
import time

import ase.io
import jax
import pytest
from water_runs import rattled_waters, write_host_model

from symjax.cli.streams import interrupt
from symjax.training.logs import uninterrupted

FAST = ["--max-degree", "1", "--no-laws", "--no-figures"]


def start(folder, *words, pause=0.0, **streams):
    write_host_model(folder / "model.py", pause)
    words = [*words, "--model", "model.py:problem", "-o", "out"]
    command = [sys.executable, "-m", "symjax", "report", *words]
    return subprocess.Popen([*command, *FAST], cwd=folder, **streams)


@pytest.mark.parametrize(
    "closed", [pytest.param("stdout", marks=pytest.mark.slow), "both"]
)
def test_pipes_that_nobody_reads(closed, tmp_path):
    read, write = os.pipe()
    os.close(read)
    error = write if closed == "both" else subprocess.PIPE
    process = start(tmp_path, "H2O", stdout=write, stderr=error, text=True)
    os.close(write)
    messages = process.communicate(timeout=300)[1]
    assert process.returncode in (0, 3), messages
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"report.json", "report.txt", "report.html"} <= written
    if messages is not None:
        assert "Traceback" not in messages
        assert "Wrote" in messages


def test_a_closed_standard_output(tmp_path):
    line = f"{sys.executable} -m symjax --version >&-"
    done = subprocess.run(line, shell=True, cwd=tmp_path, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == b""


def test_a_report_that_is_terminated(tmp_path):
    """As by Ctrl-C: what was measured is kept, and a line says how to go on."""
    ase.io.write(tmp_path / "frames.xyz", rattled_waters(200))
    options = {"pause": 0.01, "stderr": subprocess.PIPE, "text": True}
    process = start(tmp_path, "frames.xyz", **options)
    journal = tmp_path / "out" / "structures.jsonl"
    for _ in range(600):
        if journal.exists() and journal.read_bytes().count(b"\n") > 2:
            break
        time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    messages = process.communicate(timeout=120)[1]
    assert process.returncode == 130, messages
    assert "Interrupted. Completed structures are kept in out" in messages
    assert journal.read_bytes().count(b"\n") > 2
    assert not (tmp_path / "out" / ".symjax.lock").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_checkpoint_comes_to_its_end(number):
    # A process in the background of a shell starts with SIGINT ignored.
    handlers = {
        one: signal.signal(one, signal.default_int_handler)
        for one in (signal.SIGINT, signal.SIGTERM)
    }
    done = []
    try:
        with pytest.raises(KeyboardInterrupt), uninterrupted():
            done += [signal.raise_signal(number) for _ in range(2)]
        assert len(done) == 2
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        with pytest.raises(ZeroDivisionError), uninterrupted():
            _ = 1 / 0
        assert signal.getsignal(signal.SIGTERM) is signal.default_int_handler
    finally:
        for one, handler in handlers.items():
            signal.signal(one, handler)


def test_a_signal_within_the_garbage_collector_is_not_lost():
    """What is raised in a callback of the collector is ignored by Python."""
    code = """
import gc, os, signal, sys, time
from symjax.cli.streams import prepare_process

# As a shell starts a command in the foreground; in the background it is ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
prepare_process()
struck = []

def some_gc_callback(*args):
    if not struck:
        struck.append(1)
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(10):
            pass

gc.callbacks.append(some_gc_callback)
try:
    gc.collect()
    time.sleep(100)
except KeyboardInterrupt:
    print("interrupted")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "interrupted\n", done.stderr
    assert "ignored" not in done.stderr


def test_a_signal_within_a_key_of_compiled_code_is_not_lost():
    """JAX makes an error of its own of what is raised while it compares keys."""

    class Key:
        def __hash__(self):
            return 1

        def __eq__(self, other):
            if not struck:
                struck.append(1)
                signal.raise_signal(signal.SIGTERM)
            return True

    def compare():
        compiled(Key(), 1.0)
        time.sleep(100)

    struck = []
    before = signal.signal(signal.SIGTERM, interrupt)
    compiled = jax.jit(lambda key, x: x, static_argnums=0)
    try:
        compiled(Key(), 1.0)
        with pytest.raises(KeyboardInterrupt):
            compare()
    finally:
        signal.signal(signal.SIGTERM, before)
