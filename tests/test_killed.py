"""Commands that are killed at random moments, and resumed to the bits of others.

Each trial starts a command, ends it after a random time by one of three signals, goes
on with --resume (and is ended once more), and at last comes to its end. What it has
written is what an undisturbed run writes, but for times. SIGKILL can strike anywhere,
also before Python is ready; SIGINT and SIGTERM end with the code of an interruption and
one line.
"""

import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import ase.build
import ase.io
import pytest
from water_runs import frames, rattled_waters, save_smallest_model, settings

import symjax

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(symjax.__file__).parent.parent
TRIALS = int(os.environ.get("SYMJAX_KILLED", "20"))
SIGNALS = (signal.SIGKILL, signal.SIGINT, signal.SIGTERM)
FRAMES = 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model of two numbers a layer, waters, and the configuration of a training."""
    folder = tmp_path_factory.mktemp("killed")
    save_smallest_model(folder / "model")
    waters = rattled_waters(FRAMES)
    ase.io.write(folder / "w.xyz", waters, format="extxyz")
    ase.io.write(folder / "frames.xyz", frames(), format="extxyz")
    targets = {"energy": {"energy_unit": "eV", "forces": "forces"}}
    run = settings("frames.xyz", steps=30, checkpoint_every=3, targets=targets)
    (folder / "run.yaml").write_text(json.dumps(run))
    return folder


MEASURE = ["report", "w.xyz", "--model", "model", "--max-degree", "1", "--no-figures"]
COMMANDS = {
    "report": [*MEASURE, "--no-html"],
    "survey": [*MEASURE[:6], "--survey", "8"],
    "train": ["train", "run.yaml"],
}
# A file that says whether there is something to resume.
BEGUN = {
    "report": "structures.jsonl",
    "survey": "survey.jsonl",
    "train": "run.json",
}


def start(folder, *options):
    environment = {k: v for k, v in os.environ.items() if "proxy" not in k.lower()}
    return subprocess.Popen(
        [sys.executable, "-m", "symjax", *options],
        cwd=folder,
        env=environment | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def result(command, output):
    """What must be the same to the bit; times are not."""
    if command == "report":
        report = json.loads((output / "report.json").read_text())
        for structure in report["structures"]:
            structure.pop("timing")
        report.pop("command", None)
        return report
    if command == "survey":
        report = json.loads((output / "survey.json").read_text())
        report.pop("command", None)
        return report, (output / "survey.csv").read_text()
    lines = (output / "metrics.csv").read_text().splitlines()
    head = lines[0].split(",")
    timed = [i for i, name in enumerate(head) if name.endswith("_per_second")]
    rows = [
        [cell for i, cell in enumerate(line.split(",")) if i not in timed]
        for line in lines
    ]
    weights = (output / "model" / "model.safetensors").read_bytes()
    return rows, (output / "validation.csv").read_text(), weights


def options_of(command, output):
    """The command, resumed where a user would resume it."""
    more = ["-o", str(output)]
    if (output / BEGUN[command]).exists():
        more.append("--resume")
    elif output.exists() and command != "train":
        more.append("--overwrite")
    return [*COMMANDS[command], *more]


@pytest.fixture(scope="module")
def undisturbed(folder):
    """Results and times of runs that nobody ends; compiled code is cached before."""
    found = {}
    for command in COMMANDS:
        for attempt in range(2):
            output = folder / f"{command}-whole-{attempt}"
            before = time.monotonic()
            process = start(folder, *options_of(command, output))
            said = process.communicate(timeout=600)
            assert process.returncode in (0, 3), said
        found[command] = result(command, output), time.monotonic() - before
    return found


@pytest.mark.parametrize("trial", range(TRIALS))
@pytest.mark.parametrize("command", COMMANDS)
def test_resumed_to_the_same_bits(folder, undisturbed, command, trial):
    expected, duration = undisturbed[command]
    chance = random.Random(f"{command} {trial}")
    output = folder / f"{command}-{trial}"
    history = []
    for kill in range(2):
        process = start(folder, *options_of(command, output))
        number = SIGNALS[(trial + kill) % len(SIGNALS)]
        wait = chance.uniform(0.2, 1.1) * duration
        try:
            said = process.communicate(timeout=wait)
        except subprocess.TimeoutExpired:
            process.send_signal(number)
            said = process.communicate(timeout=120)
        history.append((number.name, round(wait, 2), process.returncode, said[1]))
        polite = number != signal.SIGKILL
        # Before the command runs, Python ends in its own ways.
        early = not (output / BEGUN[command]).exists()
        # Shells report the end by a signal, while Python closes, as 130 too.
        admitted = {0, 3, -number} if early or not polite else {0, 3, 130, -number}
        assert process.returncode in admitted | ({1, 130} if early else set()), history
        if polite and not early:
            assert "Traceback" not in said[1], history
        if process.returncode in (0, 3):
            break
    else:
        process = start(folder, *options_of(command, output))
        said = process.communicate(timeout=600)
        history.append(("", 0, process.returncode, said[1]))
        assert process.returncode in (0, 3), history
    assert result(command, output) == expected, history
    leftovers = [path.name for path in output.rglob(".symjax*")]
    assert not leftovers, history
