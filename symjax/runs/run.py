"""Measures many items into one report, which can be interrupted and resumed."""

import contextlib
import dataclasses
import functools
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax

import symjax
from symjax.errors import ArgumentError, StructureError, SymjaxError
from symjax.metrics import measure
from symjax.models.labelled import with_labels
from symjax.report import schema, storage
from symjax.report.columns_file import write_results
from symjax.report.event_schema import Breaking
from symjax.report.files import REPORT_FILE, RESULTS_FILE
from symjax.report.leaves import ReportError
from symjax.report.records import heading, numbers
from symjax.report.schema import StructureReport
from symjax.runs import timing
from symjax.runs.breaking import measure_breaking
from symjax.runs.checked_items import Checks, Laws, choose_checks
from symjax.runs.evaluations import Evaluations
from symjax.runs.folder import Destination, Journal, check_folder
from symjax.runs.options import AUTO, Options
from symjax.runs.scheduler import Scheduler
from symjax.runs.sources import Source, as_source
from symjax.runs.workers import Workers


class Progress(NamedTuple):
    """Progress of a run.

    Attributes:
      label: Label of the current item.
      position: Its position among all items, from 1.
      num_items: Number of items.
      done: Number of group elements evaluated for it.
      num_elements: Number of group elements to evaluate for it.
      finished: Its result, once it is finished.
      kept: Whether it was completed by the run that is resumed.
      size: Number of its atoms or points; 0 once it is finished.

    Example:
      >>> from symjax.runs import Progress
      >>> step = Progress("water", 1, 2, done=84, num_elements=168)
      >>> step.done / step.num_elements
      0.5
    """

    label: str
    position: int
    num_items: int
    done: int
    num_elements: int
    finished: StructureReport | None = None
    kept: bool = False
    size: int = 0


Watch = Callable[[Progress], None]

_ALONE = Workers()


def measure_items(
    model: Any,
    items: Mapping[str, Any],
    options: Options,
    into: Destination | str | Path,
    *,
    workers: Workers | Scheduler = _ALONE,
    laws: Laws | None = None,
    unreadable: Mapping[str, SymjaxError] | None = None,
    watch: Watch | None = None,
) -> schema.Report:
    """Measures structures or events; writes ``report.json`` and ``results.h5``.

    Each finished item is appended to ``structures.jsonl``, so that an interrupted run
    can be resumed. An item that cannot be read or measured is recorded as failed, and
    the run continues; if it is the only one, its error is raised.

    Args:
      model: A model of ``symjax.models``, or any :class:`~symjax.runs.Source`.
      items: Structures, or events, by label. Each is read from the mapping when it is
        needed, and not kept; :class:`~symjax.data.point_clouds.EventFiles` then reads
        its file.
      options: Options of the measurement.
      into: The output folder, without an earlier report; or a :class:`Destination`,
        which says whether to resume or replace one.
      workers: Processes or devices, each of which measures one item at a time, or a
        scheduler; by default this process alone.
      laws: Function that checks other physical laws of a structure, such as
        :class:`symjax.interop.law_checks.LawChecks`. It is called for the smallest
        structure of each periodicity.
      unreadable: Errors by label of items that could not be read, which are recorded as
        failed.
      watch: Function that is called with the progress.

    Returns:
      The report, with items in the order of ``items`` and then ``unreadable``.

    Raises:
      SymjaxError: An option is impossible, the folder or the model cannot be used, the
        only item cannot be measured (then nothing is left in the folder), or all worker
        processes died.

    Example:
      >>> import ase.build
      >>> from symjax.runs import Options, measure_items
      >>> measure_items(None, {}, Options(max_degree=-1), "out")
      Traceback (most recent call last):
      ...
      symjax.errors.ArgumentError: max_degree=-1: is not a degree. Pass an integer...
    """
    into = Destination.of(into)
    folder, settings = into.path, options.settings()
    check_folder(into)
    source = as_source(model)
    errors = dict(unreadable or {})
    labels = [*items, *errors]
    if not labels:
        raise StructureError(
            "items", {}, "there is none to measure", "Pass one structure or event"
        )
    sizes, unusable = source.sizes(items)
    errors |= unusable
    alone = len(labels) == 1
    if alone and errors:
        raise next(iter(errors.values()))
    # What no item can satisfy is refused before anything is written.
    settings = dataclasses.replace(settings, **source.settings(options))
    head = (
        schema.Software(symjax.__version__, jax.__version__, jax.default_backend()),
        schema.ModelInfo(source.name, source.digest, source.note),
        settings,
    )
    kept = Evaluations(folder.absolute(), source.digest)
    beside = _Beside(choose_checks(laws, items), kept)
    with Journal(into, *head) as journal:
        if not into.resume:
            kept.clear()
        count = _Count(journal, len(labels), settings.num_elements, watch, alone)
        _keep_completed(source, items, sizes, labels, count)
        remaining = [label for label in labels if label not in journal.completed]
        # Known errors are reported first.
        remaining.sort(key=lambda label: label not in errors)
        prepared = _prepared(source, items, remaining, sizes, errors, count)
        if workers.spreads(len(remaining)):
            task = functools.partial(_measured_or_failed, source, options, beside)
            lost = functools.partial(_lost, *workers.setting)
            with contextlib.closing(workers.map(task, prepared, lost)) as finished:
                for result in finished:
                    count.finish(result)
        else:
            with workers.alone():
                for label, item, size in prepared:
                    progress = count.start(label, item)
                    try:
                        result = _measured(
                            *(source, options, beside, label, item, size, progress)
                        )
                    except SymjaxError as error:
                        if alone:  # then nothing is left behind
                            kept.clear()
                        count.fail(label, item, error)
                    else:
                        count.finish(result)
        results = journal.structures(labels)
    report = schema.Report(*head, results, into.command)
    storage.write_report(report, folder / REPORT_FILE)
    write_results(report, folder / RESULTS_FILE)
    return report


class _Beside(NamedTuple):
    """What is done for an item in addition to its measurement."""

    checks: Checks
    evaluations: Evaluations


def _keep_completed(
    source: Source,
    items: Mapping[str, Any],
    sizes: Mapping[str, Any],
    labels: Sequence[str],
    count: "_Count",
) -> None:
    """Keeps completed items, which must be among those of this run, and unchanged."""
    completed, path = count.journal.completed, str(count.journal.path)
    for label in completed:
        if label not in items:
            raise ReportError(
                "items",
                label,
                f"is in {path!r} but not among the items of this run",
                "Resume with the same files and frames, or more of them; or pass "
                "{overwrite} to start again",
                overwrite=True,
            )
    for label in [label for label in labels if label in completed]:
        item, _ = source.prepare(label, items[label], sizes.get(label))
        if completed[label].digest != heading(item)["digest"]:
            raise ReportError(
                "items",
                label,
                f"has changed since it was measured for {path!r}",
                "Restore it, or pass {overwrite} to start again",
                overwrite=True,
            )
        count.finish(completed[label], kept=True)


def _prepared(
    source: Source,
    items: Mapping[str, Any],
    labels: Iterable[str],
    sizes: Mapping[str, Any],
    errors: Mapping[str, SymjaxError],
    count: "_Count",
) -> Iterator[tuple[str, Any, Any]]:
    """Label, item and size of each item that can be read."""
    for label in labels:
        item = None
        try:
            if label in items:
                item = items[label]
            if label in errors:
                raise errors[label]
            prepared, size = source.prepare(label, item, sizes[label])
        except SymjaxError as error:
            count.fail(label, item, error)
        else:
            yield label, prepared, size


class _Count:
    """Appends finished items to the journal, and counts them."""

    def __init__(
        self,
        journal: Journal,
        total: int,
        num_elements: int,
        watch: Watch | None,
        alone: bool,
    ):
        self.journal = journal
        self._watch, self._alone = watch, alone
        self._total, self._num_elements = total, num_elements
        self._finished = 0

    def start(self, label: str, item: Any) -> Callable[[int, int], None] | None:
        """Function to call with the number of elements done of an item, and of all."""
        watch = self._watch
        if watch is None:
            return None
        where = Progress(
            *(label, self._finished + 1, self._total, 0, self._num_elements),
            size=heading(item)["num_atoms"],
        )
        watch(where)
        return lambda done, total: watch(where._replace(done=done, num_elements=total))

    def finish(self, result: StructureReport, kept: bool = False) -> None:
        if not kept:
            self.journal.append(result)
        self._finished += 1
        if self._watch is not None:
            position = (result.label, self._finished, self._total)
            elements = (self._num_elements, self._num_elements)
            self._watch(Progress(*position, *elements, finished=result, kept=kept))

    def fail(self, label: str, item: Any, error: SymjaxError) -> None:
        """Records an error; that of the only item is raised, without a journal."""
        if self._alone:
            self.journal.discard()
            raise error
        self.finish(_failed(label, item, error))


EXPECTED_ERRORS = (SymjaxError, MemoryError, jax.errors.JaxRuntimeError)
"""Errors of single items; except for bugs, they do not end the run."""


def _as_symjax_error(error: Exception, options: Options) -> SymjaxError | None:
    """The error with a remedy; None for an error that shows a bug."""
    if isinstance(error, SymjaxError):
        return error
    text = str(error)
    spent = re.search("RESOURCE_EXHAUSTED|out of memory|bad_alloc", text, re.IGNORECASE)
    if isinstance(error, MemoryError) or spent:
        first = (text.splitlines() or ["no details"])[0]
        return ArgumentError(
            "memory",
            options.memory,
            f"the machine has less memory than needed ({first})",
            "Lower memory, measure fewer layers or a smaller structure",
        )
    return None


def _measured(
    source: Source,
    options: Options,
    beside: _Beside,
    label: str,
    item: Any,
    size: Any,
    progress: Callable[[int, int], None] | None = None,
) -> StructureReport:
    start = time.perf_counter()
    broken: Sequence[Breaking] = ()
    try:
        with timing.compile_seconds() as compiled:
            problem = source.problem(item, size, options)
            problem = with_labels(item, problem, options.labels)
            problem = beside.evaluations.remembered(problem, item)
            measurement = measure(
                problem,
                over=options.over,
                max_degree=options.max_degree,
                memory=options.memory,
                progress=progress,
            )
            sources = source.breaking(item, options)
            if sources is not None:
                broken = measure_breaking(sources)
            found = beside.checks(label, item)
    except EXPECTED_ERRORS as error:
        reason = _as_symjax_error(error, options)
        if reason is None or reason is error:
            raise
        raise reason from error
    beside.evaluations.forget(item)
    elapsed = time.perf_counter() - start
    compiling = min(compiled(), elapsed)
    return StructureReport(
        label=label,
        **heading(item),
        **numbers(item, measurement, problem, tuple(broken)),
        timing=schema.Timing(compiling, elapsed - compiling),
        point_group=problem.symmetry.name if problem.symmetry else "",
        num_elements=measurement.num_elements,
        grid=measurement.grid if options.grid == AUTO else "",
        laws=found,
    )


def _measured_or_failed(
    source: Source, options: Options, beside: _Beside, *given: Any
) -> StructureReport:
    """Measures an item in a worker, given its label, itself and its size."""
    label, item, _ = given
    try:
        return _measured(source, options, beside, *given)
    except SymjaxError as error:
        return _failed(label, item, error)


def _lost(
    setting: str, value: Any, label: str, item: Any, size: Any
) -> StructureReport:
    """The result of an item whose process died twice."""
    error = ArgumentError(
        setting,
        value,
        "the process that measured this item died, and so did the one that tried it "
        "again; the system may have killed them for lack of memory",
        "Lower memory, measure fewer layers or a smaller structure",
    )
    return _failed(label, item, error)


def _failed(label: str, item: Any, error: SymjaxError) -> StructureReport:
    failure = schema.Failure(type(error).__name__, str(error))
    return StructureReport(label=label, **heading(item), failure=failure)
