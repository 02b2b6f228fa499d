"""A survey of many structures, killed twice and resumed: the same, in flat memory?

    python benchmarks/survey_killed.py [--number 10000] [--survey 16] [--model NAME]

Writes a file of rattled molecules and runs ``symjax report --survey`` on it in
processes of their own: once without a break, and once killed (SIGKILL) when a third and
two thirds of the journal are there, then continued with ``--resume``. Prints the time
and resident memory of every process while its journal grows, and fails unless both
surveys have the same figures to the last bit. By default the model is a PET of eight
numbers a layer as initialised, so that what is measured is all but the network.
"""

import argparse
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

import ase.io
import jax
from survey import mixed

from symjax.models.io import save_model
from symjax.models.pet import PETConfig, init_pet
from symjax.report.files import SURVEY_CSV, SURVEY_FILE, SURVEY_JOURNAL

TINY = PETConfig(
    species=(1, 6, 8),
    **dict.fromkeys(("d_pet", "d_node", "d_head", "d_feedforward"), 8),
    **dict.fromkeys(("num_heads", "num_gnn_layers", "num_attention_layers"), 1),
)


def resident(pid: int) -> int:
    """Resident memory of a process in MiB; 0 if it has ended."""
    try:
        text = pathlib.Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    lines = [line for line in text.splitlines() if line.startswith("VmRSS")]
    return int(lines[0].split()[1]) // 1024 if lines else 0


def run(folder: pathlib.Path, words: list[str], kill_at: int | None, total: int) -> int:
    """Runs the command, kills it at a number of structures; returns how many it had."""
    journal = folder / words[words.index("-o") + 1] / SURVEY_JOURNAL
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "symjax", *words],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    seen, position, said = 0, 0, 0
    while process.poll() is None:
        time.sleep(0.2)
        if journal.exists():
            with journal.open("rb") as file:
                file.seek(position)
                new = file.read()
            position += len(new)
            seen += new.count(b'"label": ')
        if seen >= said + total // 5:
            said = seen
            print(
                f"    {seen:>6} structures in the journal, "
                f"{time.perf_counter() - start:6.1f} s, {resident(process.pid)} MiB",
                flush=True,
            )
        if kill_at is not None and seen >= kill_at:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            print(f"    killed at {seen} structures")
            return seen
    print(
        f"    ended with code {process.returncode} after "
        f"{time.perf_counter() - start:.1f} s"
    )
    if process.returncode:
        raise SystemExit("the survey failed")
    return seen


def main() -> None:
    """Runs both, and compares."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--number", type=int, default=10_000)
    parser.add_argument("--survey", type=int, default=16)
    parser.add_argument("--model", help="default: a tiny one as initialised")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        ase.io.write(folder / "data.xyz", list(mixed(options.number).values()))
        model = options.model
        if model is None:
            model = "tiny"
            save_model(init_pet(TINY, jax.random.key(0)), folder / model)
        words = ["report", "data.xyz", "--model", model, "--max-degree", "3"]
        words += ["--survey", str(options.survey), "-o"]
        total = options.number
        print("undisturbed")
        run(folder, [*words, "whole"], None, total)
        print("killed twice")
        run(folder, [*words, "killed"], total // 3, total)
        run(folder, [*words, "killed", "--resume"], 2 * total // 3, total)
        run(folder, [*words, "killed", "--resume"], None, total)
        found = []
        for out in ("whole", "killed"):
            report = json.loads((folder / out / SURVEY_FILE).read_text())
            del report["command"]
            found.append((report, (folder / out / SURVEY_CSV).read_bytes()))
        if found[0] != found[1]:
            raise SystemExit("the surveys differ")
        num = found[0][0]["visited"]
        print(f"{num:,} structures: all figures and columns are the same to the bit")


if __name__ == "__main__":
    main()
