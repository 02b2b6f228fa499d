"""``symjax report``: measures a model on structures or events."""

import dataclasses
from typing import Annotated, Any

import typer

from symjax._signals import interruptions
from symjax.cli.application import (
    GIB,
    command_line,
    option_names,
    options_as_typed,
    refuse_typed,
)
from symjax.cli.environment import choose_devices, configure_jax
from symjax.cli.inputs import find_events, find_structures, is_events
from symjax.cli.options import (
    CompileCache,
    Frames,
    LabelOptions,
    ModelOptions,
    degree_of,
    limits_of,
)
from symjax.cli.presenting import (
    exceeded,
    not_reached,
    present,
    present_estimates,
)
from symjax.cli.progress import measuring_progress
from symjax.cli.report_options import (
    Cost,
    EventOptions,
    FigureFormat,
    Limits,
    Measured,
    Resolution,
    SurveyOptions,
    Written,
)
from symjax.cli.streams import say
from symjax.cli.survey import check_survey, run_survey
from symjax.errors import ArgumentError

# Default number of random rotations for a calculator, whose calls may take minutes.
_SAMPLES_OF_CALCULATORS = 32


def report(
    context: typer.Context,
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET",
            help="Any structure file that ASE reads, a folder of them, a quoted "
            "pattern such as 'data/*.xyz', a molecule of ase.build.molecule such as "
            "CH3CH2OH, or events in an HDF5 file (.h5) of PILArNet-M. An existing file "
            "or folder takes precedence over a molecule.",
        ),
    ],
    source: ModelOptions,
    resolution: Resolution,
    measured: Measured,
    read: EventOptions,
    written: Written,
    cost: Cost,
    limits: Limits,
    labels: LabelOptions,
    survey: SurveyOptions,
    frames: Frames = None,
    compile_cache: CompileCache = True,
) -> None:
    """Measures equivariance errors and symmetry content of a model on structures.

    Writes FOLDER/report.json (all numbers), report.html (a page to look at),
    report.txt (the printed tables), structures.jsonl (one line for each structure as
    soon as it is finished), results.h5 (the numbers as columns) and figures.
    """
    # Names of arguments in error messages, as they are typed.
    names = option_names(context) | {"num": "--samples", "items": "TARGET"}
    names |= {"name": "--turn"}
    surveyed = check_survey(context)
    cost.check(context)

    from symjax.runs.folder import JOURNAL_FILE, Destination, check_folder

    into = Destination(
        written.output, written.resume, written.overwrite, command_line(context)
    )
    if not cost.estimate and surveyed is None:
        with options_as_typed(names):
            check_folder(into)
    above = limits_of("--fail-above", limits.fail_above)
    aims = limits_of("--reach", limits.reach)
    fields = labels.fields()
    events = is_events(target)
    if events and surveyed is not None:
        raise ArgumentError(
            "--survey",
            surveyed.num,
            "is for structures, and TARGET holds events",
            "Leave it out",
        )
    degree = resolution.degree(context)
    find: Any = find_events if events else find_structures
    found = find(target, frames)
    items = found.events if events else found.structures
    source.check(events)
    samples, dtype = resolution.samples, measured.dtype
    if source.calculator is not None:
        dtype = "float64"
        if resolution.grid is None and samples is None:
            samples = _SAMPLES_OF_CALCULATORS
    configure_jax(dtype == "float64", compile_cache)
    chosen = choose_devices(cost.devices)

    from symjax.interop.in_place import MetatomicSource
    from symjax.runs import Options, Scheduler, Workers, measure_items

    # Options are checked before a model is read, which takes longer.
    options = Options(
        max_degree=degree_of(context, source, resolution.max_degree),
        grid=degree,
        samples=samples,
        turn="C1" if samples is None else resolution.turn,
        layers=measured.layers,
        dtype=dtype,
        tolerance=resolution.tolerance,
        memory=int(cost.memory * GIB),
        symmetry=resolution.symmetry,
        energy=source.energy,
        labels=fields,
    )
    with options_as_typed(names):
        options.settings()
        workers: Workers | Scheduler = Workers(cost.jobs, chosen)
        if cost.scheduler is not None:
            workers = Scheduler(cost.scheduler)
            if not workers.num_workers():
                say("The scheduler has no workers yet: waiting.", err=True)
    loaded = source.open(events)
    if isinstance(loaded, MetatomicSource):
        if loaded.dtype != dtype:
            problem = f"the model is measured in place, in {loaded.dtype}"
            remedy = "Leave it out, or export the model in this type"
            refuse_typed(context, ["dtype"], problem, remedy)
        configure_jax(loaded.dtype == "float64", compile_cache)
        options = dataclasses.replace(options, dtype=loaded.dtype)
    loaded = read.apply(loaded, events)
    if surveyed is not None:
        run_survey(loaded, found, surveyed, survey, into, options, aims)
        return
    if cost.estimate:
        with options_as_typed(names):
            present_estimates(loaded, items, found.unreadable, options)
        return
    laws = law_checks(loaded, options) if measured.laws and not events else None
    try:
        with (
            options_as_typed(names),
            interruptions(),
            measuring_progress() as watch,
        ):
            result = measure_items(
                *(loaded, items, options, into),
                workers=workers,
                laws=laws,
                unreadable=found.unreadable,
                watch=watch,
            )
    except KeyboardInterrupt as error:
        if not (into.path / JOURNAL_FILE).exists():
            raise KeyboardInterrupt("Interrupted; nothing was written.") from error
        instead = " instead of --overwrite" if into.overwrite else ""
        raise KeyboardInterrupt(
            f"Interrupted. Completed structures are kept in {into.path}; to continue, "
            f"run the same command with --resume{instead}."
        ) from error
    with options_as_typed({"fail_above": "--fail-above"}):
        failures = exceeded(result, above)
    failures += not_reached(result, aims)
    formats = [choice.value for choice in written.figure_format or [FigureFormat.PNG]]
    formats = formats if written.figures else []
    present(result, into.path, formats, written.page, failures)


def law_checks(model: Any, options: Any) -> Any:
    """Checks of other laws of nature; None for models that are not atomistic."""
    from symjax.interop.law_checks import LawChecks
    from symjax.models.pet import PETModel
    from symjax.runs import Source

    if not isinstance(model, PETModel | Source):
        return None
    return LawChecks(model, options.energy, options.dtype)
