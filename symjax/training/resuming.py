"""What a run that goes on may change: all that leaves its numbers as they are.

``run.json`` holds the configuration as it is now and, under ``changes``, what has been
changed at which step.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from symjax._files import check_readable
from symjax.errors import ArgumentError
from symjax.training.configuration import EventsRun, Run

CHANGES = "changes"
_FREE = ("log_every", "validate_every", "checkpoint_every", "monitor")
_SPLIT = ("accumulate", "devices")


class Change(NamedTuple):
    """One key that a run has gone on with another value of.

    Attributes:
      step: Steps done before.
      key: The key, such as ``"batch.devices"``.
      before: Its value until then.
      after: Its value from then on.
    """

    step: int
    key: str
    before: Any
    after: Any


def read_changes(path: Path) -> tuple[dict[str, Any], list[Change]]:
    """What a run was when it was left, and what had been changed until then."""
    try:
        check_readable(path)
        settings = json.loads(path.read_text())
        changes = [Change(**change) for change in settings.pop(CHANGES)]
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ArgumentError(
            "resume", str(path), f"cannot be read: {error!r}", "Start the run again"
        ) from error
    return settings, changes


def changes_of(
    before: Mapping[str, Any], run: Run, done: int, *, extend: bool = False
) -> list[Change]:
    """What a run that goes on does otherwise; refused if it changes its numbers.

    Free are logging, validation, checkpoints and the monitor; for atoms the division
    of a step among devices and micro-batches, if their product stays; and the number of
    steps, where the learning rate does not depend on it. A schedule that does follows
    the new number from the step ``done`` at which the run goes on, with ``extend``.

    Example:
      >>> from symjax.errors import ArgumentError
      >>> from symjax.training import parse_run
      >>> from symjax.training.resuming import changes_of
      >>> before = {"kind": "events", "steps": 10}
      >>> settings = parse_run(before).model_dump(mode="json")
      >>> changes_of(settings, parse_run({**before, "log_every": 5}), done=4)
      [Change(step=4, key='log_every', before=50, after=5)]
      >>> try:
      ...     changes_of(settings, parse_run({**before, "steps": 20}), done=4)
      ... except ArgumentError as error:
      ...     print(error.argument)
      steps
    """
    old, new = _flat(before), _flat(run.model_dump(mode="json"))
    found = [
        Change(done, key, old.get(key), new.get(key))
        for key in sorted({*old, *new})
        if old.get(key) != new.get(key)
    ]
    for change in found:
        if change.key in _FREE or (done == 0 and change.key == "steps"):
            continue
        if change.key == "steps":
            _check_steps(before, run, done, extend)
            continue
        remedy = "Restore this key, or start another run in another folder"
        problem = f"the run was started with {change.before!r}"
        if change.key in [f"batch.{name}" for name in _SPLIT]:
            products = [
                values["batch.accumulate"] * values["batch.devices"]
                for values in (old, new)
            ]
            if products[0] == products[1] and not isinstance(run, EventsRun):
                continue
            if isinstance(run, EventsRun):
                problem += ", and batch norms depend on how a step is divided"
            else:
                problem += f", and accumulate x devices was {products[0]}"
                remedy = "Keep the product of accumulate and devices"
        raise ArgumentError(change.key, change.after, problem, remedy)
    return found


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Values by key; those of the batch one by one."""
    flat = {key: value for key, value in settings.items() if key != "batch"}
    flat.update({f"batch.{key}": value for key, value in settings["batch"].items()})
    return flat


def _check_steps(before: Mapping[str, Any], run: Run, done: int, extend: bool) -> None:
    if run.steps < done:
        raise ArgumentError(
            "steps",
            run.steps,
            f"the run has done {done}",
            "Give as many at least, or start another run in another folder",
        )
    # A warm-up is cut off where a run is shorter; [optimizer] itself has not changed.
    warmups = {min(run.optimizer.warmup, n - 1) for n in (before["steps"], run.steps)}
    constant = run.optimizer.schedule == "constant" and len(warmups) == 1
    if not (constant or extend):
        raise ArgumentError(
            "steps",
            run.steps,
            f"the run was started with {before['steps']}, on which the learning rate "
            f"depends (schedule {run.optimizer.schedule!r}, warmup "
            f"{run.optimizer.warmup})",
            f"Pass {{extend}} to let it follow a run of {run.steps} steps from step "
            f"{done} on, which is recorded in run.json and in the model's card; or "
            "restore this key",
            extend=True,
        )
