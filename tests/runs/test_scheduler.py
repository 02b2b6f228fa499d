"""What only processes of their own can show: workers, devices, a scheduler."""

import os
import pathlib
import subprocess
import sys

import ase.build
import ase.io
import dask
import distributed
import jax
import pytest
from typer.testing import CliRunner
from water_runs import rattled_waters, save_smallest_model

import symjax
from symjax import cli
from symjax.errors import ArgumentError
from symjax.report import read_report, storage
from symjax.runs import Scheduler

ROOT = pathlib.Path(symjax.__file__).parent.parent
FRAMES = 3
COMMAND = ["report", "data", "--model", "model", "--max-degree", "1", "--no-figures"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model of two numbers a layer, and a folder with waters and a bad file."""
    folder = tmp_path_factory.mktemp("processes")
    save_smallest_model(folder / "model")
    waters = rattled_waters(FRAMES)
    (folder / "data").mkdir()
    ase.io.write(folder / "data" / "w.xyz", waters, format="extxyz")
    (folder / "data" / "cut.xyz").write_text("3\n\nO 0 0 0\n")
    return folder


def start(folder, *options):
    """Starts the command in the folder."""
    clean = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    return subprocess.Popen(
        [sys.executable, "-m", "symjax", *COMMAND, *options],
        cwd=folder,
        env=clean | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def untimed(report):
    value = storage.to_json(report)
    for structure in value["structures"]:
        structure.pop("timing")
    return value["structures"]


@pytest.fixture(scope="module")
def scheduler():
    """A scheduler with one worker, which is started again when it dies."""
    again = {
        "distributed.scheduler.allowed-failures": 0,
        # On a busy machine a worker takes longer to start again than a cluster waits.
        "distributed.deploy.lost-worker-timeout": "300s",
        # What workers import is imported once, for that which takes its place too.
        "distributed.worker.multiprocessing-method": "forkserver",
    }
    with dask.config.set(again):
        processes = distributed.utils.get_mp_context()
        processes.set_forkserver_preload(["distributed", "symjax.runs.scheduler"])
        with distributed.LocalCluster(
            n_workers=1, threads_per_worker=1, dashboard_address=None, silence_logs=50
        ) as cluster:
            yield cluster.scheduler_address


def report_here(folder, name, *options):
    """The report of the command in this process, and what was said."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        done = CliRunner().invoke(cli.app, [*COMMAND, "-o", name, *options])
    return read_report(folder / name), done


@pytest.fixture(scope="module")
def spread(folder, scheduler):
    return report_here(folder, "spread", "--scheduler", scheduler)


def test_workers_of_a_scheduler_write_one_report(folder, spread):
    report, done = spread
    labels = ["w.xyz:0", "w.xyz:1", "w.xyz:2", "cut.xyz"]
    assert done.exit_code == cli.FAILED, done.output
    assert [s.label for s in report.structures] == labels
    assert [s.label for s in report.failed] == ["cut.xyz"]
    names = {path.name for path in (folder / "spread").iterdir()}
    assert names == {
        *("report.html", "report.json", "report.txt", "results.h5"),
        "structures.jsonl",
    }


def test_what_ends_its_workers_is_lost_and_the_rest_is_done(scheduler, tmp_path):
    def task(number, folder):
        with (folder / str(number)).open("a") as file:
            file.write("started\n")
        if number == 1:
            os._exit(1)
        return number

    items = [(number, tmp_path) for number in range(5)]
    found = list(Scheduler(scheduler).map(task, items, lambda *item: -item[0]))
    assert sorted(found) == [-1, 0, 2, 3, 4]
    # As often as the scheduler allows.
    assert len((tmp_path / "1").read_text().splitlines()) == 1


def test_a_bug_ends_the_run_and_leaves_the_scheduler(scheduler):
    def task(number):
        return 1 / number

    with pytest.raises(ZeroDivisionError):
        list(Scheduler(scheduler).map(task, [(0,), (1,)], lambda *item: None))
    assert list(Scheduler(scheduler).map(task, [(1,)], lambda *item: None)) == [1.0]


def test_workers_of_another_version_are_refused(scheduler, monkeypatch):
    monkeypatch.setattr(symjax, "__version__", "0")
    with pytest.raises(ArgumentError, match=r"versions of symjax and JAX.*differ"):
        list(Scheduler(scheduler).map(len, [("ab",)], lambda *item: None))


def test_no_scheduler(monkeypatch):
    monkeypatch.setattr("symjax.runs.scheduler.SECONDS_TO_ANSWER", 0.5)
    for address in ("tcp://127.0.0.1:9", "nowhere"):
        with pytest.raises(ArgumentError, match="no scheduler answers"):
            Scheduler(address).num_workers()


@pytest.mark.skipif(jax.device_count() < 2, reason="needs several devices")
def test_devices_of_one_process_agree(folder, spread):
    report, done = report_here(folder, "devices", "--devices", "all", "--no-html")
    assert done.exit_code == cli.FAILED, done.output
    # the same program on devices of one kind: identical to the last bit
    assert untimed(report) == untimed(spread[0])


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
