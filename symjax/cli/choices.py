"""Options that commands on a model share, exclude, or take for something else."""

import dataclasses
import enum
from pathlib import Path
from typing import Annotated, Any

import typer

from symjax.cli.application import is_typed, options_as_typed
from symjax.errors import ArgumentError


class Dtype(enum.StrEnum):
    """Floating-point types of an evaluation."""

    FLOAT32 = "float32"
    FLOAT64 = "float64"


class LowEnergy(enum.StrEnum):
    """Rules of :func:`symjax.data.point_clouds.select_points`."""

    LABEL = "label"
    FIRST_CLUSTER = "first-cluster"
    KEEP = "keep"


class FigureFormat(enum.StrEnum):
    """File formats of figures."""

    PNG = "png"
    SVG = "svg"
    PDF = "pdf"


Model = Annotated[
    str | None,
    typer.Option(
        metavar="NAME_OR_PATH", help="The model, as 'symjax report' takes it."
    ),
]
Energy = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="The energy whose derivatives are forces, where there are several.",
        show_default=False,
    ),
]
Json = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="File to write the numbers into.", show_default=False
    ),
]
Calculator = Annotated[
    str | None,
    typer.Option(
        metavar="MODULE:CALLABLE",
        help="An ASE calculator instead of a model, such as ase.calculators.emt:EMT.",
        show_default=False,
    ),
]
CalculatorOptions = Annotated[
    str,
    typer.Option(
        metavar="JSON",
        help="Keyword arguments of the calculator's callable, as a JSON object.",
    ),
]


SOURCE_OPTIONS = {
    "model": "--model",
    "path": "--model",
    "calculator": "--calculator",
    "options": "--calculator-options",
}
"""What errors of opening a model or a calculator call them, as typed."""


def check_source(
    model: str | None, calculator: str | None, calculator_options: str, events: bool
) -> None:
    """Refuses a model and a calculator at once, and a calculator of no use."""
    if calculator is not None and model is not None:
        raise ArgumentError(
            "--calculator",
            calculator,
            "takes the place of --model",
            "Pass one of them",
        )
    if calculator is None and calculator_options != "{}":
        raise ArgumentError(
            "--calculator-options",
            calculator_options,
            "is of no use without --calculator",
            "Pass both",
        )
    if calculator is not None and events:
        raise ArgumentError(
            "--calculator",
            calculator,
            "is for structures, and TARGET holds events",
            "Pass a structure file",
        )


def check_dtype(context: typer.Context, own: str, asked: Dtype) -> None:
    """A model that is measured in place runs in the type in which it was saved."""
    if is_typed(context, "dtype") and asked != own:
        raise ArgumentError(
            "--dtype",
            asked.value,
            f"the model is measured in place, and runs in {own}",
            "Leave it out, or export the model in this type",
        )


def degree_of_calculator(context: typer.Context, max_degree: int) -> int:
    """The largest degree for a calculator, whose calls may take minutes."""
    return max_degree if is_typed(context, "max_degree") else 2


def with_selection(
    model: Any, events: bool, threshold: float | None, low_energy: LowEnergy | None
) -> Any:
    """The model with other rules of which points it reads."""
    changes: dict[str, Any] = {}
    if threshold is not None:
        changes["energy_threshold"] = threshold
    if low_energy is not None:
        changes["low_energy"] = low_energy.value.replace("-", " ")
    if not changes:
        return model
    problem = ""
    if not events:
        problem = "is for events, and these are structures"
    elif not hasattr(model, "config"):
        problem = (
            f"is for networks of symjax, and {model.name} reads events as they are"
        )
    if problem:
        name, value = next(iter(changes.items()))
        option = f"--{name.replace('_', '-')}"
        raise ArgumentError(option, value, problem, "Leave it out")
    with options_as_typed({"energy_threshold": "--energy-threshold"}):
        config = dataclasses.replace(model.config, **changes)
    return dataclasses.replace(model, config=config)


def degree_or_auto(context: typer.Context, text: str | None) -> int | str | None:
    """The grid, after a check of what cannot be combined with one that is chosen."""
    if text is None:
        return None
    if text != "auto":
        try:
            return int(text)
        except ValueError:
            raise ArgumentError(
                "--grid",
                text,
                "is neither a degree nor 'auto'",
                "Pass --grid 13, for instance, or --grid auto",
            ) from None
    if is_typed(context, "tolerance"):
        raise ArgumentError(
            "--tolerance",
            context.params["tolerance"],
            "is for a fixed grid; --grid auto certifies each content to 0.001",
            "Leave out --tolerance, or pass a degree to --grid",
        )
    return text


def check_scheduler(context: typer.Context) -> None:
    """Refuses what a run on the workers of a scheduler has no use for."""
    if context.params["scheduler"] is None:
        return
    for name in ("jobs", "devices", "estimate"):
        if is_typed(context, name):
            raise ArgumentError(
                f"--{name}",
                context.params[name],
                "is about this machine, and the workers of --scheduler are others",
                "Pass one of them",
            )
