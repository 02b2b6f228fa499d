"""Worker processes, and threads with a device each, that measure structures.

Processes are for the cores of one machine, threads for its accelerators: those share
what is compiled and the model, and only wait for their device.
"""

import concurrent.futures
import itertools
import multiprocessing
import os
import pickle
import queue
import signal
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import jax

from symjax.errors import ArgumentError

Task = Callable[..., Any]

# What a worker process must share with the process that started it.
_SETTINGS = (
    "jax_enable_x64",
    "jax_platforms",
    "jax_default_matmul_precision",
    "jax_compilation_cache_dir",
    "jax_persistent_cache_min_compile_time_secs",
)


def on_devices(
    task: Task, items: Iterable[tuple[Any, ...]], devices: Sequence[jax.Device]
) -> Generator[Any]:
    """Calls a function for each item, on several devices at once.

    Args:
      task: The function; what it computes with JAX runs on one of the devices.
      items: Its arguments.
      devices: Devices of this process.

    Yields:
      Results, as they are finished.

    Example:
      >>> import jax
      >>> from symjax.report.workers import on_devices
      >>> sorted(on_devices(lambda x: x**2, [(1,), (2,)], jax.devices()))
      [1, 4]
    """
    free: queue.SimpleQueue[jax.Device] = queue.SimpleQueue()
    for device in devices:
        free.put(device)
    own = threading.local()
    x64 = bool(jax.config.read("jax_enable_x64"))

    def start() -> None:
        own.device = free.get()

    def call(*item: Any) -> Any:
        # Both hold for a thread only.
        with jax.default_device(own.device), jax.enable_x64(x64):
            return task(*item)

    pool = concurrent.futures.ThreadPoolExecutor(len(devices), initializer=start)
    try:
        yield from _as_finished(pool, call, items, 2 * len(devices))
    finally:
        pool.shutdown(cancel_futures=True)


def in_processes(
    task: Task, items: Iterable[tuple[Any, ...]], jobs: int
) -> Generator[Any]:
    """Calls a function for each item, in several processes at once.

    The cores of the machine are divided among the processes where the system allows
    it; otherwise each would start threads for all of them.

    Args:
      task: The function, which is sent to each process once; must be picklable.
      items: Its arguments; picklable.
      jobs: Number of processes.

    Yields:
      Results, as they are finished.

    Raises:
      ArgumentError: A process has died.

    Example:
      >>> from symjax.report.workers import in_processes
      >>> callable(in_processes)
      True
    """
    # A forked copy of a process that runs JAX hangs.
    context = multiprocessing.get_context("spawn")
    shares: Any = context.SimpleQueue()
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    for number in range(jobs):
        shares.put(cores[number::jobs])
    settings = {name: getattr(jax.config, name) for name in _SETTINGS}
    before = set(multiprocessing.active_children())
    pool = concurrent.futures.ProcessPoolExecutor(
        jobs, context, _start, (shares, settings, pickle.dumps(task))
    )
    try:
        yield from _as_finished(pool, _call, items, 2 * jobs)
    except BrokenProcessPool as error:
        raise ArgumentError(
            "jobs",
            jobs,
            "a worker process has died; the system may have ended it for want of "
            "memory",
            "Continue with fewer jobs and resume=True",
        ) from error
    except BaseException:
        # Nobody waits for what they are measuring.
        for child in set(multiprocessing.active_children()) - before:
            child.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


_task: Task | None = None


def _start(shares: Any, settings: dict[str, Any], task: bytes) -> None:
    """Prepares a worker process; JAX has not started in it yet."""
    global _task
    # Ctrl-C goes to all processes of a terminal; the first one ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cores = shares.get()
    if cores:
        os.sched_setaffinity(0, cores)
    for name, value in settings.items():
        jax.config.update(name, value)
    _task = pickle.loads(task)


def _call(*item: Any) -> Any:
    assert _task is not None
    return _task(*item)


def _as_finished(
    pool: concurrent.futures.Executor,
    task: Task,
    items: Iterable[tuple[Any, ...]],
    most: int,
) -> Iterator[Any]:
    """Results as they are finished; at most a number of items is handed out."""
    rest = iter(items)
    waiting: set[concurrent.futures.Future[Any]] = set()
    while True:
        for item in itertools.islice(rest, most - len(waiting)):
            waiting.add(pool.submit(task, *item))
        if not waiting:
            return
        done, waiting = concurrent.futures.wait(
            waiting, return_when=concurrent.futures.FIRST_COMPLETED
        )
        for future in done:
            yield future.result()
