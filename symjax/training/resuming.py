"""Settings that may change when a run is resumed, as its results do not."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import pydantic
from pydantic import Field

from symjax._declared import refusal
from symjax._files import read_bounded
from symjax.errors import ArgumentError
from symjax.training.configuration import AtomsRun, EventsRun, Run
from symjax.training.optimisation import steps_that_count
from symjax.training.sections import Section

_FREE = ("log_every", "validate_every", "checkpoint_every", "monitor")
_SPLIT = ("accumulate", "devices")


class Change(Section):
    """A setting that was changed when a run was resumed.

    Attributes:
      step: Number of steps done before.
      key: The key, such as ``"batch.devices"``.
      before: Its value until then.
      after: Its value from then on.
    """

    step: int
    key: str
    before: Any
    after: Any


class RunFile(Section):
    """Contents of ``run.json`` in the folder of a run.

    Attributes:
      run: The current configuration.
      data: Digest of the data and of the initial model; empty before they are read.
      changes: Settings that were changed, in order.
    """

    run: Annotated[AtomsRun | EventsRun, Field(discriminator="kind")]
    data: str = ""
    changes: tuple[Change, ...] = ()

    @classmethod
    def read(cls, path: Path) -> "RunFile":
        """Reads the file of an earlier run.

        Raises:
          ArgumentError: It cannot be read, or is damaged.
        """
        try:
            return cls.model_validate_json(read_bounded(path))
        except pydantic.ValidationError as error:
            remedy = "Start the run again"
            raise refusal(error, source=str(path), remedy=remedy) from error
        except OSError as error:
            raise ArgumentError(
                "resume", str(path), f"cannot be read: {error}", "Start the run again"
            ) from error

    def with_data(self, digest: str) -> "RunFile":
        """A copy with the digest of the data.

        Raises:
          ArgumentError: The data or the initial model have changed since the run was
            started.
        """
        if self.data not in ("", digest):
            raise ArgumentError(
                "data",
                self.run.data.training,
                "data or initial model have changed since the run was started, under "
                "the same names",
                "Restore these files, or start another run in another folder",
            )
        return self.model_copy(update={"data": digest})


def changes_of(
    before: Run, run: Run, done: int, *, extend: bool = False
) -> list[Change]:
    """Lists the settings of a resumed run that have changed, if they may.

    The intervals of logging, validation and checkpoints and the monitor may change. For
    atoms, ``batch.accumulate`` and ``batch.devices`` may, if their product stays the
    same. The number of steps may change if the learning rate does not depend on it, or
    with ``extend``: the rate then follows the new number from step ``done`` on.

    Args:
      before: The configuration of the earlier run.
      run: The configuration to resume with.
      done: Number of steps done.
      extend: Whether the number of steps may change a schedule that depends on it.

    Returns:
      The changes, sorted by key.

    Raises:
      ArgumentError: Another setting has changed.

    Example:
      >>> from symjax.errors import ArgumentError
      >>> from symjax.training import parse_run
      >>> from symjax.training.resuming import changes_of
      >>> before = {"kind": "events", "steps": 10}
      >>> changes_of(parse_run(before), parse_run({**before, "log_every": 5}), done=4)
      [Change(step=4, key='log_every', before=50, after=5)]
      >>> try:
      ...     changes_of(parse_run(before), parse_run({**before, "steps": 20}), 4)
      ... except ArgumentError as error:
      ...     print(error.argument)
      steps
    """
    old, new = (_flat(each.model_dump(mode="json")) for each in (before, run))
    found = [
        Change(step=done, key=key, before=old.get(key), after=new.get(key))
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
    """Values by key, with the keys of the batch apart."""
    flat = {key: value for key, value in settings.items() if key != "batch"}
    flat.update({f"batch.{key}": value for key, value in settings["batch"].items()})
    return flat


def _check_steps(before: Run, run: Run, done: int, extend: bool) -> None:
    if run.steps < done:
        raise ArgumentError(
            "steps",
            run.steps,
            f"the run has done {done}",
            "Give as many at least, or start another run in another folder",
        )
    # [optimizer] itself has not changed.
    old, new = (steps_that_count(run.optimizer, n) for n in (before.steps, run.steps))
    if old != new and not extend:
        raise ArgumentError(
            "steps",
            run.steps,
            f"the run was started with {before.steps}, on which the learning rate "
            f"depends (schedule {run.optimizer.schedule!r}, warmup "
            f"{run.optimizer.warmup})",
            f"Pass {{extend}} to let it follow a run of {run.steps} steps from step "
            f"{done} on, which is recorded in run.json and in the model's card; or "
            "restore this key",
            extend=True,
        )
