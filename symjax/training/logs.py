"""Files that a run writes as it goes on: CSV tables, TensorBoard and checkpoints."""

import csv
import io
import math
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from symjax._files import is_full, no_space, replace_atomically, reserve
from symjax._signals import uninterrupted
from symjax._text import spreadsheet_safe
from symjax.errors import ArgumentError
from symjax.training.optimisation import TrainState

METRICS, VALIDATION, TRAJECTORY = "metrics.csv", "validation.csv", "trajectory.csv"
CHECKPOINTS, CONFIGURATION, TENSORBOARD = "checkpoints", "run.json", "tensorboard"
KEPT = 2
"""Number of checkpoints that are kept."""


class Table:
    """A CSV file with a column ``step``, to which rows are appended.

    Text gets an apostrophe before ``=``, ``+``, ``-`` or ``@``, so that spreadsheets do
    not take it for a formula, and control characters are escaped.

    Args:
      path: The file.
      columns: Names of the columns; the first is ``step``.
      after: Last step whose rows are kept from an older file; -1 for a new run.
    """

    def __init__(self, path: Path, columns: Iterable[str], after: int = -1):
        self._path, self._columns = path, tuple(columns)
        kept = read_rows(path, after) if after >= 0 else []

        def write(part: Path) -> None:
            with open(part, "w", newline="") as file:
                writer = csv.writer(file, lineterminator="\n")
                writer.writerow(map(spreadsheet_safe, self._columns))
                writer.writerows(row.values() for row in kept)

        replace_atomically(path, write)

    def add(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Appends rows; missing columns stay empty.

        Raises:
          OSError: The disk is full.
        """
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        for row in rows:
            cells = (row.get(name, "") for name in self._columns)
            writer.writerow(
                spreadsheet_safe(cell) if isinstance(cell, str) else cell
                for cell in cells
            )
        try:
            with open(self._path, "a", newline="") as file:
                file.write(text.getvalue())
        except OSError as error:
            if not is_full(error):
                raise
            needed = f"{len(text.getvalue())} bytes more"
            raise no_space(self._path, needed) from error


def read_rows(path: Path, last: float = math.inf) -> list[dict[str, str]]:
    """Rows of a table as text, up to step ``last``; empty if there is no such file.

    An incomplete last row, of a run that was killed, is left out.
    """
    if not path.is_file():
        return []
    with open(path, newline="") as file:
        text = file.read()
    # What follows the last line feed was cut off, maybe within a number.
    lines = io.StringIO(text[: text.rfind("\n") + 1], newline="")
    rows = [row for row in csv.DictReader(lines) if None not in row.values()]
    return [row for row in rows if int(row["step"]) <= last]


def read_table(path: str | Path) -> dict[str, np.ndarray]:
    r"""Reads a table that a run wrote.

    Args:
      path: ``metrics.csv``, ``validation.csv`` or ``trajectory.csv``.

    Returns:
      Columns by name, as numbers where all entries are numbers or empty (NaN), and as
      text otherwise.

    Raises:
      ArgumentError: There is no such file.

    Example:
      >>> import pathlib, tempfile
      >>> from symjax.training import read_table
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = pathlib.Path(folder) / "metrics.csv"
      ...     _ = path.write_text("step,loss\n10,0.5\n20,0.25\n")
      ...     print(read_table(path)["loss"])
      [0.5  0.25]
    """
    path = Path(path)
    if not path.is_file():
        raise ArgumentError(
            "path", str(path), "does not exist", "Pass a file that a run wrote"
        )
    rows = read_rows(path)
    columns = {}
    for name in rows[0] if rows else ():
        entries = [row[name] for row in rows]
        try:
            columns[name] = np.array([float(entry or "nan") for entry in entries])
        except ValueError:
            columns[name] = np.array(entries)
    return columns


class Board:
    """Writes numbers for TensorBoard, into a folder whose old content is removed.

    A resumed run writes its tables again, as the event files of a run that was killed
    may be incomplete.
    """

    def __init__(self, folder: Path):
        # Imports PyTorch where it is installed; nothing else here needs it.
        import tensorboardX

        shutil.rmtree(folder, ignore_errors=True)
        self._writer = tensorboardX.SummaryWriter(str(folder))

    def add(self, group: str, step: int, values: Mapping[str, float]) -> None:
        """Writes the finite ones of some numbers under a common prefix."""
        for name, value in values.items():
            if math.isfinite(value):
                self._writer.add_scalar(f"{group}/{name}", value, step)

    def close(self) -> None:
        """Writes what is buffered, and closes the files."""
        self._writer.close()


class Checkpoints:
    """Checkpoints of a run, written atomically by orbax."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._manager = ocp.CheckpointManager(
            folder.absolute(),
            options=ocp.CheckpointManagerOptions(
                max_to_keep=KEPT, enable_async_checkpointing=False
            ),
        )

    def latest(self) -> int | None:
        """Step of the newest checkpoint, or None if there is none."""
        found: int | None = self._manager.latest_step()
        return found

    def save(self, state: TrainState, metrics: list[dict[str, float]]) -> None:
        """Saves a state under its step, unless that is the newest checkpoint.

        Args:
          state: The state.
          metrics: Metrics of the steps since the last line of ``metrics.csv``.

        Raises:
          ArgumentError: The disk is full; older checkpoints stay.
        """
        step = int(state.step)
        if step == self.latest():
            return
        # On the host: what is read back does not depend on where it was computed.
        host = jax.device_get(state)._asdict()
        args = ocp.args.Composite(
            state=ocp.args.StandardSave(host), metrics=ocp.args.JsonSave(metrics)
        )
        size = sum(np.asarray(leaf).nbytes for leaf in jax.tree.leaves(host))
        # What describes the arrays takes some space too.
        room = size + size // 8 + 2**18
        try:
            reserve(self._folder / str(step), room)
            with uninterrupted():
                self._manager.save(step, args=args)
                self._manager.wait_until_finished()
        except (OSError, ValueError) as error:
            if not (is_full(error) or "RESOURCE_EXHAUSTED" in str(error)):
                raise
            full = no_space(self._folder, f"about {room:,} bytes")
            raise ArgumentError(
                "folder",
                str(self._folder / str(step)),
                f"the checkpoint cannot be written ({full.strerror})",
                "Free some space, and resume: older checkpoints are intact",
            ) from error

    def restore(self, like: TrainState) -> tuple[TrainState, list[dict[str, float]]]:
        """Reads the newest checkpoint, of which there is one.

        Args:
          like: A state of the same structure and shapes.

        Returns:
          The state, and the metrics that were saved with it.

        Raises:
          ArgumentError: The checkpoint is damaged or of another model.
        """
        step = self.latest()
        host = jax.device_get(like)._asdict()
        try:
            args = ocp.args.Composite(
                state=ocp.args.StandardRestore(host), metrics=ocp.args.JsonRestore()
            )
            read = self._manager.restore(step, args=args)
        except Exception as error:
            raise ArgumentError(
                "resume",
                str(self._folder / str(step)),
                f"the checkpoint cannot be read: {error}",
                "Remove this folder to resume from the checkpoint before it",
            ) from error
        return TrainState(**jax.device_put(read["state"])), read["metrics"]

    def close(self) -> None:
        """Releases what orbax holds."""
        self._manager.close()
