"""Progress on standard error: bars on a terminal, otherwise lines."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from symjax._text import visible
from symjax.cli.streams import say

if TYPE_CHECKING:
    import rich.progress
    from rich.console import Console

    from symjax.runs import Progress


def _bars(console: "Console", unit: str, **settings: Any) -> "rich.progress.Progress":
    """Bars with a description, a count and the time left.

    Args:
      console: Where to draw them.
      unit: What is counted, with fields of a task in braces.
      settings: Of :class:`rich.progress.Progress`.
    """
    from rich import progress

    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TextColumn(unit),
        progress.TimeRemainingColumn(),
    )
    return progress.Progress(*columns, console=console, transient=True, **settings)


@contextlib.contextmanager
def measuring_progress() -> "Iterator[Callable[[Progress], None]]":
    """Shows progress on standard error: bars on a terminal, otherwise lines."""
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    pace, long = Pace(), LongWork()
    if not console.is_terminal:

        def write(step: "Progress") -> None:
            if step.finished is None:
                line = long.line(step)
            else:
                left = pace.left(step)
                line = f"{_line(step)}{left and '; '}{left}"
            if line:
                say(line, err=True)

        yield write
        return

    from rich.markup import escape

    # Structures take different times: the average over the whole run is best.
    forever = float("inf")
    unit = "{task.fields[unit]}"
    with _bars(console, unit, speed_estimate_period=forever) as display:
        everything = display.add_task("all", unit="items", visible=False)
        current = display.add_task("", unit="elements", visible=False)

        def watch(step: "Progress") -> None:
            done = step.finished is not None
            state = " (compiling)" if not step.done else ""
            display.update(
                current,
                description=f"{escape(visible(step.label))}{state}",
                completed=step.done,
                total=step.num_elements,
                visible=not done,
            )
            if not done or step.num_items == 1:
                return
            if step.kept:
                # Starts the clock again: it took no time.
                display.reset(everything)
            display.update(
                everything,
                completed=step.position,
                total=step.num_items,
                visible=True,
            )
            display.console.print(_line(step), markup=False)

        yield watch


class LongWork:
    """Lines about a structure that takes long: its cost first, then the time left."""

    # Evaluations that are announced before the first one, and those times the size.
    MANY, MUCH = 20_000, 500_000
    # Seconds until the first line about the time left; each one waits twice as long.
    FIRST = 5.0

    def __init__(self) -> None:
        self._label = ""
        self._next, self._waits = 0.0, self.FIRST
        # When the first call was done, which compiles, and how much that was.
        self._since: tuple[float, int] | None = None

    def line(self, step: "Progress") -> str:
        """Text about an unfinished structure; empty if there is nothing to report."""
        where = f"{step.position}/{step.num_items} {visible(step.label)}"
        now = time.monotonic()
        if not step.done or step.label != self._label:
            self._label, self._since = step.label, None
            self._next, self._waits = now + self.FIRST, self.FIRST
            if step.num_elements * step.size >= self.MUCH:
                return (
                    f"{where}: {step.num_elements:,} evaluations of {step.size:,} "
                    "atoms or points; --estimate predicts how long they take"
                )
            many = step.num_elements >= self.MANY
            return f"{where}: {step.num_elements:,} evaluations" if many else ""
        if self._since is None:
            self._since = now, step.done
        start, first = self._since
        if now < self._next or not first < step.done < step.num_elements:
            return ""
        seconds = (now - start) * (step.num_elements - step.done) / (step.done - first)
        if seconds < self.FIRST:
            return ""
        self._waits *= 2
        self._next = now + self._waits
        return (
            f"{where}: {step.done:,} of {step.num_elements:,} evaluations; "
            f"{_duration(seconds)} left"
        )


def _duration(seconds: float) -> str:
    """Text such as ``5 min``."""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


class Pace:
    """Time left, estimated from the structures that this run has measured."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._kept = 0

    def left(self, step: "Progress") -> str:
        """Text such as ``5 min left``; empty if nothing is left or known."""
        if step.kept:
            self._start, self._kept = time.monotonic(), step.position
        measured = step.position - self._kept
        if not measured or step.position == step.num_items:
            return ""
        each = (time.monotonic() - self._start) / measured
        return f"{_duration(each * (step.num_items - step.position))} left"


def _line(step: "Progress") -> str:
    """One finished structure in one line of a log."""
    done = step.finished
    position = f"{step.position}/{step.num_items} {visible(step.label)}"
    if done is None:
        return position
    if step.kept:
        return f"{position}: completed earlier"
    if done.failure is not None:
        return f"{position}: FAILED: {visible(done.failure.message)}"
    time = ""
    if done.timing is not None:
        seconds = done.timing.compile_seconds + done.timing.evaluation_seconds
        time = f" in {seconds:.1f} s"
    bad = sum(not leaf.resolved for leaf in done.leaves)
    state = f"{bad} of {len(done.leaves)} responses NOT resolved" if bad else "resolved"
    return f"{position}: {state}{time}"


@contextlib.contextmanager
def training_progress(
    steps: int,
) -> Iterator[Callable[[int, Mapping[str, float]], None]]:
    """Shows a training run on standard error: a bar on a terminal, and lines."""
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    with _bars(console, "steps", disable=not console.is_terminal) as display:
        task = display.add_task("compiling", total=steps)

        def watch(step: int, values: Mapping[str, float]) -> None:
            shown = "  ".join(
                f"{visible(name)} {value:.4g}" for name, value in values.items()
            )
            display.update(task, completed=step, description="training")
            console.print(f"step {step:>7}  {shown}", markup=False, soft_wrap=True)

        yield watch
