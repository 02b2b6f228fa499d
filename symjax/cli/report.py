"""``symjax report``: measures a model on structures or events."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer

from symjax.cli.application import (
    GIB,
    CompileCache,
    Debug,
    Frames,
    Overwrite,
    command_line,
    options_as_typed,
)
from symjax.cli.choices import (
    SOURCE_OPTIONS,
    Calculator,
    CalculatorOptions,
    Dtype,
    FigureFormat,
    LowEnergy,
    check_dtype,
    check_scheduler,
    check_source,
    degree_of_calculator,
    degree_or_auto,
    with_selection,
)
from symjax.cli.environment import choose_devices, configure_jax
from symjax.cli.inputs import (
    check_memory,
    find_events,
    find_structures,
    is_events,
    open_model,
)
from symjax.cli.label_options import (
    LabelEnergyUnit,
    LabelField,
    LabelLengthUnit,
    Reach,
    label_fields,
)
from symjax.cli.presenting import not_reached, present, present_estimates
from symjax.cli.progress import measuring_progress
from symjax.cli.streams import say
from symjax.cli.survey import Kind, Question, check_survey, run_survey
from symjax.errors import ArgumentError

# Random rotations for a calculator, unless a grid is asked for: calls may take minutes.
_SAMPLES_OF_CALCULATORS = 32


def report(
    context: typer.Context,
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET",
            help="Any structure file that ASE reads, a folder of them, a quoted "
            "pattern such as 'data/*.xyz', a molecule of ase.build.molecule such as "
            "CH3CH2OH, or events in an HDF5 file (.h5) of PILArNet-M. What exists "
            "goes first.",
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME_OR_PATH",
            help="Model that ships with symjax (see 'symjax models'), folder of a "
            "saved one, checkpoint .ckpt or exported model .pt of any architecture "
            "(PET is imported, others are measured in place), or released model such "
            "as pet-mad-s or pet-mad-s@1.6.0. Default: pet-ethanol, for events "
            "polarmae-events.",
            show_default=False,
        ),
    ] = None,
    calculator: Calculator = None,
    calculator_options: CalculatorOptions = "{}",
    max_degree: Annotated[
        int,
        typer.Option(
            metavar="L", help="Largest degree of the irreps in the symmetry content."
        ),
    ] = 6,
    grid: Annotated[
        str | None,
        typer.Option(
            metavar="DEGREE|auto",
            help="Degree of the quadrature over O(3), at least 2 L. The number of "
            "evaluations is about 2/3 (DEGREE + 1)^3. With auto, rules of growing "
            "degree for each structure, until each content is certified to 0.001 and "
            "each error to 1 %. Default: 2 L + 1.",
            show_default=False,
        ),
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Instead of a grid, N random rotations for each structure, each "
            "paired with its product with the inversion: 2 N evaluations, and every "
            "figure with its uncertainty. Default with --calculator: 32.",
            show_default=False,
        ),
    ] = None,
    symmetry: Annotated[
        bool,
        typer.Option(
            "--symmetry/--no-symmetry",
            help="Whether to use the point group of each structure: equivalent "
            "orientations are evaluated once, after a check that the model treats "
            "them alike.",
        ),
    ] = False,
    energy_threshold: Annotated[
        float | None,
        typer.Option(
            metavar="MEV",
            help="For events: points of at most this energy are dropped; 0 drops "
            "none. Default: as the model was trained, 0.13 where it does not say.",
            show_default=False,
        ),
    ] = None,
    low_energy: Annotated[
        LowEnergy | None,
        typer.Option(
            help="For events: which scattered low-energy deposits are dropped. "
            "Default: as the model was trained, label where it does not say.",
            show_default=False,
        ),
    ] = None,
    layers: Annotated[
        str,
        typer.Option(
            metavar="all|none|PATTERN",
            help="Layers whose features are measured too: all, none, or names or "
            "regular expressions separated by commas.",
        ),
    ] = "none",
    energy: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Output whose derivatives are forces and stress, such as energy/pbe. "
            "Default: energy, or the only variant of it.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="FOLDER", help="Folder to write the report into."
        ),
    ] = Path("report"),
    frames: Frames = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Continue an interrupted run in FOLDER: completed structures are "
            "kept, failed ones are tried again.",
        ),
    ] = False,
    overwrite: Overwrite = False,
    dtype: Annotated[
        Dtype, typer.Option(help="Floating-point type in which the model runs.")
    ] = Dtype.FLOAT32,
    tolerance: Annotated[
        float,
        typer.Option(
            metavar="FRACTION",
            help="Change of the content between nested grids above which a response "
            "counts as not resolved.",
        ),
    ] = 0.05,
    memory: Annotated[
        float,
        typer.Option(
            metavar="GIB",
            help="Budget in GiB for responses and coefficients. With less, layers "
            "are measured in several passes.",
        ),
    ] = 4.0,
    figures: Annotated[
        bool, typer.Option("--figures/--no-figures", help="Whether to draw figures.")
    ] = True,
    page: Annotated[
        bool,
        typer.Option("--html/--no-html", help="Whether to write report.html."),
    ] = True,
    figure_format: Annotated[
        list[FigureFormat] | None,
        typer.Option(
            help="Format of the figures; may be given several times. Default: png.",
            show_default=False,
        ),
    ] = None,
    estimate: Annotated[
        bool,
        typer.Option(
            "--estimate",
            help="Only say how many evaluations, how long and how much memory it will "
            "take, structure by structure; measure and write nothing.",
        ),
    ] = False,
    jobs: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="Number of processes that measure structures at the same time on the "
            "cores of this machine.",
        ),
    ] = 1,
    devices: Annotated[
        str | None,
        typer.Option(
            metavar="N|all",
            help="Number of accelerators of this machine that measure structures at "
            "the same time, or all of them. Default: 1.",
            show_default=False,
        ),
    ] = None,
    laws: Annotated[
        bool,
        typer.Option(
            "--laws/--no-laws",
            help="Whether to check other laws of nature too, with a few dozen "
            "evaluations of the smallest structure (of each periodicity): "
            "translation, exchange of like atoms, other cells, and whether forces are "
            "minus the gradient of the energy.",
        ),
    ] = True,
    scheduler: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Scheduler of the package distributed, such as tcp://node1:8786: its "
            "workers, which may come and go, measure the structures. Needs the extra "
            "[scheduler].",
            show_default=False,
        ),
    ] = None,
    fail_above: Annotated[
        list[str] | None,
        typer.Option(
            metavar="'NAME=VALUE UNIT'",
            help="End with exit code 5 if A of an output over all structures is above "
            "a value, such as 'energy=1 meV'; may be given several times.",
            show_default=False,
        ),
    ] = None,
    reach: Reach = None,
    label: LabelField = None,
    label_energy_unit: LabelEnergyUnit = "eV",
    label_length_unit: LabelLengthUnit = "angstrom",
    survey: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Instead of resolving each structure: averages over all of them, from "
            "N random elements of O(3) for each, such as 16, with intervals.",
            show_default=False,
        ),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(
            metavar="FRACTION",
            help="With --survey: stop when A of every output is known to, for "
            "instance, 1% (half of the 95 % interval). Default: visit all structures "
            "once.",
            show_default=False,
        ),
    ] = None,
    of: Annotated[
        Question,
        typer.Option(
            help="With --survey: whether --until is about this data set, or the "
            "population it was drawn from."
        ),
    ] = Question.DATA,
    turn: Annotated[
        str,
        typer.Option(
            metavar="GROUP",
            help="With --survey or --samples: rotations that are turned together: C1 "
            "for independent ones, a group such as D2 or T, or 'fibonacci 8'.",
        ),
    ] = "C1",
    strata: Annotated[
        Kind | None,
        typer.Option(
            help="With --survey and --until: draw structures in proportion to the "
            "numbers of each formula or size, so that fewer are needed.",
            show_default=False,
        ),
    ] = None,
    chemiscope: Annotated[
        bool,
        typer.Option(
            "--chemiscope",
            help="With --survey: write survey.chemiscope.json.gz too, A by structure "
            "and by atom for the viewer chemiscope. Needs the extra [chemiscope].",
        ),
    ] = False,
    compile_cache: CompileCache = True,
    debug: Debug = False,
) -> None:
    """Measures equivariance errors and symmetry content of a model on structures.

    Writes FOLDER/report.json (all numbers), report.html (a page to look at),
    report.txt (the tables that are also printed), structures.jsonl (one line as soon
    as a structure is finished), results.h5 (the same as columns) and figures.
    """
    from symjax.data.limits import Limit
    from symjax.report.exceeded import exceeded
    from symjax.runs.folder import JOURNAL_FILE, Destination, check_folder

    surveyed = check_survey(context)
    if not estimate and surveyed is None:
        with options_as_typed({"output": "--output", "overwrite": "--overwrite"}):
            check_folder(Destination(output, resume, overwrite))
    check_memory(memory)
    with options_as_typed({"fail_above": "--fail-above"}):
        limits = [Limit.parse(text, "fail_above") for text in fail_above or []]
    with options_as_typed({"reach": "--reach"}):
        aims = [Limit.parse(text, "reach") for text in reach or []]
    labels = label_fields(label, label_energy_unit, label_length_unit)
    events = is_events(target)
    check_scheduler(context)
    if events and surveyed is not None:
        raise ArgumentError(
            "--survey",
            surveyed.num,
            "is for structures, and TARGET holds events",
            "Leave it out",
        )
    degree = degree_or_auto(context, grid)
    find: Any = find_events if events else find_structures
    found = find(target, frames)
    items = found.events if events else found.structures
    check_source(model, calculator, calculator_options, events)
    if calculator is not None:
        max_degree = degree_of_calculator(context, max_degree)
        if grid is None and samples is None:
            samples = _SAMPLES_OF_CALCULATORS
        dtype = Dtype.FLOAT64
    configure_jax(dtype is Dtype.FLOAT64, compile_cache)
    chosen = choose_devices(devices)

    from symjax.interop.in_place import MetatomicSource
    from symjax.runs import Destination, Options, Scheduler, Workers, measure_items

    # Options are checked before a model is read, which takes longer.
    names = {
        "max_degree": "--max-degree",
        "tolerance": "--tolerance",
        "memory": "--memory",
        "grid": "--grid",
        "samples": "--samples",
        "num": "--samples",
        "turn": "--turn",
        "name": "--turn",
        "layers": "--layers",
        "energy": "--energy",
        "symmetry": "--symmetry",
        "output": "--output",
        "items": "TARGET",
        "jobs": "--jobs",
        "scheduler": "--scheduler",
    }
    options = Options(
        max_degree=max_degree,
        grid=degree,
        samples=samples,
        turn="C1" if samples is None else turn,
        layers=layers,
        dtype=dtype.value,
        tolerance=tolerance,
        memory=int(memory * GIB),
        symmetry=symmetry,
        energy=energy,
        labels=labels,
    )
    with options_as_typed(names):
        options.settings()
        workers: Workers | Scheduler = Workers(jobs, chosen)
        if scheduler is not None:
            workers = Scheduler(scheduler)
            if not workers.num_workers():
                say("The scheduler has no workers yet: waiting.", err=True)
    with options_as_typed(SOURCE_OPTIONS):
        loaded = open_model(model, calculator, calculator_options, events)
    if isinstance(loaded, MetatomicSource):
        check_dtype(context, loaded.dtype, dtype)
        configure_jax(loaded.dtype == Dtype.FLOAT64, compile_cache)
        options = dataclasses.replace(options, dtype=loaded.dtype)
    loaded = with_selection(loaded, events, energy_threshold, low_energy)
    if surveyed is not None:
        run_survey(context, loaded, found, surveyed, options, aims)
        return
    if estimate:
        with options_as_typed(names):
            present_estimates(loaded, items, found.unreadable, options)
        return
    into = Destination(output, resume, overwrite, command_line(context))
    try:
        with options_as_typed(names), measuring_progress() as watch:
            result = measure_items(
                *(loaded, items, options, into),
                workers=workers,
                laws=law_checks(loaded, options) if laws and not events else None,
                unreadable=found.unreadable,
                watch=watch,
            )
    except KeyboardInterrupt as error:
        if not (output / JOURNAL_FILE).exists():
            raise KeyboardInterrupt("Interrupted; nothing was written.") from error
        instead = " instead of --overwrite" if overwrite else ""
        raise KeyboardInterrupt(
            f"Interrupted. Completed structures are kept in {output}; to continue, "
            f"run the same command with --resume{instead}."
        ) from error
    formats = [choice.value for choice in figure_format or [FigureFormat.PNG]]
    with options_as_typed({"fail_above": "--fail-above"}):
        above = exceeded(result, limits)
    above += not_reached(result, aims)
    present(result, output, formats if figures else [], page, above)


def law_checks(model: Any, options: Any) -> Any:
    """Checks of other laws; None for a model that is neither a PET nor a source."""
    from symjax.interop.law_checks import LawChecks
    from symjax.models.pet import PETModel
    from symjax.runs import Source

    if not isinstance(model, PETModel | Source):
        return None
    return LawChecks(model, options.energy, options.dtype)
