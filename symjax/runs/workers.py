"""Measures items in worker processes, or in threads with one device each.

Processes use the cores of a machine, threads its accelerators. Threads share the model
and compiled programs, as they only wait for their device.
"""

import concurrent.futures
import contextlib
import dataclasses
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

from symjax._signals import uninterrupted
from symjax.errors import ArgumentError

Task = Callable[..., Any]

# Settings of JAX that workers must share with the main process.
_SETTINGS = (
    "jax_enable_x64",
    "jax_platforms",
    "jax_default_matmul_precision",
    "jax_compilation_cache_dir",
    "jax_persistent_cache_min_compile_time_secs",
)


@dataclasses.dataclass(frozen=True)
class Workers:
    """Processes or devices for the items of a run; by default this process alone.

    Attributes:
      jobs: Number of processes, each of which measures one item at a time. With more
        than one, the main code of a script must be guarded by
        ``if __name__ == "__main__":``.
      devices: Devices, each of which measures one item at a time; by default JAX's
        default device.

    Raises:
      ArgumentError: ``jobs`` is less than 1, or is combined with several devices.

    Example:
      >>> from symjax.runs import Workers
      >>> Workers().spreads(9), Workers(jobs=2).spreads(9)
      (False, True)
    """

    jobs: int = 1
    devices: Sequence[jax.Device] = ()

    def __post_init__(self) -> None:
        if self.jobs < 1:
            raise ArgumentError(
                "jobs", self.jobs, "is not a number of processes", "Pass 1 or more"
            )
        if self.jobs > 1 and len(self.devices) > 1:
            raise ArgumentError(
                "jobs",
                self.jobs,
                "cannot be combined with several devices: processes do not share them",
                "Use jobs on a machine without accelerators, devices on one with "
                "several",
            )

    @property
    def setting(self) -> tuple[str, Any]:
        """Name and value of the option, for messages."""
        return "jobs", self.jobs

    def spreads(self, num: int) -> bool:
        """Whether items are measured by :meth:`map` rather than one after another.

        Args:
          num: Number of items.

        Returns:
          Whether there are several items, and several processes or devices.
        """
        return num > 1 and max(self.jobs, len(self.devices)) > 1

    def alone(self) -> contextlib.AbstractContextManager[Any]:
        """Context for items that are measured one after another in this process."""
        if self.devices:
            return jax.default_device(self.devices[0])
        return contextlib.nullcontext()

    def map(
        self,
        task: Task,
        items: Iterable[tuple[Any, ...]],
        lost: Callable[..., Any],
    ) -> Generator[Any]:
        """Calls a function for each item, in several processes or on several devices.

        Args:
          task: The function; must be picklable for processes.
          items: Its arguments.
          lost: Function that returns the result of an item whose process died twice,
            given its arguments.

        Returns:
          Results in the order in which they are finished.

        Raises:
          ArgumentError: Processes die and no item can be measured.
        """
        if self.jobs > 1:
            return in_processes(task, items, self.jobs, lost)
        return on_devices(task, items, self.devices)


def on_devices(
    task: Task, items: Iterable[tuple[Any, ...]], devices: Sequence[jax.Device]
) -> Generator[Any]:
    """As :meth:`Workers.map`, in one thread for each device."""
    free: queue.SimpleQueue[jax.Device] = queue.SimpleQueue()
    for device in devices:
        free.put(device)
    own = threading.local()
    x64 = bool(jax.config.read("jax_enable_x64"))

    def start() -> None:
        own.device = free.get()

    def call(*item: Any) -> Any:
        # Both settings are those of a thread.
        with jax.default_device(own.device), jax.enable_x64(x64):
            return task(*item)

    pool = concurrent.futures.ThreadPoolExecutor(len(devices), initializer=start)
    try:
        yield from _as_finished(pool, call, items, 2 * len(devices))
    finally:
        pool.shutdown(cancel_futures=True)


def in_processes(
    task: Task,
    items: Iterable[tuple[Any, ...]],
    jobs: int,
    lost: Callable[..., Any],
) -> Generator[Any]:
    """As :meth:`Workers.map`, in several processes at once.

    The cores of the machine are divided among the processes where the system allows it,
    as each would otherwise start threads for all of them. Processes end with their
    parent. If one dies, the items in progress are measured again, each alone in a new
    process; those that kill it again are lost.

    Raises:
      ArgumentError: Items are lost before any result is there.
    """
    items = list(items)
    jobs = max(min(jobs, len(items)), 1)
    remaining = iter(items)
    worked = False
    while True:
        under_way: list[tuple[Any, ...]] = []
        for result in _in_pool(task, remaining, jobs, under_way):
            worked = True
            yield result
        if not under_way:
            return
        gone = []
        for item in under_way:
            failed: list[tuple[Any, ...]] = []
            for result in _in_pool(task, [item], 1, failed):
                worked = True
                yield result
            gone += failed
        if gone and not worked:
            raise ArgumentError(
                "jobs",
                jobs,
                "a worker process died; the system may have killed it for lack of "
                "memory",
                "Continue with fewer jobs and {resume}",
                resume=True,
            )
        for item in gone:
            yield lost(*item)


def _in_pool(
    task: Task,
    items: Iterable[tuple[Any, ...]],
    jobs: int,
    under_way: list[tuple[Any, ...]],
) -> Generator[Any]:
    """Results of a pool of processes; if one dies, lists the items in progress."""
    # A forked copy of a process that runs JAX hangs.
    context = multiprocessing.get_context("spawn")
    shares: Any = context.SimpleQueue()
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    for number in range(jobs):
        shares.put(cores[number::jobs])
    settings = jax_settings()
    before = set(multiprocessing.active_children())
    pool = concurrent.futures.ProcessPoolExecutor(
        jobs, context, _start, (shares, settings, pickle.dumps(task))
    )
    try:
        yield from _as_finished(pool, _call, items, 2 * jobs, under_way)
    except BaseException:
        # Their results are not needed any more.
        for child in set(multiprocessing.active_children()) - before:
            child.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def jax_settings() -> dict[str, Any]:
    """Settings of JAX that a worker must share with the main process."""
    return {name: getattr(jax.config, name) for name in _SETTINGS}


def set_jax(settings: dict[str, Any]) -> None:
    """Applies the settings of :func:`jax_settings` to this process."""
    for name, value in settings.items():
        jax.config.update(name, value)


_task: Task | None = None


def _start(shares: Any, settings: dict[str, Any], task: bytes) -> None:
    """Prepares a worker process; JAX has not started in it yet."""
    global _task
    # Ctrl-C goes to all processes of a terminal; the first one ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    cores = shares.get()
    if cores:
        os.sched_setaffinity(0, cores)
    set_jax(settings)
    _task = pickle.loads(task)


def _end_with_parent() -> None:
    """Ends this process as soon as its parent has ended for any reason."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _call(*item: Any) -> Any:
    assert _task is not None
    return _task(*item)


@contextlib.contextmanager
def _starting() -> Iterator[None]:
    """Context in which a process may be started: none that nobody knows is left.

    Starting one takes seconds, until it has read what it needs. It is deaf to Ctrl-C
    from the beginning, before :func:`_start` is called in it.
    """
    with uninterrupted():
        if not hasattr(signal, "pthread_sigmask"):
            yield
            return
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _as_finished(
    pool: concurrent.futures.Executor,
    task: Task,
    items: Iterable[tuple[Any, ...]],
    most: int,
    under_way: list[tuple[Any, ...]] | None = None,
) -> Iterator[Any]:
    """Results as they are finished, with at most ``most`` submitted items.

    If a process of the pool dies, submitted items without a result are added to
    ``under_way``, and no more are submitted.
    """
    remaining = iter(items)
    waiting: dict[concurrent.futures.Future[Any], tuple[Any, ...]] = {}
    broken: list[tuple[Any, ...]] = []
    while True:
        for item in itertools.islice(remaining, 0 if broken else most - len(waiting)):
            try:
                with _starting():
                    waiting[pool.submit(task, *item)] = item
            except BrokenProcessPool:
                broken.append(item)
                break
        if not waiting:
            break
        done, _ = concurrent.futures.wait(
            waiting, return_when=concurrent.futures.FIRST_COMPLETED
        )
        for future in done:
            item = waiting.pop(future)
            if isinstance(future.exception(), BrokenProcessPool):
                broken.append(item)
            else:
                yield future.result()
    if under_way is not None:
        under_way += broken
