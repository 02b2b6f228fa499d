"""Measures events, as :mod:`symjax.report.batch` measures structures."""

import hashlib
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

import symjax
from symjax.data.point_clouds import CLASSES, PointCloud, pad_cloud, select_points
from symjax.errors import ModelError, StructureError, SymjaxError
from symjax.metrics import Estimate, estimate, measure
from symjax.report import schema
from symjax.report.batch import (
    Options,
    Progress,
    Watch,
    _compile_seconds,
    leaves_of,
)
from symjax.report.breaking import Breaking, measure_breaking, write_breaking
from symjax.report.folder import REPORT_FILE, Journal, check_folder
from symjax.report.results import RESULTS_FILE, write_results
from symjax.report.schema import ReportError, StructureReport

_PADDING = 64


def event_digest(cloud: PointCloud) -> str:
    """SHA-256 of all that a model can read of an event, and of its labels.

    Args:
      cloud: One event, padded or not.

    Returns:
      64 hexadecimal digits.

    Example:
      >>> from symjax.data.point_clouds import SMALL, generate_event, pad_cloud
      >>> from symjax.report.events import event_digest
      >>> event = generate_event(0, SMALL)
      >>> event_digest(event) == event_digest(pad_cloud(event, 999))
      True
    """
    digest = hashlib.sha256()
    real = np.asarray(cloud.mask)
    for array, dtype in zip(cloud[:3], ("<f8", "<f8", "<i8"), strict=True):
        digest.update(np.ascontiguousarray(np.asarray(array)[real], dtype).tobytes())
    return digest.hexdigest()


def prepare_clouds(
    model: Any, clouds: Mapping[str, PointCloud]
) -> dict[str, PointCloud]:
    """Selects the points that a model reads and pads all events to one shape.

    Args:
      model: A :class:`~symjax.models.pointmae.PointMAEModel`.
      clouds: The events by label.

    Returns:
      The events by label.

    Raises:
      ModelError: The model is not one of point clouds, or an event lies outside its
        detector.
      StructureError: There is no event, or no point is left of one.

    Example:
      >>> from symjax.models import load_model
      >>> from symjax.report.events import prepare_clouds
      >>> prepare_clouds(load_model("pet-ethanol"), {})
      Traceback (most recent call last):
      ...
      symjax.errors.ModelError: model='pet-ethanol': is no model of point clouds...
    """
    from symjax.models.io import architecture_of

    if architecture_of(model) != "pointmae":
        raise ModelError(
            "model",
            model.name,
            "is no model of point clouds",
            "Pass a Point-MAE for events; see 'symjax models'",
        )
    if not clouds:
        raise StructureError(
            "events", {}, "there is none to measure", "Pass one event or more"
        )
    size = model.config.detector_size
    low = model.config.num_classes > len(CLASSES) - 1
    selected = {}
    for label, cloud in clouds.items():
        largest = float(np.abs(np.asarray(cloud.positions) - size / 2).max())
        if largest > size / 2:
            raise ModelError(
                "detector_size",
                size,
                f"points of {label} lie outside the detector of the model",
                "Use a model for the detector of the events",
            )
        selected[label] = select_points(cloud, low_energy="keep" if low else "label")
    count = max(cloud.num_points for cloud in selected.values())
    count = -(-count // _PADDING) * _PADDING
    return {label: pad_cloud(cloud, count) for label, cloud in selected.items()}


def measure_events(
    model: Any,
    clouds: Mapping[str, PointCloud],
    options: Options,
    folder: str | Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    watch: Watch | None = None,
    command: str = "",
) -> tuple[schema.Report, dict[str, tuple[Breaking, ...]]]:
    """Measures events one after another; writes ``report.json`` and ``breaking.json``.

    Spectra of layers, probabilities and reconstructions are those of the network, with
    tokens frozen at the given orientation; ``breaking.json`` compares with tokens and
    voxels that are found anew (:mod:`symjax.report.breaking`), for models with
    segmentation. An event that cannot be measured is recorded as failed.

    Args:
      model: A :class:`~symjax.models.pointmae.PointMAEModel`.
      clouds: The events by label.
      options: How to measure.
      folder: The output folder.
      resume: Whether to continue the report in it.
      overwrite: Whether to replace a report in it.
      watch: Called with the progress.
      command: What was typed to measure them, for the report.

    Returns:
      The report, and the sources of symmetry breaking by label.

    Raises:
      SymjaxError: An option is impossible, the folder or model cannot be used, or the
        only event cannot be measured.

    Example:
      >>> from symjax.report import Options
      >>> from symjax.report.events import measure_events
      >>> measure_events(None, {}, Options(max_degree=-1), "out")
      Traceback (most recent call last):
      ...
      symjax.errors.ArgumentError: max_degree=-1: is not a degree. Pass an integer...
    """
    from symjax.models.io import fingerprint
    from symjax.models.pointmae.model import select_layers

    folder = Path(folder)
    settings = options.settings()
    options.check_fixed("a measurement of events")
    check_folder(folder, resume=resume, overwrite=overwrite)
    events = prepare_clouds(model, clouds)
    select_layers(model.config, options.layers)
    software = schema.Software(
        symjax.__version__, jax.__version__, jax.default_backend()
    )
    info = schema.ModelInfo(model.name, fingerprint(model))
    sources: dict[str, tuple[Breaking, ...]] = {}
    with Journal(
        folder, software, info, settings, resume=resume, overwrite=overwrite
    ) as journal:
        _check_completed(journal, events)
        for position, (label, cloud) in enumerate(events.items(), start=1):
            where = Progress(label, position, len(events), 0, settings.num_elements)
            result = journal.completed.get(label)
            kept = result is not None
            try:
                if result is None:
                    if watch is not None:
                        watch(where)
                    result = _measure_one(model, label, cloud, options, where, watch)
                if model.config.num_classes and result.failure is None:
                    sources[label] = measure_breaking(model, cloud, dtype=options.dtype)
            except SymjaxError as error:
                if len(events) == 1:
                    journal.discard()
                    raise
                result, kept = _failed(label, cloud, error), False
            if not kept:
                journal.append(result)
            if watch is not None:
                done = where._replace(done=where.num_elements, kept=kept)
                watch(done._replace(finished=result))
        results = journal.structures(events)
    report = schema.Report(software, info, settings, results, command)
    write_breaking(sources, folder)
    schema.write_report(report, folder / REPORT_FILE)
    write_results(report, folder / RESULTS_FILE)
    return report, sources


def estimate_events(
    model: Any, clouds: Mapping[str, PointCloud], options: Options
) -> Iterator[tuple[str, Estimate | SymjaxError]]:
    """What spectra in :func:`measure_events` will cost, without measuring anything.

    The sources of symmetry breaking, over 96 elements, come on top.

    Args:
      model: A :class:`~symjax.models.pointmae.PointMAEModel`.
      clouds: The events by label.
      options: How to measure.

    Yields:
      For each event its label and the estimate, or the error where it cannot be
      measured.

    Raises:
      SymjaxError: An option is impossible, or the model cannot be used.

    Example:
      >>> from symjax.report import Options
      >>> from symjax.report.events import estimate_events
      >>> next(estimate_events(None, {}, Options(max_degree=-1)))
      Traceback (most recent call last):
      ...
      symjax.errors.ArgumentError: max_degree=-1: is not a degree. Pass an integer...
    """
    from symjax.models.pointmae.orbit import event_problem

    options.settings()
    options.check_fixed("a measurement of events")
    for label, cloud in prepare_clouds(model, clouds).items():
        try:
            problem = event_problem(
                model, cloud, layers=options.layers, dtype=options.dtype
            )
        except SymjaxError as error:
            yield label, error
            continue
        yield (
            label,
            estimate(
                problem,
                over=options.over,  # type: ignore[arg-type]
                max_degree=options.max_degree,
                memory=options.memory,
            ),
        )


def _check_completed(journal: Journal, events: Mapping[str, PointCloud]) -> None:
    for label, done in journal.completed.items():
        if label not in events or done.digest != event_digest(events[label]):
            raise ReportError(
                "events",
                label,
                f"is not among the events of this run, or has changed since it was "
                f"measured for {str(journal.path)!r}",
                "Resume with the same file and frames, or more of them; or pass "
                "--overwrite to start again",
            )


def _measure_one(
    model: Any,
    label: str,
    cloud: PointCloud,
    options: Options,
    where: Progress,
    watch: Watch | None,
) -> StructureReport:
    from symjax.models.pointmae.orbit import event_problem

    def progress(done: int, total: int) -> None:
        if watch is not None:
            watch(where._replace(done=done, num_elements=total))

    start = time.perf_counter()
    with _compile_seconds() as compile_seconds:
        problem = event_problem(
            model, cloud, layers=options.layers, dtype=options.dtype
        )
        measurement = measure(
            problem,
            over=options.over,
            max_degree=options.max_degree,
            memory=options.memory,
            progress=progress,
        )
    elapsed = time.perf_counter() - start
    compiling = min(compile_seconds(), elapsed)
    return StructureReport(
        label=label,
        formula="event",
        num_atoms=cloud.num_points,
        digest=event_digest(cloud),
        leaves=leaves_of(measurement, problem.outputs, CLASSES),
        timing=schema.Timing(compiling, elapsed - compiling),
    )


def _failed(label: str, cloud: PointCloud, error: SymjaxError) -> StructureReport:
    return StructureReport(
        label=label,
        formula="event",
        num_atoms=cloud.num_points,
        digest=event_digest(cloud),
        failure=schema.Failure(type(error).__name__, str(error)),
    )
