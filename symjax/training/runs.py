"""Training runs, from a configuration to a trained model, in one folder.

The folder contains ``run.json`` (:class:`~symjax.training.resuming.RunFile`: the
configuration, its changes, a digest of the data), ``metrics.csv``, ``validation.csv``,
``trajectory.csv``, ``tensorboard/``, ``checkpoints/``, ``best/`` (the model with the
best validation so far) and, at the end, ``model/``. A run that was killed resumes from
its last checkpoint, with the same results as an uninterrupted one.
"""

import dataclasses
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from symjax._files import held, replace_atomically
from symjax._signals import uninterrupted
from symjax.errors import ArgumentError, SymjaxError
from symjax.models.io import Model, save_model
from symjax.training import logs
from symjax.training.configuration import AtomsRun, Run
from symjax.training.loader import load
from symjax.training.monitor import COLUMNS, Monitor
from symjax.training.optimisation import (
    Schedule,
    device_mesh,
    gradients,
    learning_rate,
    make_step,
    place,
    start,
)
from symjax.training.problems import Problem, atoms_problem, card_of, events_problem
from symjax.training.resuming import RunFile, changes_of

MODEL, BEST = "model", "best"

Watch = Callable[[int, Mapping[str, float]], None]


class TrainingError(SymjaxError):
    """A run cannot continue; the message names the step and its structures.

    Example:
      >>> from symjax.training import TrainingError
      >>> print(TrainingError("loss", float("nan"), "is not finite", "Train slower"))
      loss=nan: is not finite. Train slower.
    """


@dataclasses.dataclass(frozen=True)
class Trained:
    """The result of a training.

    Attributes:
      model: The model with averaged parameters.
      step: Number of steps done.
      complete: Whether these are all steps of the run.
      errors: Errors of the last validation; empty if there was none.

    Example:
      >>> from symjax.training import Trained
      >>> Trained(None, 10, True, {}).complete
      True
    """

    model: Model
    step: int
    complete: bool
    errors: dict[str, float]


def train(
    run: Run,
    folder: str | Path,
    *,
    resume: bool = False,
    extend: bool = False,
    overwrite: bool = False,
    max_seconds: float = float("inf"),
    watch: Watch | None = None,
) -> Trained:
    """Trains a model.

    Args:
      run: The configuration, from :func:`read_run`.
      folder: The output folder; created if it does not exist.
      resume: Whether to resume from the last checkpoint in the folder, if there is one.
        Only settings that leave the results unchanged may differ from those of the
        earlier run, see :func:`~symjax.training.resuming.changes_of`.
      extend: Whether a resumed run may have another number of steps where the learning
        rate depends on it.
      overwrite: Whether to remove an earlier run in the folder.
      max_seconds: Time after which a checkpoint is saved and the run returns.
      watch: Called with the step and the numbers of each line of metrics and of each
        validation, for a progress bar.

    Returns:
      The model and its errors.

    Raises:
      ArgumentError: The folder contains a run that is neither resumed nor overwritten,
        another process trains in it, a setting may not change, there are too few
        devices, float64 needs JAX's x64 mode, or the disk is full.
      StructureError: A file, a structure or a label cannot be used.
      ModelError: The initial model cannot be used.
      TrainingError: The loss or a gradient is not finite.
      KeyboardInterrupt: On SIGINT, after a checkpoint has been saved.

    Example:
      >>> import pathlib, tempfile
      >>> import ase.build, ase.io
      >>> from symjax.training import parse_run, train
      >>> def example(folder):
      ...     frames = [ase.build.molecule("H2O") for _ in range(4)]
      ...     for index, atoms in enumerate(frames):
      ...         atoms.rattle(0.05, seed=index)
      ...         atoms.info["charge_sum"] = float(index)
      ...     ase.io.write(folder / "frames.xyz", frames)
      ...     tiny = {"d_pet": 4, "d_node": 4, "d_head": 4, "d_feedforward": 4,
      ...             "num_heads": 1, "num_gnn_layers": 1, "num_attention_layers": 1}
      ...     run = parse_run({
      ...         "steps": 2, "data": {"training": str(folder / "frames.xyz"),
      ...                              "validation_fraction": 0.0},
      ...         "model": {"hyperparameters": tiny},
      ...         "targets": {"charge_sum": {}}})
      ...     return train(run, folder / "out")
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     example(pathlib.Path(folder)).step
      2
    """
    _check_devices(run)
    with held(Path(folder), "folder"):
        file = _taken(run, Path(folder), resume, extend, overwrite)
        return _train(file, Path(folder), watch, max_seconds)


def _taken(
    run: Run, folder: Path, resume: bool, extend: bool, overwrite: bool
) -> RunFile:
    """Prepares a folder for a run; returns its file with the changes of settings."""
    path = folder / logs.CONFIGURATION
    started = path.is_file()
    if started and overwrite and not resume:
        for name in (MODEL, BEST, logs.CHECKPOINTS, logs.TENSORBOARD):
            shutil.rmtree(folder / name, ignore_errors=True)
        # A resumed table keeps its rows, which would be taken for those of this run.
        for name in (logs.METRICS, logs.VALIDATION, logs.TRAJECTORY):
            (folder / name).unlink(missing_ok=True)
        path.unlink()
        started = False
    if not started:
        return RunFile(run=run)
    if not resume:
        raise ArgumentError(
            "folder",
            str(folder),
            "holds a run",
            "Resume it, overwrite it, or choose another folder",
        )
    before = RunFile.read(path)
    checkpoints = logs.Checkpoints(folder / logs.CHECKPOINTS)
    done = checkpoints.latest() or 0
    checkpoints.close()
    changes = changes_of(before.run, run, done, extend=extend)
    return before.model_copy(
        update={"run": run, "changes": (*before.changes, *changes)}
    )


def _train(
    file: RunFile, folder: Path, watch: Watch | None, max_seconds: float
) -> Trained:
    """Trains in a folder that this process has locked."""
    run = file.run
    problem = atoms_problem(run) if isinstance(run, AtomsRun) else events_problem(run)
    file = file.with_data(problem.digest)
    folder.mkdir(parents=True, exist_ok=True)
    text = file.model_dump_json(indent=2)
    replace_atomically(folder / logs.CONFIGURATION, lambda part: part.write_text(text))
    return _Loop(file, problem, folder, watch).run(time.monotonic() + max_seconds)


def _check_devices(run: Run) -> None:
    found = len(jax.devices())
    if run.batch.devices > found:
        raise ArgumentError(
            "batch.devices", run.batch.devices, f"there are {found}", "Use fewer"
        )
    double = isinstance(run, AtomsRun) and run.precision == "float64"
    if double and not jax.config.jax_enable_x64:  # type: ignore[attr-defined]
        raise ArgumentError(
            "precision",
            "float64",
            "JAX computes in float32 unless told otherwise",
            'Call jax.config.update("jax_enable_x64", True) first',
        )


def _scalars(rows: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Rows of the trajectory by their names in TensorBoard."""
    return {
        f"{row['structure']}/{row['name']}/{row['quantity']}": float(row["value"])
        for row in rows
        if row["quantity"] in ("A", "relative", "remainder")
    }


class _Loop:
    """The training loop, and what it writes between steps."""

    def __init__(
        self, file: RunFile, problem: Problem, folder: Path, watch: Watch | None
    ):
        run = file.run
        self._run, self._problem, self._folder = run, problem, folder
        self._changes = file.model_dump(mode="json")["changes"]
        self._watch = watch or (lambda step, values: None)
        self._mesh = device_mesh(run.batch.devices)
        self._schedule = Schedule.of(run.optimizer, run.steps)
        self._checkpoints = logs.Checkpoints(folder / logs.CHECKPOINTS)
        self._state = start(problem.task, run.optimizer)
        self._window: list[Any] = []
        done = self._checkpoints.latest() or 0
        if done:
            self._state, self._window = self._checkpoints.restore(self._state)
        self._done = done
        self._clock = time.monotonic(), done
        self._step = make_step(
            problem.task, run.optimizer, run.steps, run.seed, self._mesh
        )
        _, metrics = jax.eval_shape(self._step, self._state, problem.batch(done))
        terms = [name for name in metrics if name not in ("loss", "gradient_norm")]
        columns = ("step", "loss", *terms, "gradient_norm", "learning_rate")
        speed = ("structures_per_second", "atoms_per_second")
        self._metrics = logs.Table(
            folder / logs.METRICS, (*columns, *speed), done or -1
        )
        self._validation: logs.Table | None = None
        self._monitor = None
        if run.monitor is not None:
            self._monitor = Monitor(problem.probes, run.monitor)
        # The measurement of this step will be repeated.
        kept = done - self._is_measured() if done else -1
        self._trajectory = logs.Table(folder / logs.TRAJECTORY, COLUMNS, kept)
        self._board = logs.Board(folder / logs.TENSORBOARD)
        if done:
            self._write_again(done)
        self._errors: dict[str, float] = {}

    def _write_again(self, done: int) -> None:
        """Writes the tables of the earlier run for TensorBoard."""
        for group, name in (
            ("training", logs.METRICS),
            ("validation", logs.VALIDATION),
        ):
            for row in logs.read_rows(self._folder / name, done):
                step = int(row.pop("step"))
                self._board.add(group, step, {k: float(v) for k, v in row.items() if v})
        for row in logs.read_rows(self._folder / logs.TRAJECTORY, done):
            self._board.add("symmetry", int(row["step"]), _scalars([row]))

    def run(self, deadline: float) -> Trained:
        """Makes the remaining steps, or as many as there is time for."""
        run, problem = self._run, self._problem
        try:
            # Also of a resumed run, which may have been interrupted here.
            self._examine()
            for batch in load(problem.batch, self._done, run.steps):
                batch = place(batch, self._mesh)
                # A checkpoint contains a step with all its metrics.
                with uninterrupted():
                    self._state, metrics = self._step(self._state, batch)
                    self._window.append(metrics)
                    self._done += 1
                    if self._done % run.log_every == 0 or self._done == run.steps:
                        self._log()
                if self._done % run.checkpoint_every == 0:
                    self._check()
                    self._save()
                self._examine()
                if time.monotonic() > deadline:
                    break
        except KeyboardInterrupt as interrupt:
            self._check()
            self._save()
            self._close()
            raise KeyboardInterrupt(
                f"Interrupted after step {self._done}; resume to go on."
            ) from interrupt
        self._check()
        self._save()
        complete = self._done == run.steps
        if complete:
            self._validate()
        model = self._model()
        if complete:
            save_model(model, self._folder / MODEL)
        self._close()
        return Trained(model, self._done, complete, self._errors)

    def _close(self) -> None:
        self._board.close()
        self._checkpoints.close()

    def _examine(self) -> None:
        """Validates and measures symmetry if that is due."""
        every, done = self._run.validate_every, self._done
        if every and done % every == 0 and 0 < done < self._run.steps:
            self._check()
            self._validate()
        if self._is_measured():
            self._look()

    def _is_measured(self) -> bool:
        return self._monitor is not None and self._monitor.is_due(self._done)

    def _log(self) -> None:
        """Writes a line of metrics: means over the steps since the last line."""
        window = jax.device_get(self._window)
        self._check()
        values = {
            name: float(np.mean([np.float64(row[name]) for row in window]))
            for name in window[0]
        }
        values["learning_rate"] = float(learning_rate(self._schedule, self._done - 1))
        now, (before, since) = time.monotonic(), self._clock
        sizes = [self._problem.sizes(n) for n in range(since, self._done)]
        seconds = max(now - before, 1e-9)
        speed = {
            "structures_per_second": sum(size[0] for size in sizes) / seconds,
            "atoms_per_second": sum(size[1] for size in sizes) / seconds,
        }
        self._metrics.add([{"step": self._done, **values, **speed}])
        self._board.add("training", self._done, {**values, **speed})
        self._window, self._clock = [], (time.monotonic(), self._done)
        self._watch(self._done, {**values, **speed})

    def _validate(self) -> None:
        """Validates the averaged parameters; saves the best model."""
        begun = time.monotonic()
        state = self._state
        errors = self._problem.validate(state.averaged, state.statistics)
        if not errors:
            return
        self._errors = errors
        path = self._folder / logs.VALIDATION
        if self._validation is None:
            # Without the row of this step, if the run was killed right after it.
            columns = ("step", *errors)
            self._validation = logs.Table(path, columns, self._done - 1)
        before = logs.read_table(path).get("score", np.array([]))
        self._validation.add([{"step": self._done, **errors}])
        self._board.add("validation", self._done, errors)
        self._watch(self._done, {f"validation/{k}": v for k, v in errors.items()})
        # A model with a score that is not a number is never the best.
        if errors["score"] < np.nanmin(before, initial=np.inf):
            save_model(self._model(), self._folder / BEST)
        self._pause(begun)

    def _look(self) -> None:
        """Measures symmetry."""
        assert self._monitor is not None
        begun = time.monotonic()
        jax.block_until_ready(self._state.averaged)
        rows = self._monitor.rows(self._model(), self._done)
        self._trajectory.add(rows)
        self._board.add("symmetry", self._done, _scalars(rows))
        self._pause(begun)

    def _pause(self, begun: float) -> None:
        """Excludes the time since ``begun`` from the throughput."""
        before, since = self._clock
        self._clock = before + time.monotonic() - begun, since

    def _model(self) -> Any:
        state = self._state
        model = self._problem.model(state.averaged, state.statistics)
        card = card_of(self._run, self._done, self._errors)
        card = {**model.card, **card, "changes": self._changes}
        return dataclasses.replace(model, card=card)

    def _save(self) -> None:
        begun = time.monotonic()
        rows = [
            {name: float(value) for name, value in row.items()}
            for row in jax.device_get(self._window)
        ]
        self._checkpoints.save(self._state, rows)
        self._pause(begun)

    def _check(self) -> None:
        """Raises if a loss or a gradient was not finite."""
        failure = int(self._state.first_failure)
        if failure < 0:
            return
        batch = self._problem.batch(failure)
        key = jax.random.fold_in(jax.random.key(self._run.seed), failure)
        task, state = self._problem.task, self._state
        gradient, _, value, terms = jax.jit(
            lambda params, statistics, batch: gradients(
                task.loss, params, statistics, task.constants, batch, key, self._mesh
            )
        )(state.params, state.statistics, place(batch, self._mesh))
        bad = [name for name, term in terms.items() if not np.isfinite(term)]
        flat = jax.tree_util.tree_flatten_with_path(gradient)[0]
        where = [
            jax.tree_util.keystr(path, simple=True, separator="/")
            for path, leaf in flat
            if not np.isfinite(leaf).all()
        ]
        saved = self._checkpoints.latest()
        rate = float(learning_rate(self._schedule, failure))
        raise TrainingError(
            "loss",
            float(value),
            f"loss or gradient is not finite at step {failure}, where the learning "
            f"rate is {rate:.2g}; contributions that are not: {bad or 'none'}; "
            f"parameters whose gradient is not: {len(where)} of {len(flat)} "
            f"{where[:3]}; structures of this step: {self._problem.origins(failure)}",
            "Check these structures and their labels; lower "
            "optimizer.learning_rate or optimizer.gradient_clip, or lengthen "
            f"optimizer.warmup; the last checkpoint is that of step {saved or 0}",
        )
