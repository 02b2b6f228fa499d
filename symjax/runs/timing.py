"""Time that JAX spends on tracing and compiling."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

import jax


@contextlib.contextmanager
def compile_seconds() -> Iterator[Callable[[], float]]:
    """Context that measures the time JAX spends on tracing and compiling.

    It is the union of the intervals of all events in this thread, as those of nested
    functions overlap.

    Yields:
      A function that returns the time so far in seconds.
    """
    intervals: list[tuple[float, float]] = []
    active = True
    # Other threads may measure other structures.
    thread = threading.get_ident()

    def listen(event: str, duration_secs: float, **kwargs: str | int) -> None:
        counts = active and threading.get_ident() == thread
        if counts and "/compile/" in event:
            now = time.perf_counter()
            intervals.append((now - duration_secs, now))

    def union() -> float:
        total, end = 0.0, float("-inf")
        for first, last in sorted(intervals):
            total += max(last - max(first, end), 0.0)
            end = max(end, last)
        return total

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield union
    finally:
        active = False
        # Older releases of JAX cannot remove a listener; it then stays idle.
        remove = getattr(jax.monitoring, "unregister_event_duration_listener", None)
        if remove is not None:
            remove(listen)
