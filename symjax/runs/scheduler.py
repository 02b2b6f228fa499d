"""Items on the workers of an engine that runs already: a scheduler of ``distributed``.

Clusters have engines that hand out work, wait for machines, replace those that are
lost: :mod:`distributed`, started by hand, by ``dask-jobqueue`` under Slurm, or on a
cloud. A run sends its items there one by one and writes what comes back into its own
journal; the engine knows nothing of reports.
"""

import contextlib
import dataclasses
import itertools
import pickle
import uuid
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any

import jax

import symjax
from symjax.errors import ArgumentError, needs_extra
from symjax.runs.workers import Task, jax_settings, set_jax

# How long a scheduler may take to answer.
SECONDS_TO_ANSWER = 20

# What workers of this process do for runs, by the name of the run.
_tasks: dict[str, Task] = {}


@dataclasses.dataclass(frozen=True)
class Scheduler:
    """Workers of a scheduler of the package ``distributed``, extra ``[scheduler]``.

    Workers need the same versions of symjax and JAX, and one thread each
    (``--nthreads 1``): JAX uses the cores of a worker by itself. They may come and go
    while a run goes on. What a lost worker was measuring is done again, as often as the
    scheduler allows (``distributed.scheduler.allowed-failures``, of which 1 is enough),
    then recorded as failed. A single item goes there too; where it fails, it is
    recorded.

    Attributes:
      address: Of the scheduler, such as ``tcp://node1:8786``.

    Example:
      >>> from symjax.runs import Scheduler
      >>> Scheduler("tcp://node1:8786").spreads(1)
      True
    """

    address: str

    @property
    def setting(self) -> tuple[str, Any]:
        """Name and value of what was chosen."""
        return "scheduler", self.address

    def spreads(self, num: int) -> bool:
        """Whether so many items are measured elsewhere.

        Args:
          num: Number of items.

        Returns:
          True, if there is one.
        """
        return num > 0

    def alone(self) -> contextlib.AbstractContextManager[Any]:
        """Where one item after another is measured; not used."""
        return contextlib.nullcontext()

    def num_workers(self) -> int:
        """Workers that are there now.

        Raises:
          ArgumentError: No scheduler answers.
        """
        with self._connected() as client:
            return len(client.nthreads())

    def map(
        self,
        task: Task,
        items: Iterable[tuple[Any, ...]],
        lost: Callable[..., Any],
    ) -> Generator[Any]:
        """Calls a function for each item, on the workers.

        Args:
          task: The function, which is sent to each worker once; must be picklable.
          items: Its arguments; picklable.
          lost: Called with the arguments of an item that is lost; returns its result.

        Yields:
          Results, as they are finished.

        Raises:
          ArgumentError: No scheduler answers, workers have other versions, or the
            scheduler ends.
        """
        run = uuid.uuid4().hex
        with self._connected() as client:
            client.register_plugin(_setup(run, task), name=run)
            try:
                yield from self._finished(client, run, iter(items), lost)
            finally:
                # The scheduler may be gone; then there is nothing to tidy.
                with contextlib.suppress(Exception):
                    client.unregister_worker_plugin(run)

    @contextlib.contextmanager
    def _connected(self) -> Iterator[Any]:
        distributed = _distributed()
        try:
            client = distributed.Client(
                self.address, timeout=SECONDS_TO_ANSWER, set_as_default=False
            )
        except (OSError, ValueError, TypeError) as error:
            raise ArgumentError(
                "scheduler",
                self.address,
                f"no scheduler answers there ({error})",
                "Start one with 'dask scheduler', and pass the address that it prints",
            ) from error
        with client:
            yield client

    def _finished(
        self,
        client: Any,
        run: str,
        rest: Iterator[tuple[Any, ...]],
        lost: Callable[..., Any],
    ) -> Iterator[Any]:
        distributed = _distributed()
        waiting: dict[Any, tuple[Any, ...]] = {}
        queue = distributed.as_completed(loop=client.loop, raise_errors=False)

        def fill() -> None:
            # One for each thread, so that a worker that dies has one on its conscience.
            room = max(sum(client.nthreads().values()), 1) - len(waiting)
            for item in itertools.islice(rest, max(room, 0)):
                future = client.submit(_call, run, item, pure=False)
                waiting[future] = item
                queue.add(future)

        fill()
        for future in queue:
            item = waiting.pop(future)
            if future.status == "finished":
                yield future.result()
            elif future.status == "error":
                error = future.exception()
                if not isinstance(error, distributed.scheduler.KilledWorker):
                    raise error
                yield lost(*item)
            else:
                raise ArgumentError(
                    "scheduler",
                    self.address,
                    "has ended, or has dropped what it was given",
                    "Start it again and continue with resume=True",
                )
            fill()


def _distributed() -> Any:
    with needs_extra("scheduler", "scheduler", "distributed", ArgumentError):
        import distributed
    return distributed


def _setup(run: str, task: Task) -> Any:
    """What every worker does before its first item, also one that comes later."""
    import cloudpickle
    from distributed import WorkerPlugin

    class Setup(WorkerPlugin):
        def __init__(self, *given: Any):
            self.given = given

        def setup(self, worker: Any) -> None:
            _prepare(*self.given)

        def teardown(self, worker: Any) -> None:
            _tasks.pop(self.given[0], None)

    return Setup(run, cloudpickle.dumps(task), jax_settings(), _versions())


def _versions() -> tuple[str, str]:
    return symjax.__version__, jax.__version__


def _prepare(
    run: str, task: bytes, settings: dict[str, Any], versions: tuple[str, str]
) -> None:
    """Prepares a worker; raises if it would compute other numbers."""
    if versions != _versions():
        raise ArgumentError(
            "scheduler",
            _versions(),
            f"these versions of symjax and JAX of a worker differ from {versions}",
            "Install the same versions for the workers",
        )
    # Which devices a worker has is its own affair.
    set_jax({k: v for k, v in settings.items() if k != "jax_platforms"})
    _tasks[run] = pickle.loads(task)


def _call(run: str, item: tuple[Any, ...]) -> Any:
    return _tasks[run](*item)
