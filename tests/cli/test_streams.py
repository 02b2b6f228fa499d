"""Closed pipes and signals: files are complete, and one line says what happened."""

import os
import signal
import subprocess
import sys
import time

import ase.io
import pytest
from water_runs import rattled_waters, write_host_model

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
