"""Workers: what they are sent, and what becomes of those that die."""

import collections
import concurrent.futures
import functools
import itertools
import os
import pathlib
import pickle
import signal
import subprocess
import sys
import time

import ase.build
import ase.io
import fake_report
import jax
import pytest

from symjax._signals import interrupt
from symjax.data import GraphShape
from symjax.errors import ArgumentError
from symjax.models import load_model
from symjax.report import (
    storage,
)
from symjax.runs import Options, Workers, run, workers
from symjax.runs.checked_items import Checks
from symjax.runs.evaluations import Evaluations
from symjax.runs.sources import as_source


class DiedError(Exception):
    """As of a process."""


@pytest.fixture
def dying(monkeypatch):
    """A task whose items end so many processes, which are pretended."""
    deaths = collections.Counter(once=1, twice=2)

    def task(name):
        deaths[name] -= 1
        if deaths[name] >= 0:
            raise DiedError
        return name

    def pool(task, items, jobs, under_way):
        items = iter(items)
        for item in items:
            try:
                yield task(*item)
            except DiedError:
                under_way += [item, *itertools.islice(items, 2 * jobs - 1)]
                return

    monkeypatch.setattr(workers, "_in_pool", pool)
    return task


class TestJobs:
    def test_what_workers_are_sent_and_send_back(self, tmp_path):
        options = Options(max_degree=3)
        model = load_model("pet-ethanol")
        source = as_source(model)
        beside = run._Beside(Checks(), Evaluations(tmp_path, source.digest))
        task = functools.partial(run._measured_or_failed, source, options, beside)
        sent = pickle.loads(pickle.dumps(task))
        assert sent.args[0].model.config == model.config
        assert sent.args[1] == options
        # silicon is no element of the model: fails before anything is compiled
        silane = ase.build.molecule("SiH4")
        failed = sent("silane", silane, GraphShape(5, 4, 1))
        assert failed.failure.type == "StructureError"
        for structure in (failed, *fake_report.report().structures):
            back = pickle.loads(pickle.dumps(structure))
            one, two = map(storage.structure_to_json, (back, structure))
            assert one == two

    def test_a_process_that_dies_leaves_its_items(self):
        # os._exit is what a kill for want of memory looks like.
        items = [("3 + 3",), ("__import__('os')._exit(3)",), ("1",), ("2",), ("4",)]
        left, rest = [], iter(items)
        assert list(workers._in_pool(eval, rest, 1, left))[:1] == [6]
        assert items[1] in left
        # No more are taken, so that they can be measured elsewhere.
        assert next(rest) in items[3:]

    def test_workers_that_only_die_are_reported(self, dying):
        finished = workers.in_processes(dying, [("twice",)], 1, lost=str)
        with pytest.raises(ArgumentError, match=r"jobs=1: a worker.*resume=True"):
            list(finished)

    def test_workers_that_die(self, dying):
        """What kills one loses nothing, what kills two is lost; the rest is done."""
        # The first two are under way together, and the third comes after them.
        items = [("once",), ("twice",), ("never",)]
        finished = workers.in_processes(dying, items, 1, lost=lambda name: f"no {name}")
        assert list(finished) == ["once", "no twice", "never"]
        atoms = ase.build.molecule("H2O")
        structure = run._lost("jobs", 2, "water", atoms, None)
        assert (structure.label, structure.num_atoms) == ("water", 3)
        assert "died" in structure.failure.message

    @pytest.mark.skipif(not hasattr(os, "kill"), reason="needs POSIX signals")
    def test_workers_end_with_their_parent(self, tmp_path):
        script = tmp_path / "parent.py"
        script.write_text(
            "import os, time\n"
            "from symjax.runs import workers\n"
            "if __name__ == '__main__':\n"
            "    items = [(f\"print(__import__('os').getpid(), flush=True) or \"\n"
            "              f\"__import__('time').sleep(600)\",)]\n"
            "    list(workers.in_processes(eval, items, 1, lost=str))\n"
        )
        command = [sys.executable, str(script)]
        parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        child = int(parent.stdout.readline())
        parent.kill()
        parent.wait()
        deadline = time.monotonic() + 60
        while _runs(child):
            assert time.monotonic() < deadline
            time.sleep(0.1)


def _runs(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    status = pathlib.Path(f"/proc/{process}/stat")
    # Ended, and nobody has asked for its exit code.
    return not (status.exists() and status.read_text().split()[2] == "Z")


def test_no_process_is_left_that_was_being_started(monkeypatch):
    """A signal waits until it is known; Ctrl-C does not reach it before it is ready."""

    class Pool:
        def __init__(self, *_):
            self.deaf, self.known, self.ended = False, False, False
            pools.append(self)

        def submit(self, *_):
            self.deaf = signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())
            signal.raise_signal(signal.SIGTERM)
            self.known = True

        def shutdown(self, **_):
            self.ended = True

    pools = []
    monkeypatch.setattr(concurrent.futures, "ProcessPoolExecutor", Pool)
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            list(Workers(jobs=2).map(len, [((),)], len))
    finally:
        signal.signal(signal.SIGTERM, before)
    (pool,) = pools
    assert (pool.deaf, pool.known, pool.ended) == (True, True, True)
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


@pytest.mark.parametrize("jobs", [0, -1, 2])
def test_impossible_numbers(jobs):
    devices = jax.devices()[:1] * 2
    with pytest.raises(ArgumentError, match=f"jobs={jobs}"):
        Workers(jobs, devices)


def test_few_items_are_handed_out_at_a_time():
    taken = []

    def items():
        for number in range(100):
            taken.append(number)
            yield (number,)

    devices = jax.devices()[:1] * 2
    finished = workers.on_devices(lambda x: x, items(), devices)
    first = next(finished)
    # twice the number of devices, and one for each result
    assert len(taken) <= 6
    assert sorted([first, *finished]) == [*range(100)]
