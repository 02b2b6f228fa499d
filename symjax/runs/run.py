"""Measures many structures into one report; interruptible and resumable."""

import contextlib
import dataclasses
import functools
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import ase
import jax
from ase.data import chemical_symbols

import symjax
from symjax.data.digests import structure_digest
from symjax.errors import ArgumentError, StructureError, SymjaxError
from symjax.metrics import Estimate, estimate, measure
from symjax.report import schema
from symjax.report.files import REPORT_FILE, RESULTS_FILE
from symjax.report.records import atom_errors, leaves_of
from symjax.report.results import write_results
from symjax.report.schema import ReportError, StructureReport
from symjax.runs import hosts, timing
from symjax.runs.folder import Journal, check_folder, clear_folder, journal_files
from symjax.runs.options import AUTO, Options
from symjax.runs.sources import Source, as_source
from symjax.runs.workers import in_processes, on_devices


class Progress(NamedTuple):
    """Where a run stands.

    Attributes:
      label: Structure that is being measured.
      position: Its position among all structures, from 1.
      num_structures: Number of structures.
      done: Group elements evaluated for it.
      num_elements: Group elements to be evaluated for it.
      finished: The structure, once it is finished.
      kept: Whether it was completed by the run that is resumed.

    Example:
      >>> from symjax.runs import Progress
      >>> step = Progress("water", 1, 2, done=84, num_elements=168)
      >>> step.done / step.num_elements
      0.5
    """

    label: str
    position: int
    num_structures: int
    done: int
    num_elements: int
    finished: StructureReport | None = None
    kept: bool = False


Watch = Callable[[Progress], None]


def measure_structures(
    model: Any,
    structures: Mapping[str, ase.Atoms],
    options: Options,
    folder: str | Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    jobs: int = 1,
    devices: Sequence[jax.Device] = (),
    unreadable: Mapping[str, SymjaxError] | None = None,
    watch: Watch | None = None,
    command: str = "",
) -> schema.Report:
    """Measures structures and writes ``report.json`` and ``results.h5``.

    Every finished structure is appended to ``structures.jsonl`` at once, so that an
    interrupted run can be resumed. A structure that cannot be measured is recorded
    as failed, and the run goes on.

    Where ``jax.distributed`` has been initialised, each process measures its share:
    call the function in all of them with the same arguments and a folder that all of
    them see. The first process joins the shares and returns the report of all
    structures, the others return that of their share.

    Args:
      model: A PET of ``symjax.models``, or any
        :class:`~symjax.runs.sources.Source`.
      structures: The structures by label.
      options: How to measure.
      folder: The output folder.
      resume: Whether to continue the report in it: completed structures are not
        measured again, failed ones are.
      overwrite: Whether to replace a report in it.
      jobs: Number of worker processes, each of which measures one structure at a
        time. A script that asks for more than one needs ``if __name__ ==
        "__main__":`` about what it does.
      devices: Devices that measure one structure each at a time; by default JAX's
        default device.
      unreadable: Errors by label of what could not be read as structures; recorded
        as failed.
      watch: Called with the progress.
      command: What was typed to measure them, for the report.

    Returns:
      The report.

    Raises:
      SymjaxError: An option is impossible, the folder cannot be used, or the only
        structure cannot be measured. Then nothing is left behind. Or a worker process
        has died.

    Example:
      >>> import ase.build
      >>> from symjax.runs import Options, measure_structures
      >>> measure_structures(None, {}, Options(max_degree=-1), "out")
      Traceback (most recent call last):
      ...
      symjax.errors.ArgumentError: max_degree=-1: is not a degree. Pass an integer...
    """
    folder = Path(folder)
    settings = options.settings()
    check_folder(folder, resume=resume, overwrite=overwrite)
    _check_workers(jobs, devices)
    source = as_source(model)
    errors = dict(unreadable or {})
    labels = [*structures, *errors]
    if not labels:
        raise StructureError(
            "structures", {}, "there is none to measure", "Pass one structure or more"
        )
    shapes, unusable = source.shapes(structures)
    errors |= unusable
    if len(labels) == 1 and errors:
        raise next(iter(errors.values()))
    # A selection that no structure can satisfy is refused before anything is written.
    source.check_layers(options.layers)
    settings = dataclasses.replace(settings, energy=source.energy(options.energy))

    software = schema.Software(
        symjax.__version__, jax.__version__, jax.default_backend()
    )
    info = schema.ModelInfo(source.name, source.digest, source.note)
    part, parts = hosts.process()
    _prepare_together(folder, part, resume)
    share = labels[part::parts]
    # The first process takes the folder, and removes what a killed run has left in it,
    # before the others write.
    if part > 0:
        hosts.meet("taken")
    with Journal(
        folder,
        software,
        info,
        settings,
        resume=resume,
        overwrite=overwrite,
        part=part if parts > 1 else None,
    ) as journal:
        if part == 0:
            hosts.meet("taken")
        _check_completed(journal, structures)
        count = _Count(journal, len(share), settings.num_elements, watch)
        for label in share:
            if label in journal.completed:
                count.finish(journal.completed[label], kept=True)
        rest = [label for label in share if label not in journal.completed]
        for label in [label for label in rest if label in errors]:
            count.finish(_failed(label, structures.get(label), errors[label]))
        items = [
            (label, structures[label], shapes[label])
            for label in rest
            if label not in errors
        ]
        _measure_all(
            *(source, options, items, count),
            jobs=jobs,
            devices=devices,
            alone=len(labels) == 1,
        )
        # Read now: the first process joins the journals as soon as all are finished.
        own = tuple(journal.structures(share)) if part > 0 else ()
        if parts > 1:
            hosts.finish(folder)
        if part > 0:
            return schema.Report(software, info, settings, own, command)
        if len(journal_files(folder)) > 1:
            journal.join(labels)
        results = journal.structures(labels)
    report = schema.Report(software, info, settings, results, command)
    schema.write_report(report, folder / REPORT_FILE)
    write_results(report, folder / RESULTS_FILE)
    return report


def _measure_all(
    source: Source,
    options: Options,
    items: list[tuple[str, ase.Atoms, Any]],
    count: "_Count",
    *,
    jobs: int,
    devices: Sequence[jax.Device],
    alone: bool,
) -> None:
    """Measures structures, one after another or several at once."""
    if len(items) > 1 and max(jobs, len(devices)) > 1:
        task = functools.partial(_measured_or_failed, source, options)
        finished = (
            in_processes(task, items, jobs, functools.partial(_lost, jobs))
            if jobs > 1
            else on_devices(task, items, devices)
        )
        with contextlib.closing(finished):
            for result in finished:
                count.finish(result)
        return
    here = jax.default_device(devices[0]) if devices else contextlib.nullcontext()
    with here:
        for label, atoms, shape in items:
            where = count.start(label)
            try:
                result = _measure_one(
                    *(source, options, label, atoms, shape, where, count.watch)
                )
            except EXPECTED_ERRORS as error:
                reason = as_symjax_error(error, options)
                if alone:
                    count.journal.discard()
                if alone or reason is None:
                    raise (reason or error) from error
                result = _failed(label, atoms, reason)
            count.finish(result)


def _check_workers(jobs: int, devices: Sequence[jax.Device]) -> None:
    if jobs < 1:
        raise ArgumentError(
            "jobs", jobs, "is not a number of processes", "Pass 1 or more"
        )
    if jobs > 1 and len(devices) > 1:
        raise ArgumentError(
            "jobs",
            jobs,
            "cannot be combined with several devices: processes do not share them",
            "Use jobs on a machine without accelerators, devices on one with several",
        )


def _prepare_together(folder: Path, part: int, resume: bool) -> None:
    """Clears the folder if several processes are about to write into it."""
    # No process changes the folder before all have checked it.
    hosts.meet("checked")
    if part == 0 and hosts.process() != (0, 1):
        if not resume:
            clear_folder(folder)
        hosts.remove_marks(folder)
    hosts.meet("cleared")


class _Count:
    """Puts structures into the journal as they are finished, and counts them."""

    def __init__(
        self, journal: Journal, total: int, num_elements: int, watch: Watch | None
    ):
        self.journal, self.watch = journal, watch
        self._total, self._num_elements = total, num_elements
        self._finished = 0

    def start(self, label: str) -> Progress:
        where = Progress(label, self._finished + 1, self._total, 0, self._num_elements)
        if self.watch is not None:
            self.watch(where)
        return where

    def finish(self, result: StructureReport, kept: bool = False) -> None:
        if not kept:
            self.journal.append(result)
        self._finished += 1
        if self.watch is not None:
            elements = self._num_elements
            self.watch(
                Progress(
                    *(result.label, self._finished, self._total, elements, elements),
                    finished=result,
                    kept=kept,
                )
            )


def estimate_structures(
    model: Any, structures: Mapping[str, ase.Atoms], options: Options
) -> Iterator[tuple[str, Estimate | SymjaxError]]:
    """What :func:`measure_structures` will cost, without measuring anything.

    Args:
      model: A PET of ``symjax.models``, or any
        :class:`~symjax.runs.sources.Source`.
      structures: The structures by label.
      options: How to measure; symmetry would need fewer evaluations.

    Yields:
      For each structure its label and the estimate, or the error where it cannot be
      measured.

    Raises:
      SymjaxError: An option is impossible.

    Example:
      >>> import ase.build
      >>> from symjax.models import load_model
      >>> from symjax.runs import Options, estimate_structures
      >>> water = {"water": ase.build.molecule("H2O")}
      >>> options = Options(max_degree=1)
      >>> (label, cost), = estimate_structures(
      ...     load_model("pet-ethanol"), water, options)
      >>> label, cost.num_elements
      ('water', 48)
    """
    options.settings()
    options.check_fixed("an estimate")
    source = as_source(model)
    shapes, errors = source.shapes(structures)
    for label, atoms in structures.items():
        if label in errors:
            yield label, errors[label]
            continue
        problem = source.problem(atoms, shapes[label], options)
        yield (
            label,
            estimate(
                problem,
                over=options.over,  # type: ignore[arg-type]
                max_degree=options.max_degree,
                memory=options.memory,
            ),
        )


def _check_completed(journal: Journal, structures: Mapping[str, ase.Atoms]) -> None:
    """Completed structures must be among those asked for, and unchanged."""
    for label, done in journal.completed.items():
        if label not in structures:
            raise ReportError(
                "structures",
                label,
                f"is in {str(journal.path)!r} but not among the structures of this run",
                "Resume with the same file and frames, or more of them; or pass "
                "--overwrite to start again",
            )
        if done.digest != structure_digest(structures[label]):
            raise ReportError(
                "structures",
                label,
                f"has changed since it was measured for {str(journal.path)!r}",
                "Restore the structure, or pass --overwrite to start again",
            )


EXPECTED_ERRORS = (SymjaxError, MemoryError, jax.errors.JaxRuntimeError)
"""Errors of one structure, which do not end the run unless they show a bug."""


def _measured_or_failed(
    source: Source, options: Options, label: str, atoms: ase.Atoms, shape: Any
) -> StructureReport:
    """What a worker does."""
    try:
        return _measure_one(source, options, label, atoms, shape)
    except EXPECTED_ERRORS as error:
        reason = as_symjax_error(error, options)
        if reason is None:
            raise
        return _failed(label, atoms, reason)


def _measure_one(
    source: Source,
    options: Options,
    label: str,
    atoms: ase.Atoms,
    shape: Any,
    where: Progress | None = None,
    watch: Watch | None = None,
) -> StructureReport:
    def progress(done: int, total: int) -> None:
        if watch is not None and where is not None:
            watch(where._replace(done=done, num_elements=total))

    start = time.perf_counter()
    with timing.compile_seconds() as compiled:
        problem = source.problem(atoms, shape, options)
        measurement = measure(
            problem,
            over=options.over,
            max_degree=options.max_degree,
            memory=options.memory,
            progress=progress,
        )
    elapsed = time.perf_counter() - start
    compiling = min(compiled(), elapsed)
    return StructureReport(
        label=label,
        formula=atoms.get_chemical_formula(),
        num_atoms=len(atoms),
        digest=structure_digest(atoms),
        leaves=leaves_of(measurement, problem.outputs, chemical_symbols, atoms),
        timing=schema.Timing(compiling, elapsed - compiling),
        point_group=problem.symmetry.name if problem.symmetry else "",
        num_elements=measurement.num_elements,
        grid=measurement.grid if options.grid == AUTO else "",
        atoms=atom_errors(measurement, problem.outputs, atoms),
    )


def as_symjax_error(error: Exception, options: Options) -> SymjaxError | None:
    """The error with a remedy; None if the input is not to blame.

    Args:
      error: One of :data:`EXPECTED_ERRORS`.
      options: How it was measured.

    Returns:
      The error.

    Example:
      >>> from symjax.runs.run import Options, as_symjax_error
      >>> as_symjax_error(MemoryError(), Options()).argument
      'memory'
    """
    if isinstance(error, SymjaxError):
        return error
    text = str(error)
    spent = re.search("RESOURCE_EXHAUSTED|out of memory|bad_alloc", text, re.IGNORECASE)
    if isinstance(error, MemoryError) or spent:
        first = (text.splitlines() or ["no details"])[0]
        return ArgumentError(
            "memory",
            options.memory,
            f"the machine has less memory than was needed ({first})",
            "Lower memory, measure fewer layers or a smaller structure",
        )
    return None


def _lost(jobs: int, label: str, atoms: ase.Atoms, shape: Any) -> StructureReport:
    """A structure that ends the process which measures it, also alone."""
    error = ArgumentError(
        "jobs",
        jobs,
        "the process that measured this structure died, and died again when it "
        "measured nothing else; the system may have ended it for want of memory",
        "Lower memory, measure fewer layers or a smaller structure",
    )
    return _failed(label, atoms, error)


def _failed(label: str, atoms: ase.Atoms | None, error: SymjaxError) -> StructureReport:
    """A structure that cannot be measured; without atoms if it could not be read."""
    return StructureReport(
        label=label,
        formula="" if atoms is None else atoms.get_chemical_formula(),
        num_atoms=0 if atoms is None else len(atoms),
        digest="" if atoms is None else structure_digest(atoms),
        failure=schema.Failure(type(error).__name__, str(error)),
    )
