"""Measures events, as :mod:`symjax.runs.run` measures structures.

Events come one after another from a mapping that may read them from files, and none is
kept. Each is padded to one of few sizes, so that compiled programs are found again
whatever the other events are.
"""

import collections
import dataclasses
import hashlib
import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

import symjax
from symjax.data.point_clouds import (
    CLASSES,
    PARTICLES,
    PointCloud,
    merge_voxels,
    pad_cloud,
    select_points,
)
from symjax.errors import ArgumentError, ModelError, StructureError, SymjaxError
from symjax.metrics import Estimate, Measurement, estimate, measure
from symjax.metrics.problem import Problem
from symjax.models.io import architecture_of, fingerprint
from symjax.models.pointmae.model import select_layers
from symjax.models.pointmae.orbit import event_problem
from symjax.report import schema
from symjax.report.event_schema import Breaking, EventPoints
from symjax.report.files import REPORT_FILE, RESULTS_FILE
from symjax.report.records import leaves_of
from symjax.report.results import write_results
from symjax.report.schema import ReportError, StructureReport
from symjax.runs import timing
from symjax.runs.breaking import measure_breaking
from symjax.runs.folder import Journal, check_folder
from symjax.runs.options import Options
from symjax.runs.run import EXPECTED_ERRORS, Progress, Watch, as_symjax_error

_SMALLEST = 64
# Events that are looked at for an estimate, evenly spread, and evaluations of each that
# split symmetry breaking into its sources: three, over O_h and as many random elements.
_LOOKED_AT = 32
_SOURCE_EVALUATIONS = 3 * 96


def event_digest(cloud: PointCloud) -> str:
    """SHA-256 of all that a model can read of an event, and of its labels.

    Args:
      cloud: One event, padded or not.

    Returns:
      64 hexadecimal digits.

    Example:
      >>> from symjax.data.point_clouds import SMALL, generate_event, pad_cloud
      >>> from symjax.runs.events import event_digest
      >>> event = generate_event(0, SMALL)
      >>> event_digest(event) == event_digest(pad_cloud(event, 999))
      True
    """
    digest = hashlib.sha256()
    real = np.asarray(cloud.mask)
    for array, dtype in zip(cloud[:3], ("<f8", "<f8", "<i8"), strict=True):
        digest.update(np.ascontiguousarray(np.asarray(array)[real], dtype).tobytes())
    return digest.hexdigest()


def padded_size(num_points: int) -> int:
    """Number of points that an event is padded to: 64, 96, 128, 192, 256, 384, ...

    Args:
      num_points: Number of its points.

    Returns:
      The next power of two, or half of two of them, that holds them.

    Example:
      >>> from symjax.runs.events import padded_size
      >>> [padded_size(n) for n in (1, 64, 65, 100, 2000)]
      [64, 64, 96, 128, 2048]
    """
    size = _SMALLEST
    while size < num_points:
        if 3 * size // 2 >= num_points:
            return 3 * size // 2
        size *= 2
    return size


def prepare_cloud(model: Any, label: str, cloud: PointCloud) -> PointCloud:
    """Selects the points that a model reads, one for each voxel, and pads the event.

    Args:
      model: A :class:`~symjax.models.pointmae.PointMAEModel`.
      label: Name of the event, for messages.
      cloud: The event.

    Returns:
      The event.

    Raises:
      ModelError: The event lies outside the detector of the model.
      StructureError: No point is left of it.

    Example:
      >>> from symjax.data.point_clouds import SMALL, generate_event
      >>> from symjax.models import load_model
      >>> from symjax.runs.events import prepare_cloud
      >>> model = load_model("polarmae-events")
      >>> len(prepare_cloud(model, "a", generate_event(3, SMALL)).mask)
      384
    """
    config = model.config
    real = np.asarray(cloud.mask)
    largest = float(np.abs(np.asarray(cloud.positions)[real] - config.middle).max())
    # Half the edge of the cube whose corners the network sees at distance 1.
    if largest > max(config.detector_size / 2, 1 / (math.sqrt(3) * config.unit)):
        raise ModelError(
            "detector_size",
            config.detector_size,
            f"points of {label} lie outside the detector of the model",
            "Use a model for the detector of the events",
        )
    selected = select_points(
        merge_voxels(cloud),
        energy_threshold=config.energy_threshold,
        low_energy=config.low_energy,
    )
    return pad_cloud(selected, padded_size(selected.num_points))


def selection_line(model: Any) -> str:
    """Which points of an event a model reads.

    Args:
      model: A :class:`~symjax.models.pointmae.PointMAEModel`.

    Returns:
      A short text, for the report.

    Example:
      >>> from symjax.models import load_model
      >>> from symjax.runs.events import selection_line
      >>> selection_line(load_model("polarmae-events"))
      'voxels above 0.13 MeV, without those labelled as low-energy deposits'
    """
    config = model.config
    energy = (
        f" above {config.energy_threshold:g} MeV" if config.energy_threshold else ""
    )
    removed = {
        "label": ", without those labelled as low-energy deposits",
        "first cluster": ", without the first cluster",
        "keep": "",
    }
    return f"voxels{energy or ' of any energy'}{removed[config.low_energy]}"


def check_model(model: Any) -> None:
    """Refuses a model of structures.

    Args:
      model: A model of ``symjax.models``.

    Raises:
      ModelError: It is not one of point clouds.

    Example:
      >>> from symjax.models import load_model
      >>> from symjax.runs.events import check_model
      >>> check_model(load_model("pet-ethanol"))
      Traceback (most recent call last):
      ...
      symjax.errors.ModelError: model='pet-ethanol': is no model of point clouds...
    """
    if architecture_of(model) != "pointmae":
        raise ModelError(
            "model",
            model.name,
            "is no model of point clouds",
            "Pass a Point-MAE for events; see 'symjax models'",
        )


def measure_events(
    model: Any,
    clouds: Mapping[str, PointCloud],
    options: Options,
    folder: str | Path,
    *,
    unreadable: Mapping[str, SymjaxError] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    watch: Watch | None = None,
    command: str = "",
) -> schema.Report:
    """Measures events one after another; writes ``report.json`` and ``results.h5``.

    Spectra of layers, probabilities and reconstructions are those of the network, with
    tokens frozen at the given orientation; for models with segmentation, ``breaking``
    of each event compares with tokens and voxels that are found anew
    (:mod:`symjax.runs.breaking`). An event that cannot be read or measured is
    recorded as failed, and the run goes on.

    Args:
      model: A :class:`~symjax.models.pointmae.PointMAEModel`.
      clouds: The events by label, as :class:`~symjax.data.point_clouds.EventFiles`
        holds them; each is asked for when its turn has come.
      options: How to measure.
      folder: The output folder.
      unreadable: Errors by label of files that cannot be used; recorded as failed.
      resume: Whether to continue the report in it.
      overwrite: Whether to replace a report in it.
      watch: Called with the progress.
      command: What was typed to measure them, for the report.

    Returns:
      The report.

    Raises:
      SymjaxError: An option is impossible, the folder or model cannot be used, or the
        only event cannot be measured.

    Example:
      >>> from symjax.runs import Options
      >>> from symjax.runs.events import measure_events
      >>> measure_events(None, {}, Options(max_degree=-1), "out")
      Traceback (most recent call last):
      ...
      symjax.errors.ArgumentError: max_degree=-1: is not a degree. Pass an integer...
    """
    folder = Path(folder)
    settings = options.settings()
    _check_options(options)
    check_folder(folder, resume=resume, overwrite=overwrite)
    check_model(model)
    settings = dataclasses.replace(settings, points=selection_line(model))
    errors = dict(unreadable or {})
    labels = [*clouds, *errors]
    if not labels:
        raise StructureError(
            "events", {}, "there is none to measure", "Pass one event or more"
        )
    select_layers(model.config, options.layers)
    software = schema.Software(
        symjax.__version__, jax.__version__, jax.default_backend()
    )
    info = schema.ModelInfo(model.name, fingerprint(model))
    with Journal(
        folder, software, info, settings, resume=resume, overwrite=overwrite
    ) as journal:
        for label in journal.completed:
            if label not in clouds:
                raise _changed(journal, label)
        for position, label in enumerate(labels, start=1):
            where = Progress(label, position, len(labels), 0, settings.num_elements)
            kept = journal.completed.get(label)
            cloud = None
            try:
                if label in errors:
                    raise errors[label]
                cloud = prepare_cloud(model, label, clouds[label])
                if kept is not None and kept.digest != event_digest(cloud):
                    raise _changed(journal, label)
                result = kept or _measure_one(
                    model, label, cloud, options, where, watch
                )
            except ReportError:
                raise
            except EXPECTED_ERRORS as error:
                reason = as_symjax_error(error, options)
                if len(labels) == 1:
                    journal.discard()
                if len(labels) == 1 or reason is None:
                    raise (reason or error) from error
                result = _failed(label, cloud, reason)
            if kept is None:
                journal.append(result)
            if watch is not None:
                done = where._replace(done=where.num_elements, kept=kept is not None)
                watch(done._replace(finished=result))
        results = journal.structures(labels)
    report = schema.Report(software, info, settings, results, command)
    schema.write_report(report, folder / REPORT_FILE)
    write_results(report, folder / RESULTS_FILE)
    return report


class Cost(NamedTuple):
    """What a number of events will cost.

    Attributes:
      events: Number of events.
      cost: Of all of them together.
    """

    events: int
    cost: Estimate


def estimate_events(
    model: Any, clouds: Mapping[str, PointCloud], options: Options
) -> Iterator[tuple[str, Cost | SymjaxError]]:
    """What :func:`measure_events` will cost, from a few events and one timed program.

    At most 32 events, evenly spread, are read; their sizes stand for those of all. One
    of the most frequent size is timed, others take time in proportion to the points
    that they are padded to. The sources of symmetry breaking are counted as
    evaluations of the same length, three at each of 96 elements.

    Args:
      model: A :class:`~symjax.models.pointmae.PointMAEModel`.
      clouds: The events by label.
      options: How to measure.

    Yields:
      For each size its name and the cost of all events of it; for an event that was
      read and cannot be measured, its label and the error.

    Raises:
      SymjaxError: An option is impossible, or the model cannot be used.

    Example:
      >>> from symjax.runs import Options
      >>> from symjax.runs.events import estimate_events
      >>> next(estimate_events(None, {}, Options(max_degree=-1)))
      Traceback (most recent call last):
      ...
      symjax.errors.ArgumentError: max_degree=-1: is not a degree. Pass an integer...
    """
    options.settings()
    _check_options(options)
    check_model(model)
    labels = list(clouds)
    looked_at = min(len(labels), _LOOKED_AT)
    found: dict[int, list[PointCloud]] = collections.defaultdict(list)
    for part in range(looked_at):
        label = labels[part * len(labels) // looked_at]
        try:
            cloud = prepare_cloud(model, label, clouds[label])
        except SymjaxError as error:
            yield label, error
            continue
        found[len(cloud.mask)].append(cloud)
    if not found:
        return
    usual = max(found, key=lambda size: len(found[size]))
    problem = event_problem(
        model, found[usual][0], layers=options.layers, dtype=options.dtype
    )
    one = estimate(
        problem,
        over=options.over,  # type: ignore[arg-type]
        max_degree=options.max_degree,
        memory=options.memory,
    )
    more = _SOURCE_EVALUATIONS if model.config.num_classes else 0
    seconds = one.seconds * (1 + more / one.num_elements)
    for size, events in sorted(found.items()):
        number = round(len(events) * len(labels) / looked_at)
        share = size / usual
        yield (
            f"events of at most {size} points",
            Cost(
                number,
                dataclasses.replace(
                    one,
                    num_elements=number * (one.num_elements + more),
                    seconds=number * share * seconds,
                    memory=int(share * one.memory),
                ),
            ),
        )


def _check_options(options: Options) -> None:
    options.check_fixed("a measurement of events")
    if options.symmetry:
        raise ArgumentError(
            "symmetry",
            True,
            "is for structures: point groups of events are not looked for",
            "Leave it out",
        )


def _changed(journal: Journal, label: str) -> ReportError:
    return ReportError(
        "events",
        label,
        f"is not among the events of this run, or has changed since it was measured "
        f"for {str(journal.path)!r}",
        "Resume with the same files and frames, or more of them; or pass --overwrite "
        "to start again",
    )


def _measure_one(
    model: Any,
    label: str,
    cloud: PointCloud,
    options: Options,
    where: Progress,
    watch: Watch | None,
) -> StructureReport:
    def progress(done: int, total: int) -> None:
        if watch is not None:
            watch(where._replace(done=done, num_elements=total))

    if watch is not None:
        watch(where)
    start = time.perf_counter()
    with timing.compile_seconds() as compiled:
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
        breaking: tuple[Breaking, ...] = ()
        if model.config.num_classes:
            breaking = measure_breaking(model, cloud, dtype=options.dtype)
    elapsed = time.perf_counter() - start
    compiling = min(compiled(), elapsed)
    return StructureReport(
        label=label,
        formula="event",
        num_atoms=cloud.num_points,
        digest=event_digest(cloud),
        leaves=_with_particles(
            leaves_of(measurement, problem.outputs, CLASSES), measurement, cloud
        ),
        timing=schema.Timing(compiling, elapsed - compiling),
        num_elements=measurement.num_elements,
        points=_points(cloud, measurement, problem, breaking),
        breaking=breaking,
    )


def _with_particles(
    leaves: tuple[schema.Leaf, ...], measurement: Measurement, cloud: PointCloud
) -> tuple[schema.Leaf, ...]:
    """Adds the totals of each particle where samples are points."""
    particle = np.asarray(cloud.particle)
    present = np.unique(particle[particle >= 0]).tolist()
    return tuple(
        dataclasses.replace(
            leaf,
            particles={
                particle_name(number): measurement[leaf.name].totals(particle == number)
                for number in present
            },
        )
        if leaf.species
        else leaf
        for leaf in leaves
    )


def particle_name(number: int) -> str:
    """Name of a particle.

    Args:
      number: Its number in the files of PILArNet-M.

    Returns:
      Its name, or its number where it has none.

    Example:
      >>> from symjax.runs.events import particle_name
      >>> particle_name(2), particle_name(7)
      ('muon', 'particle 7')
    """
    return PARTICLES[number] if number < len(PARTICLES) else f"particle {number}"


def _points(
    cloud: PointCloud,
    measurement: Measurement,
    problem: Problem,
    breaking: tuple[Breaking, ...],
) -> EventPoints:
    real = np.asarray(cloud.mask)
    errors = {}
    for name, output in problem.outputs.items():
        if output.kind == "output" and output.samples is not None:
            leaf = measurement[name]
            count = leaf.representation.dimension * leaf.channels
            variance = leaf.variance[real].sum(axis=-1)
            errors[name] = np.sqrt(np.maximum(variance, 0) / count)
    labels, changes = np.zeros(0, int), np.zeros(0)
    if breaking:
        shares = breaking[-1].labels.frequencies
        labels, changes = shares.argmax(axis=1), 1 - shares.max(axis=1)
    return EventPoints(
        np.asarray(cloud.positions, float)[real],
        np.asarray(cloud.energies, float)[real],
        np.asarray(cloud.semantic)[real],
        errors,
        labels,
        changes,
    )


def _failed(
    label: str, cloud: PointCloud | None, error: SymjaxError
) -> StructureReport:
    """An event that cannot be measured; without points if it could not be read."""
    return StructureReport(
        label=label,
        formula="event",
        num_atoms=0 if cloud is None else cloud.num_points,
        digest="" if cloud is None else event_digest(cloud),
        failure=schema.Failure(type(error).__name__, str(error)),
    )
