"""Measures items on the workers of a running scheduler of :mod:`distributed`.

The scheduler may be started by hand, by ``dask-jobqueue`` under Slurm, or on a cloud.
It assigns items to workers and replaces workers that are lost. A run submits its items
one by one, and writes the results into its own journal.
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

# Timeout for the connection to a scheduler.
SECONDS_TO_ANSWER = 20

# The tasks of this worker, by the name of the run.
_tasks: dict[str, Task] = {}


@dataclasses.dataclass(frozen=True)
class Scheduler:
    """Workers of a scheduler of the package ``distributed``, extra ``[scheduler]``.

    Workers need the same versions of symjax and JAX as the run, and one thread each
    (``--nthreads 1``), as JAX uses all cores of a worker. They may join and leave
    during a run. The item of a lost worker is measured again, as often as the scheduler
    allows (``distributed.scheduler.allowed-failures``, of which 1 is enough), and then
    recorded as failed. A single item is measured there, too, and is recorded if it
    fails.

    Attributes:
      address: Address of the scheduler, such as ``tcp://node1:8786``.

    Example:
      >>> from symjax.runs import Scheduler
      >>> Scheduler("tcp://node1:8786").spreads(1)
      True
    """

    address: str

    @property
    def setting(self) -> tuple[str, Any]:
        """Name and value of the option, for messages."""
        return "scheduler", self.address

    def spreads(self, num: int) -> bool:
        """As :meth:`Workers.spreads`: whether there is an item."""
        return num > 0

    def alone(self) -> contextlib.AbstractContextManager[Any]:
        """Context for items that are measured in this process; not used."""
        return contextlib.nullcontext()

    def num_workers(self) -> int:
        """Number of workers at present.

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
        """As :meth:`Workers.map`; the function is sent to each worker once.

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
                # The scheduler may be gone.
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
            # One for each thread, so that a worker which dies loses one item.
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
                    "has ended, or has dropped an item",
                    "Start it again and continue with resume=True",
                )
            fill()


def _distributed() -> Any:
    with needs_extra("scheduler", "scheduler", "distributed", ArgumentError):
        import distributed
    return distributed


def _setup(run: str, task: Task) -> Any:
    """A plugin that prepares each worker, also those that join later."""
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
    """Prepares a worker; raises if its versions are others."""
    if versions != _versions():
        raise ArgumentError(
            "scheduler",
            _versions(),
            f"these versions of symjax and JAX of a worker differ from {versions}",
            "Install the same versions for the workers",
        )
    # Workers may have other devices.
    set_jax({k: v for k, v in settings.items() if k != "jax_platforms"})
    _tasks[run] = pickle.loads(task)


def _call(run: str, item: tuple[Any, ...]) -> Any:
    return _tasks[run](*item)
