"""What only processes of their own can show: workers, devices, several hosts."""

import os
import pathlib
import socket
import subprocess
import sys

import ase.build
import ase.io
import flax.traverse_util
import numpy as np
import pytest

import symjax
from symjax import cli
from symjax.models.io import save_model
from symjax.models.pet import PETConfig, Target
from symjax.models.pet.model import PETModel, parameter_shapes
from symjax.report import read_report, schema

ROOT = pathlib.Path(symjax.__file__).parent.parent
FRAMES = 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model of two numbers a layer, and a folder with waters and a bad file."""
    folder = tmp_path_factory.mktemp("processes")
    config = PETConfig(
        species=(1, 8),
        # no energy, hence no gradient to compile
        targets=(Target("hardness", "eV"),),
        **dict.fromkeys(("d_pet", "d_node", "d_head", "d_feedforward"), 2),
        **dict.fromkeys(("num_heads", "num_gnn_layers", "num_attention_layers"), 1),
    )
    rng = np.random.default_rng(0)
    flat = {
        path: rng.normal(size=shape).astype(np.float32)
        for path, shape in parameter_shapes(config).items()
    }
    parameters = flax.traverse_util.unflatten_dict(flat, sep="/")
    save_model(PETModel("tiny", config, parameters, {}), folder / "model")
    waters = [ase.build.molecule("H2O") for _ in range(FRAMES)]
    for seed, water in enumerate(waters):
        water.rattle(0.02, seed=seed)
    (folder / "data").mkdir()
    ase.io.write(folder / "data" / "w.xyz", waters, format="extxyz")
    (folder / "data" / "cut.xyz").write_text("3\n\nO 0 0 0\n")
    return folder


def start(folder, *options, **environment):
    """Starts the command in the folder."""
    command = ["report", "data", "--model", "model", "--max-degree", "1"]
    clean = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    return subprocess.Popen(
        [sys.executable, "-m", "symjax", *command, "--no-figures", *options],
        cwd=folder,
        env=clean | {"PYTHONPATH": str(ROOT)} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def untimed(report):
    value = schema.to_json(report)
    for structure in value["structures"]:
        structure.pop("timing")
    return value["structures"]


@pytest.fixture(scope="module")
def spread(folder):
    """The report of two processes, and what they have said."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    options = ["--distributed", "--coordinator", address, "--num-processes", "2"]
    processes = [
        start(folder, "-o", "spread", *options, "--process-id", str(number))
        for number in range(2)
    ]
    said = [process.communicate(timeout=300) for process in processes]
    return read_report(folder / "spread"), [p.returncode for p in processes], said


def test_two_processes_write_one_report(folder, spread):
    report, codes, said = spread
    labels = ["w.xyz:0", "w.xyz:1", "w.xyz:2", "cut.xyz"]
    assert [s.label for s in report.structures] == labels, said
    assert [s.label for s in report.failed] == ["cut.xyz"]
    # The second process has the bad file in its share.
    assert codes[0] == cli.FAILED, said
    assert codes[1] == cli.FAILED, said
    assert "2/2 w.xyz:2" in said[0][1]
    assert "Process 0 writes the report" in said[1][1]
    assert "Symmetry report" not in said[1][0]
    names = {path.name for path in (folder / "spread").iterdir()}
    assert names == {
        *("report.html", "report.json", "report.txt", "results.h5"),
        "structures.jsonl",
    }


def test_devices_of_one_process_agree(folder, spread):
    process = start(
        *(folder, "-o", "devices", "--devices", "2"),
        XLA_FLAGS="--xla_force_host_platform_device_count=8",
    )
    _, said = process.communicate(timeout=300)
    assert process.returncode == cli.FAILED, said
    # the same program on devices of one kind: identical to the last bit
    assert untimed(read_report(folder / "devices")) == untimed(spread[0])


@pytest.mark.slow
def test_worker_processes_agree(folder, spread):
    process = start(folder, "-o", "jobs", "--jobs", "2")
    _, said = process.communicate(timeout=300)
    assert process.returncode == cli.FAILED, said
    assert "4/4" in said
    report = read_report(folder / "jobs")
    labels = [s.label for s in report.structures]
    assert labels == [s.label for s in spread[0].structures]
    for one, two in zip(spread[0].measured, report.measured, strict=True):
        for first, second in zip(one.leaves, two.leaves, strict=True):
            # Fewer threads for a worker may add float32 numbers in another order.
            assert second.totals.norm == pytest.approx(first.totals.norm, rel=1e-5)
