"""``symjax diagnose``: what a model fails at, from its report."""

import functools
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from symjax.cli.application import (
    FAILED,
    UNRESOLVED,
    options_as_typed,
    refuse_typed,
)
from symjax.cli.environment import configure_jax
from symjax.cli.groups import Group
from symjax.cli.inputs import check_new_file, structures_of
from symjax.cli.options import (
    CompileCache,
    Frames,
    JsonFile,
    LabelOptions,
    assignments,
)
from symjax.cli.streams import say
from symjax.errors import ArgumentError, SymjaxError

if TYPE_CHECKING:
    import ase

    from symjax.diagnose.tracing import Traced
    from symjax.metrics import Probes


class Judged(Group, panel="Outputs"):
    """What is known about outputs in addition to the report."""

    target: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=IRREPS",
            help="Irreps that an output needs, such as dipole=1+ or spin=0+,1-; also "
            "for a target that the model does not have. May be given several times. "
            "Default: those of each output.",
            show_default=False,
        ),
    ] = None
    reads: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=LAYERS",
            help="Layers that an output or target reads, separated by commas. May be "
            "given several times. Default: its heads, else the last layers.",
            show_default=False,
        ),
    ] = None
    label_error: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=ERROR",
            help="Root-mean-square error of an output on labels, in its unit, such as "
            "forces=0.05, to compare its equivariance error with. May be given several "
            "times.",
            show_default=False,
        ),
    ] = None

    def label_errors(self) -> dict[str, float]:
        """The error of each output on labels."""
        out = {}
        for name, value in _assigned("--label-error", self.label_error).items():
            try:
                out[name] = float(value)
            except ValueError as error:
                raise ArgumentError(
                    "--label-error",
                    f"{name}={value}",
                    "is not one number",
                    "Pass for instance forces=0.05",
                ) from error
        return out


def _assigned(option: str, given: list[str] | None) -> dict[str, str]:
    return assignments(option, given, "dipole=1+ or forces=0.05", "NAME=A,B")


def _lists(option: str, given: list[str] | None) -> dict[str, list[str]]:
    return {name: text.split(",") for name, text in _assigned(option, given).items()}


class Experiments(Group, panel="Structures"):
    """Structures that the model is evaluated on, for each experiment."""

    structures: Annotated[
        str | None,
        typer.Option(
            metavar="TARGET",
            help="Symmetric structures, a molecule or a file as in 'symjax report': "
            "what does the model predict where their symmetry forbids an answer?",
            show_default=False,
        ),
    ] = None
    trace: Annotated[
        str | None,
        typer.Option(
            metavar="TARGET",
            help="Structures, as for --structures: at which layer of a PET does the "
            "error of its outputs enter? Replaces features by their invariant part, "
            "layer by layer.",
            show_default=False,
        ),
    ] = None
    shapley: Annotated[
        bool,
        typer.Option(
            "--shapley",
            help="With --trace: divide the change of A squared that each layer causes "
            "among its sectors (Shapley values); slow.",
        ),
    ] = False
    probe: Annotated[
        str | None,
        typer.Option(
            metavar="TARGET",
            help="Eight or more structures, as for --structures: which tensors that "
            "describe surroundings of atoms can be read out of each layer of a PET?",
            show_default=False,
        ),
    ] = None
    probe_products: Annotated[
        bool,
        typer.Option(
            "--probe-products", help="Read products of two features as well; slow."
        ),
    ] = False
    probe_figure: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="File for a figure of the results of --probe: .png, .svg or .pdf.",
            show_default=False,
        ),
    ] = None
    frames: Frames = None
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME_OR_PATH",
            help="The model of the report, for --structures, --trace and --probe, as "
            "in 'symjax report'. Default: the shipped or released model with the name "
            "in the report.",
            show_default=False,
        ),
    ] = None

    def check(self, context: typer.Context, overwrite: bool) -> None:
        """Refuses options without effect, and a figure that cannot be written."""
        if self.structures is self.trace is self.probe is None:
            problem = "has no effect without --structures, --trace or --probe"
            remedy = "Pass one of them too, or leave it out"
            refuse_typed(context, ("model", "frames"), problem, remedy)
        for target, option, names in (
            (self.trace, "--trace", ["shapley"]),
            (self.probe, "--probe", ["probe_products", "probe_figure"]),
        ):
            if target is None:
                problem = f"has no effect without {option}"
                refuse_typed(context, names, problem, "Pass it too")
        figure = self.probe_figure
        check_new_file("--probe-figure", figure, overwrite)
        from symjax.report.files import FIGURE_FORMATS

        if figure and figure.suffix.removeprefix(".") not in FIGURE_FORMATS:
            raise ArgumentError(
                "--probe-figure",
                str(figure),
                "is not a figure file",
                "Use a name that ends with .png, .svg or .pdf",
            )

    def find(self, name: str) -> "dict[str, ase.Atoms]":
        """Structures of an option by name; none if it was not given."""
        target = getattr(self, name)
        if target is None:
            return {}
        with options_as_typed({"TARGET": f"--{name}"}):
            return structures_of(target, self.frames)


def diagnose(
    context: typer.Context,
    source: Annotated[
        Path,
        typer.Argument(
            metavar="REPORT",
            help="A report.json of 'symjax report', or its folder. With '--layers all' "
            "failures are located in layers, without layers the outputs alone are "
            "judged.",
        ),
    ],
    judged: Judged,
    experiments: Experiments,
    labels: LabelOptions,
    written: JsonFile,
    compile_cache: CompileCache = True,
) -> None:
    """Finds what a model fails at, from its report: where, how badly, and what helps.

    First compares the equivariance error of every output with its size, its spread
    over structures, kT or its error on labels. Then looks for missing irreps, spectral
    bottlenecks, late emergence, parity blindness, leakage and aliasing; with
    --structures for symmetry traps, with --trace for the layers at which an error
    enters, with --probe for what can be read out of each layer. Findings do not change
    the exit code.
    """
    from symjax.report import read_report

    written.check()
    experiments.check(context, written.overwrite)
    fields = labels.fields()
    with options_as_typed({"path": "REPORT"}):
        loaded = read_report(source)
    chosen, traced, probed = map(experiments.find, ("structures", "trace", "probe"))
    configure_jax(loaded.settings.dtype == "float64", compile_cache)

    from symjax.diagnose import diagnose as look
    from symjax.diagnose import recommend, report_traps, to_text
    from symjax.diagnose.document import DiagnosisFile
    from symjax.diagnose.probing import (
        carried,
        probes_to_text,
        report_probes,
        save_probes,
    )
    from symjax.diagnose.tracing import report_traces, trace_to_text
    from symjax.models import load_model
    from symjax.report.tables import print_text

    names = {
        "label_errors": "--label-error",
        "layers_read": "--reads",
        "label": "--target",
        "report": "REPORT",
        "model": "--model",
        "path": "--model",
    }
    failed: dict[str, SymjaxError] = {}
    with options_as_typed(names):
        # Refuses a report without layers before a model is read.
        look_for = functools.partial(
            look,
            targets=_lists("--target", judged.target),
            layers_read=_lists("--reads", judged.reads),
            label_errors=judged.label_errors(),
        )
        found = look_for(loaded)
        traces: dict[str, Traced] = {}
        probes: Probes | None = None
        if chosen or traced or probed:
            named = experiments.model
            whole = load_model(loaded.model.name if named is None else named)
            traps, failed = report_traps(loaded, whole, chosen)
            traces, untraced = report_traces(
                *(loaded, whole, traced, fields, experiments.shapley)
            )
            failed |= untraced
            if probed:
                with options_as_typed({"structures": "--probe"}):
                    probes, unread = report_probes(
                        loaded, whole, probed, products=experiments.probe_products
                    )
                failed |= unread
            if len({**chosen, **traced}) == len(failed) == 1:
                raise next(iter(failed.values()))
            if chosen:
                found = look_for(loaded, traps=traps)
    print_text(lambda display: to_text(found, display.width or 80), sys.stdout)
    if traces:
        print_text(functools.partial(trace_to_text, traces), sys.stdout)
    held = {} if probes is None else carried(loaded)
    if probes is not None:
        print_text(functools.partial(probes_to_text, probes, held), sys.stdout)
        if experiments.probe_figure is not None:
            with options_as_typed({"path": "--probe-figure"}):
                save_probes(probes, experiments.probe_figure)
            say(f"Wrote {experiments.probe_figure}", err=True)
    advice = recommend(loaded, found, traces)
    print_text(
        lambda display: advice.to_text(display.width or 80).rstrip("\n"), sys.stdout
    )
    written.write(
        DiagnosisFile(**vars(found), traces=traces, probes=probes, carried=held)
    )
    for name, error in failed.items():
        say(f"{name}: FAILED: {error}", err=True)
    if failed:
        raise typer.Exit(FAILED)
    if not loaded.resolved:
        say("Some responses of the report are NOT RESOLVED.", err=True)
        raise typer.Exit(UNRESOLVED)
