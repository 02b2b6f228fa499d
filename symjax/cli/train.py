"""``symjax train``: trains a model as described by a file."""

import os
from pathlib import Path
from typing import Annotated

import typer

from symjax.cli.application import options_as_typed
from symjax.cli.environment import configure_jax
from symjax.cli.options import CompileCache, Overwrite
from symjax.cli.progress import training_progress
from symjax.cli.streams import say


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
            help="Folder of the run. Default: the name of RUN without its suffix.",
            show_default=False,
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Continue from the last checkpoint, if there is one.",
        ),
    ] = False,
    extend: Annotated[
        bool,
        typer.Option(
            "--extend",
            help="With --resume and another number of steps: the schedule of the "
            "learning rate follows the new number from here on; this is recorded.",
        ),
    ] = False,
    overwrite: Overwrite = False,
    max_seconds: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="Save a checkpoint and stop after this time.",
            show_default=False,
        ),
    ] = None,
    compile_cache: CompileCache = True,
) -> None:
    """Trains a model as described by a file; --resume continues a stopped run."""
    import jax

    from symjax.training.configuration import AtomsRun, read_run

    with options_as_typed({"path": "RUN"}):
        settings = read_run(run)
    double = isinstance(settings, AtomsRun) and settings.precision == "float64"
    configure_jax(double, compile_cache)
    if settings.batch.devices > 1 and "JAX_NUM_CPU_DEVICES" not in os.environ:
        # A CPU counts as one device unless it is divided before its first use.
        jax.config.update("jax_num_cpu_devices", settings.batch.devices)
    # Imported only now: importing them may start JAX.
    from symjax.report.trajectory import save_trajectory
    from symjax.training.logs import METRICS, TRAJECTORY
    from symjax.training.runs import MODEL
    from symjax.training.runs import train as train_run

    folder = output or run.with_suffix("")
    names = {"folder": "--output", "resume": "--resume", "extend": "--extend"}
    names["steps"] = "steps"  # whose remedy names an option
    with options_as_typed(names), training_progress(settings.steps) as watch:
        trained = train_run(
            settings,
            folder,
            resume=resume,
            extend=extend,
            overwrite=overwrite,
            max_seconds=float("inf") if max_seconds is None else max_seconds,
            watch=watch,
        )
    if not trained.complete:
        say(
            f"Stopped after step {trained.step} of {settings.steps}; run again with "
            "--resume to continue"
        )
        return
    say(f"Wrote the model to {folder / MODEL}, metrics to {folder / METRICS}")
    for name, value in trained.errors.items():
        say(f"  {name:<28}{value:.5g}")
    if settings.monitor is not None:
        for path in save_trajectory(folder / TRAJECTORY, folder):
            say(f"Wrote {path}")
