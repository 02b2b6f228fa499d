"""The command line: ``report``, ``html``, ``diagnose``, ``import``, ``models``.

A command is a function with typed options; :func:`_guarded` turns its exceptions into
messages and exit codes. Everything that takes long to import is imported inside
commands, so that ``symjax --help`` answers at once.
"""

import contextlib
import enum
import functools
import os
import re
import shlex
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import symjax
from symjax.errors import ArgumentError, SymjaxError

if TYPE_CHECKING:
    import ase

    from symjax.data.point_clouds import PointCloud
    from symjax.report import Progress, Report

OK, INTERNAL, BAD_INPUT, UNRESOLVED, FAILED, INTERRUPTED = 0, 1, 2, 3, 4, 130
"""Exit codes; ``docs/cli.md`` lists what they mean."""

_GIB = 2**30
_EXIT_CODES = """\b
Exit codes:
    0  done
    1  internal error (see it with --debug)
    2  bad input or usage; the message says what to change
    3  a result is not resolved by the grid; the report is written
       and says which --grid to try
    4  some structures failed; the report is written without them
  130  interrupted; continue with --resume
"""

app = typer.Typer(
    name="symjax",
    help="Measures how well models have learned the symmetry of three-dimensional "
    "space.",
    epilog=_EXIT_CODES,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Debug = Annotated[
    bool, typer.Option("--debug", help="Print the traceback of an error.")
]


class Dtype(enum.StrEnum):
    """Floating-point types of an evaluation."""

    FLOAT32 = "float32"
    FLOAT64 = "float64"


class FigureFormat(enum.StrEnum):
    """File formats of figures."""

    PNG = "png"
    SVG = "svg"
    PDF = "pdf"


def main() -> None:
    """Runs the command line; the entry point of the console script.

    Example:
      >>> from symjax.cli import main
      >>> callable(main)
      True
    """
    app()


def _guarded(command: Callable[..., None]) -> Callable[..., None]:
    """Turns exceptions of a command into a message and an exit code."""

    def stop(code: int, message: str, debug: bool) -> typer.Exit:
        if debug:
            typer.echo(traceback.format_exc(), err=True)
        typer.echo(message, err=True)
        return typer.Exit(code)

    @functools.wraps(command)
    def wrapper(*args: Any, **kwargs: Any) -> None:
        debug = bool(kwargs.get("debug"))
        try:
            command(*args, **kwargs)
        except SymjaxError as error:
            raise stop(BAD_INPUT, f"Error: {error}", debug) from error
        except KeyboardInterrupt as error:
            message = str(error) or "Interrupted."
            raise stop(INTERRUPTED, message, debug) from error
        except (typer.Exit, typer.Abort, BrokenPipeError):
            raise
        except Exception as error:
            message = (
                f"Internal error: {type(error).__name__}: {error}\n"
                "This is a bug in symjax or in a library below it. Run the command "
                "again with --debug and report what it prints."
            )
            raise stop(INTERNAL, message, debug) from error

    return wrapper


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"symjax {symjax.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_show_version,
            is_eager=True,
            help="Show the version and exit.",
        ),
    ] = False,
) -> None:
    pass


@app.command(epilog=_EXIT_CODES)
@_guarded
def report(
    context: typer.Context,
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET",
            help="Molecule of ase.build.molecule, such as CH3CH2OH, any structure "
            "file that ASE reads, or events in an HDF5 file (.h5) of PILArNet-M. A "
            "file goes first.",
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME_OR_PATH",
            help="Model that ships with symjax (see 'symjax models'), or the folder "
            "of a saved one. Default: pet-ethanol, for events polarmae-events.",
            show_default=False,
        ),
    ] = None,
    max_degree: Annotated[
        int,
        typer.Option(
            metavar="L", help="Largest degree of the irreps in the symmetry content."
        ),
    ] = 6,
    grid: Annotated[
        int | None,
        typer.Option(
            metavar="DEGREE",
            help="Degree of the quadrature over O(3), at least 2 L. The number of "
            "evaluations is about 2/3 (DEGREE + 1)^3. Default: 2 L + 1.",
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
    layers: Annotated[
        str,
        typer.Option(
            metavar="all|none|PATTERN",
            help="Layers whose features are measured too: all, none, or names or "
            "regular expressions separated by commas.",
        ),
    ] = "none",
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="FOLDER", help="Folder to write the report into."
        ),
    ] = Path("report"),
    frames: Annotated[
        str | None,
        typer.Option(
            metavar="SLICE",
            help="Frames of the file: a number, or a slice such as 0:10 or ::5. "
            "Default: all.",
            show_default=False,
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Continue an interrupted run in FOLDER: completed structures are "
            "kept, failed ones are tried again.",
        ),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a report in FOLDER.")
    ] = False,
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
    ] = 2.0,
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
    compile_cache: Annotated[
        bool,
        typer.Option(
            "--compile-cache/--no-compile-cache",
            envvar="SYMJAX_COMPILE_CACHE",
            help="Whether to keep compiled code for the next run, in the user's "
            "cache folder.",
        ),
    ] = True,
    debug: Debug = False,
) -> None:
    """Measures equivariance errors and symmetry content of a model on structures.

    Writes FOLDER/report.json (all numbers), report.html (a page to look at),
    report.txt (the tables that are also printed), structures.jsonl (one line as soon
    as a structure is finished) and figures.
    """
    from symjax.report.folder import JOURNAL_FILE, check_folder

    if not estimate:
        with _options({"output": "--output", "--overwrite": "--overwrite"}):
            check_folder(output, resume=resume, overwrite=overwrite)
    _check_memory(memory)
    events = Path(target).suffix in _EVENT_FILES
    structures: Any = (
        _find_events(target, frames) if events else _find_structures(target, frames)
    )
    _configure_jax(dtype is Dtype.FLOAT64, compile_cache)

    from symjax.models.io import load_model
    from symjax.report import Options, measure_structures

    # Options are checked before a model is read, which takes longer.
    names = {
        "max_degree": "--max-degree",
        "tolerance": "--tolerance",
        "memory": "--memory",
        "grid": "--grid",
        "layers": "--layers",
        "symmetry": "--symmetry",
        "output": "--output",
        "structures": "TARGET",
        "events": "TARGET",
    }
    options = Options(
        max_degree=max_degree,
        grid=grid,
        layers=layers,
        dtype=dtype.value,
        tolerance=tolerance,
        memory=int(memory * _GIB),
        symmetry=symmetry,
    )
    with _options(names):
        options.settings()
    with _options({"model": "--model"}):
        loaded = load_model(model or _DEFAULT_MODELS[events])
        _check_kind(loaded, events)
    if estimate:
        with _options(names):
            _present_estimates(loaded, structures, options, events)
        return
    more = ""
    try:
        with _options(names), _progress() as watch:
            how: dict[str, Any] = {"resume": resume, "overwrite": overwrite}
            how["command"] = _command_line(context)
            if events:
                from symjax.report.breaking import breaking_text
                from symjax.report.events import measure_events

                result, sources = measure_events(
                    loaded, structures, options, output, watch=watch, **how
                )
                more = "\n" + breaking_text(sources) if sources else ""
            else:
                result = measure_structures(
                    loaded, structures, options, output, watch=watch, **how
                )
    except KeyboardInterrupt as error:
        journal = output / JOURNAL_FILE
        if not journal.exists():
            raise KeyboardInterrupt("Interrupted; nothing was written.") from error
        instead = " instead of --overwrite" if overwrite else ""
        raise KeyboardInterrupt(
            f"Interrupted. Completed structures are kept in {journal}; to continue, "
            f"run the same command with --resume{instead}."
        ) from error
    formats = [choice.value for choice in figure_format or [FigureFormat.PNG]]
    _present(result, output, formats if figures else [], page, more)


def _present_estimates(
    model: Any, structures: dict[str, Any], options: Any, events: bool
) -> None:
    """Prints what measuring would cost, and the sum."""
    from symjax.metrics import Estimate
    from symjax.report import estimate_structures
    from symjax.report.events import estimate_events

    costs = []
    costs_of: Any = estimate_events if events else estimate_structures
    for label, cost in costs_of(model, structures, options):
        typer.echo(f"{label}: {cost}")
        if isinstance(cost, Estimate):
            costs.append(cost)
    if len(costs) > 1:
        total = Estimate(
            sum(cost.num_elements for cost in costs),
            1,
            sum(cost.seconds for cost in costs),
            max(cost.memory for cost in costs),
        )
        typer.echo(f"all: {total}")


def _present(
    result: "Report", output: Path, formats: list[str], page: bool, more: str = ""
) -> None:
    """Prints tables, writes text and figures, and exits with the verdict."""
    from symjax.report.folder import HTML_FILE, REPORT_FILE, TEXT_FILE
    from symjax.report.schema import write_atomically
    from symjax.report.tables import print_report, to_text

    print_report(result, sys.stdout)
    if more:
        typer.echo(more, nl=False)
    text = to_text(result) + more
    write_atomically(
        output / TEXT_FILE, lambda part: part.write_text(text, encoding="utf-8")
    )
    written = [REPORT_FILE, TEXT_FILE]
    if page:
        from symjax.report.html import save_html

        save_html(result, output / HTML_FILE)
        written.append(HTML_FILE)
    if formats and result.measured:
        from symjax.report.figures import save_figures

        written += [path.name for path in save_figures(result, output, formats)]
    typer.echo(f"Wrote {', '.join(written)} in {output}", err=True)
    if result.failed:
        typer.echo(
            f"{len(result.failed)} of {len(result.structures)} structures failed; "
            "see the messages above.",
            err=True,
        )
        raise typer.Exit(FAILED)
    if not result.resolved:
        typer.echo(
            "NOT RESOLVED by the grid: do not use these numbers; see above.", err=True
        )
        raise typer.Exit(UNRESOLVED)


@app.command("html", epilog=_EXIT_CODES)
@_guarded
def html_page(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="REPORT", help="A report.json, or the folder that holds it."
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="File to write. Default: report.html beside the report.",
            show_default=False,
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace FILE if it exists.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Writes a report that exists as one web page, which needs no network."""
    from symjax.report import read_report
    from symjax.report.folder import HTML_FILE
    from symjax.report.html import save_html

    with _options({"path": "REPORT", "output": "--output"}):
        result = read_report(source)
        folder = source if source.is_dir() else source.parent
        path = folder / HTML_FILE if output is None else output
        if path.exists() and not overwrite:
            raise ArgumentError(
                "--output",
                str(path),
                "exists already",
                "Choose another file, or pass --overwrite",
            )
        save_html(result, path)
    typer.echo(f"Wrote {path}", err=True)


@app.command(epilog=_EXIT_CODES)
@_guarded
def diagnose(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="REPORT",
            help="A report.json of 'symjax report --layers all', or its folder.",
        ),
    ],
    target: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=IRREPS",
            help="Irreps that an output needs, such as dipole=1+ or spin=0+,1-; also "
            "for a target that the model does not have. May be given several times. "
            "Default: those of each output.",
            show_default=False,
        ),
    ] = None,
    reads: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=LAYERS",
            help="Layers that an output or target reads, separated by commas. May be "
            "given several times. Default: its heads, else the last layers.",
            show_default=False,
        ),
    ] = None,
    structures: Annotated[
        str | None,
        typer.Option(
            metavar="TARGET",
            help="Symmetric structures, a molecule or a file as in 'symjax report': "
            "what does the model predict where their symmetry forbids an answer?",
            show_default=False,
        ),
    ] = None,
    frames: Annotated[
        str | None,
        typer.Option(
            metavar="SLICE",
            help="Frames of the file of --structures. Default: all.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME_OR_PATH",
            help="The model of the report, for --structures. Default: the one that "
            "ships under the name in the report.",
            show_default=False,
        ),
    ] = None,
    json: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="File to write the findings into as JSON.",
            show_default=False,
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the file of --json.")
    ] = False,
    compile_cache: Annotated[
        bool,
        typer.Option(
            "--compile-cache/--no-compile-cache",
            envvar="SYMJAX_COMPILE_CACHE",
            help="Whether to keep compiled code for the next run, in the user's "
            "cache folder.",
        ),
    ] = True,
    debug: Debug = False,
) -> None:
    """Names what a model fails at, from its report: where, how badly, what helps.

    Looks for missing irreps, spectral bottlenecks, late emergence, parity blindness,
    leakage and aliasing, and with --structures for symmetry traps. Findings are no
    error: the command ends with 0 whatever it finds in the model.
    """
    from symjax.report import read_report

    for name, given in (("--model", model), ("--frames", frames)):
        if given is not None and structures is None:
            raise ArgumentError(
                name, given, "is of no use without --structures", "Pass both, or none"
            )
    if json is not None and json.exists() and not overwrite:
        raise ArgumentError(
            "--json",
            str(json),
            "exists already",
            "Choose another file, or pass --overwrite",
        )
    with _options({"path": "REPORT"}):
        loaded = read_report(source)
    chosen = {} if structures is None else _find_symmetric(structures, frames)
    _configure_jax(loaded.settings.dtype == "float64", compile_cache)

    from symjax.diagnose import diagnose as look
    from symjax.diagnose import report_traps, to_text
    from symjax.models.io import load_model
    from symjax.report.schema import dumps, write_atomically

    targets = _assignments("--target", target)
    layers_read = _assignments("--reads", reads)
    names = {
        "layers_read": "--reads",
        "label": "--target",
        "report": "REPORT",
        "model": "--model",
    }
    failed: dict[str, SymjaxError] = {}
    with _options(names):
        # Refuses a report without layers before a model is read.
        found = look(loaded, targets=targets, layers_read=layers_read)
        if chosen:
            whole = load_model(model or loaded.model.name)
            traps, failed = report_traps(loaded, whole, chosen)
            if len(chosen) == len(failed) == 1:
                raise next(iter(failed.values()))
            found = look(loaded, targets=targets, layers_read=layers_read, traps=traps)
    typer.echo(to_text(found), nl=False)
    if json is not None:
        text = dumps(found.to_json()) + "\n"
        with _options({"output": "--json"}):
            write_atomically(json, lambda part: part.write_text(text))
        typer.echo(f"Wrote {json}", err=True)
    for label, error in failed.items():
        typer.echo(f"{label}: FAILED: {error}", err=True)
    if failed:
        raise typer.Exit(FAILED)
    if not loaded.resolved:
        typer.echo("Some responses of the report are NOT RESOLVED.", err=True)
        raise typer.Exit(UNRESOLVED)


def _find_symmetric(target: str, frames: str | None) -> "dict[str, ase.Atoms]":
    """Structures of ``--structures``, which other commands call TARGET."""
    with _options({"TARGET": "--structures"}):
        return _find_structures(target, frames)


def _assignments(option: str, given: list[str] | None) -> dict[str, list[str]]:
    """Reads NAME=A,B,... of a repeated option."""
    out = {}
    for text in given or []:
        name, equals, values = text.partition("=")
        if not (name and equals and values):
            raise ArgumentError(
                option,
                text,
                "is not of the form NAME=A,B",
                "Pass for instance dipole=1+",
            )
        out[name] = values.split(",")
    return out


@app.command()
@_guarded
def models(debug: Debug = False) -> None:
    """Lists the models that ship with symjax, with the numbers of their cards."""
    from symjax.models.io import load_model, shipped_models

    names = shipped_models()
    if not names:
        typer.echo("No model ships with this installation.")
    for name in names:
        model = load_model(name)
        typer.echo(name)
        for key, value in _model_lines(model):
            typer.echo(f"  {key:<28}{value}")


@app.command("import", epilog=_EXIT_CODES)
@_guarded
def import_model(
    checkpoint: Annotated[
        Path,
        typer.Argument(
            metavar="CHECKPOINT",
            help="Checkpoint .ckpt or exported model .pt of metatrain's PET, possibly "
            "compressed with gzip. Import only files whose source you trust: an "
            "exported model is a program, which runs.",
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="FOLDER", help="Folder to write the model into."
        ),
    ],
    name: Annotated[
        str | None,
        typer.Option(help="Name for reports. Default: that of the file."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a model in FOLDER.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Converts metatrain's PET to a folder that needs no torch.

    Compares every output with metatrain's on a small crystal before it writes. Needs
    the extra symjax[torch].
    """
    from symjax.interop.metatrain import load_metatrain
    from symjax.models.io import METADATA_FILE, fingerprint, save_model

    if (output / METADATA_FILE).exists() and not overwrite:
        raise ArgumentError(
            "--output",
            str(output),
            "holds a model already",
            "Choose another folder, or pass --overwrite",
        )
    with _options({"path": "CHECKPOINT", "folder": "--output"}):
        model = load_metatrain(checkpoint, name)
        save_model(model, output)
    typer.echo(f"Wrote {model.name} to {output}")
    for key, value in _model_lines(model):
        typer.echo(f"  {key:<28}{value}")
    typer.echo(f"  {'fingerprint':<28}{fingerprint(model)[:16]}")


def _model_lines(model: Any) -> list[tuple[str, str]]:
    """Name and text of what is worth knowing about a model."""
    import jax
    from ase.data import chemical_symbols

    from symjax.models.pointmae import PointMAEModel
    from symjax.models.pointmae.orbit import class_names

    config = model.config
    size = sum(leaf.size for leaf in jax.tree.leaves(model.parameters))
    if isinstance(model, PointMAEModel):
        lines = [
            ("detector", f"{config.detector_size} voxels a side"),
            ("classes", ", ".join(class_names(config)) or "none"),
            ("tokens", f"at most {config.context_length}"),
            ("parameters", f"{size:,}"),
        ]
        return lines + _card_lines(model.card)
    targets = [
        f"{target.name} [{target.unit}]" if target.unit else target.name
        for target in config.targets
    ]
    lines = [
        ("elements", " ".join(chemical_symbols[number] for number in config.species)),
        ("cutoff", f"{config.cutoff:g} angstrom"),
        ("outputs", ", ".join(targets)),
        ("parameters", f"{size:,}"),
    ]
    return lines + _card_lines(model.card)


def _card_lines(card: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Numbers and short texts of a model card, with dotted names."""
    lines = []
    for key, value in card.items():
        if isinstance(value, dict):
            lines += _card_lines(value, f"{prefix}{key}.")
        elif isinstance(value, float):
            lines.append((f"{prefix}{key}", f"{value:.4g}"))
        elif isinstance(value, int) or (isinstance(value, str) and len(value) < 50):
            lines.append((f"{prefix}{key}", str(value)))
    return lines


@app.command(epilog=_EXIT_CODES)
@_guarded
def train(
    run: Annotated[
        Path,
        typer.Argument(metavar="RUN", help="TOML or YAML file that describes the run."),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER",
            help="Folder of the run. Default: the name of RUN without its ending.",
            show_default=False,
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Go on from the last checkpoint; start if there is none."
        ),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Remove an older run in FOLDER.")
    ] = False,
    max_seconds: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="Save a checkpoint and stop after this time.",
            show_default=False,
        ),
    ] = None,
    compile_cache: Annotated[
        bool,
        typer.Option(
            "--compile-cache/--no-compile-cache",
            help="Keep compiled code between runs.",
        ),
    ] = True,
    debug: Debug = False,
) -> None:
    """Trains a model as a file describes; a killed run goes on with --resume."""
    import signal

    import jax

    from symjax.training.configuration import AtomsRun, read_run

    with _options({"path": "RUN"}):
        settings = read_run(run)
    double = isinstance(settings, AtomsRun) and settings.precision == "float64"
    _configure_jax(double, compile_cache)
    if settings.batch.devices > 1 and "JAX_NUM_CPU_DEVICES" not in os.environ:
        # A CPU counts as one device unless it is divided before its first use.
        jax.config.update("jax_num_cpu_devices", settings.batch.devices)
    # Imported only now: importing them may start JAX.
    from symjax.report.trajectory import save_trajectory
    from symjax.training.records import METRICS, TRAJECTORY
    from symjax.training.runs import MODEL
    from symjax.training.runs import train as train_run

    folder = output or run.with_suffix("")
    # A batch system ends jobs by this signal: as if by Ctrl-C, with a checkpoint.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    names = {"folder": "--output", "resume": "--resume"}
    with _options(names), _training_progress(settings.steps) as watch:
        trained = train_run(
            settings,
            folder,
            resume=resume,
            overwrite=overwrite,
            max_seconds=float("inf") if max_seconds is None else max_seconds,
            watch=watch,
        )
    if not trained.complete:
        typer.echo(
            f"Stopped after step {trained.step} of {settings.steps}; run again with "
            "--resume to go on"
        )
        return
    typer.echo(f"Wrote the model to {folder / MODEL}, metrics to {folder / METRICS}")
    for name, value in trained.errors.items():
        typer.echo(f"  {name:<28}{value:.5g}")
    if settings.monitor is not None:
        for path in save_trajectory(folder / TRAJECTORY, folder):
            typer.echo(f"Wrote {path}")


@contextlib.contextmanager
def _training_progress(
    steps: int,
) -> Iterator[Callable[[int, Mapping[str, float]], None]]:
    """Shows a training on standard error: a bar on a terminal, and lines."""
    from rich import progress as bars
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    columns = (
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.MofNCompleteColumn(),
        bars.TextColumn("steps"),
        bars.TimeRemainingColumn(),
    )
    with bars.Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as display:
        task = display.add_task("compiling", total=steps)

        def watch(step: int, values: Mapping[str, float]) -> None:
            shown = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
            display.update(task, completed=step, description="training")
            console.print(f"step {step:>7}  {shown}", markup=False, soft_wrap=True)

        yield watch


def _command_line(context: typer.Context) -> str:
    """The command with the arguments and options that were typed."""
    words = ["symjax", context.info_name or ""]
    for parameter in context.command.params:
        name = parameter.name or ""
        origin = context.get_parameter_source(name)
        if origin is None or origin.name != "COMMANDLINE":
            continue
        value = context.params[name]
        if parameter.param_type_name == "argument":
            words.append(str(value))
        elif isinstance(value, bool):
            names = parameter.opts if value else parameter.secondary_opts
            words.append(max(names, key=len))
        else:
            for one in value if isinstance(value, list | tuple) else [value]:
                words += [max(parameter.opts, key=len), str(one)]
    return shlex.join(words)


@contextlib.contextmanager
def _options(names: dict[str, str], **typed: Any) -> Iterator[None]:
    """Names options in errors as they are typed, not as arguments of functions.

    Where a function turns an argument into something else before it refuses it,
    ``typed`` holds the text of the option.
    """
    try:
        yield
    except SymjaxError as error:
        name = names.get(error.argument)
        if name is None:
            raise
        value, remedy = typed.get(error.argument, error.value), error.remedy
        if name == "--memory" and isinstance(value, int):
            value /= _GIB
            # the option is in GiB, the library counts bytes; rounded up
            remedy = re.sub(
                r"memory=(\d+)",
                lambda match: f"--memory {1.01 * int(match[1]) / _GIB:.3g}",
                remedy,
            )
        for argument, option in names.items():
            remedy = remedy.replace(f"{argument}=", f"{option} ")
        raise type(error)(name, value, error.problem, remedy) from error


def _check_memory(memory: float) -> None:
    # Not "<= 0": NaN must not pass; nor infinity, which is no number of bytes.
    if not 0 < memory < 2**30:
        raise ArgumentError(
            "--memory",
            memory,
            "is not a positive number of GiB",
            "Pass 2, for instance",
        )


def _find_structures(target: str, frames: str | None) -> "dict[str, ase.Atoms]":
    from symjax.data import find_structure

    names = {"name_or_path": "TARGET", "path": "TARGET", "index": "--frames"}
    with _options(names, index=frames):
        structures = find_structure(target, index=":" if frames is None else frames)
    if frames is not None and not Path(target).is_file():
        raise ArgumentError(
            "--frames",
            frames,
            f"TARGET is the molecule {target}, which has no frames",
            "Leave out --frames, or pass a file",
        )
    return structures


_EVENT_FILES = (".h5", ".hdf5")
_DEFAULT_MODELS = ("pet-ethanol", "polarmae-events")


def _find_events(target: str, frames: str | None) -> "dict[str, PointCloud]":
    """Events of a file by label, ``file.h5:0`` and so on."""
    from symjax.data.point_clouds import count_events, read_events

    with _options({"path": "TARGET", "index": "--frames"}):
        count = count_events(target)
        if frames is not None and not re.fullmatch(
            r"-?\d+|(-?\d*)(:-?\d*){1,2}", frames
        ):
            raise ArgumentError(
                "--frames",
                frames,
                "is neither a number nor a slice",
                "Pass for instance 0, 0:10 or ::5",
            )
        if frames is None:
            chosen = list(range(count))
        elif ":" in frames:
            parts = [int(part) if part else None for part in frames.split(":")]
            if parts[2:] == [0]:
                raise ArgumentError("--frames", frames, "steps by 0", "Pass ::1")
            chosen = list(range(count))[slice(*parts)]
        else:
            # A number out of range is refused, with the number of events.
            read_events(target, int(frames))
            chosen = [int(frames) % count]
        name = Path(target).name
        found = read_events(target, chosen)
    return {f"{name}:{n}": cloud for n, cloud in zip(chosen, found, strict=True)}


def _check_kind(model: Any, events: bool) -> None:
    from symjax.models.pointmae import PointMAEModel

    if isinstance(model, PointMAEModel) != events:
        kind = "events" if events else "structures"
        raise ArgumentError(
            "model",
            model.name,
            f"cannot be measured on {kind}",
            "Use a model for them; see 'symjax models'",
        )


def _configure_jax(x64: bool, compile_cache: bool) -> None:
    """Sets what holds for this process: precision, and the cache of compiled code."""
    import jax

    if x64:
        jax.config.update("jax_enable_x64", True)
    folder = _cache_folder()
    # A folder that the user has chosen by JAX's own variable stays in place.
    if not compile_cache or folder is None or os.environ.get(_JAX_CACHE):
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


_JAX_CACHE = "JAX_COMPILATION_CACHE_DIR"


def _cache_folder() -> Path | None:
    """The user's cache folder for symjax; None where there is none."""
    base = os.environ.get("XDG_CACHE_HOME")
    # The standard asks to ignore relative paths.
    if base and os.path.isabs(base):
        return Path(base) / "symjax" / "jax"
    try:
        home = Path.home()
    except RuntimeError:
        return None
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "symjax" / "jax"
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        return (Path(local) if local else home) / "symjax" / "cache" / "jax"
    return home / ".cache" / "symjax" / "jax"


@contextlib.contextmanager
def _progress() -> "Iterator[Callable[[Progress], None]]":
    """Shows progress on standard error: bars on a terminal, else lines."""
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield _print_line
        return

    from rich import progress as bars

    columns = (
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.MofNCompleteColumn(),
        bars.TextColumn("elements"),
        bars.TimeRemainingColumn(),
    )
    with bars.Progress(*columns, console=console, transient=True) as display:
        task = display.add_task("", total=None)

        def watch(step: "Progress") -> None:
            state = "" if step.done else " (compiling)"
            position = f"{step.position}/{step.num_structures}"
            display.update(
                task,
                description=f"{position} {step.label}{state}",
                completed=step.done,
                total=step.num_elements,
            )
            if step.finished is not None and step.num_structures > 1:
                display.console.print(_line(step), markup=False)

        yield watch


def _print_line(step: "Progress") -> None:
    if step.finished is not None:
        typer.echo(_line(step), err=True)


def _line(step: "Progress") -> str:
    """One finished structure in one line of a log."""
    done = step.finished
    position = f"{step.position}/{step.num_structures} {step.label}"
    if done is None:
        return position
    if step.kept:
        return f"{position}: completed earlier"
    if done.failure is not None:
        return f"{position}: FAILED: {done.failure.message}"
    time = ""
    if done.timing is not None:
        seconds = done.timing.compile_seconds + done.timing.evaluation_seconds
        time = f" in {seconds:.1f} s"
    bad = sum(not leaf.resolved for leaf in done.leaves)
    state = f"{bad} of {len(done.leaves)} responses NOT resolved" if bad else "resolved"
    return f"{position}: {state}{time}"
