"""Options that several commands share."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from symjax.cli.application import is_typed, options_as_typed
from symjax.cli.groups import Group
from symjax.cli.inputs import check_new_file
from symjax.cli.streams import say
from symjax.errors import ArgumentError

if TYPE_CHECKING:
    from symjax.data import LabelFields
    from symjax.data.limits import Limit

DEFAULT_MODELS = ("pet-ethanol", "polarmae-events")

Molecules = Annotated[
    str,
    typer.Argument(
        metavar="TARGET",
        help="Molecules as 'symjax report' takes structures: a name, a file, a "
        "folder or a pattern.",
    ),
]
Frames = Annotated[
    str | None,
    typer.Option(
        metavar="SLICE",
        help="Frames of each file: a number, or a slice such as 0:10 or ::5. "
        "Default: all.",
        show_default=False,
    ),
]
CompileCache = Annotated[
    bool,
    typer.Option(
        "--compile-cache/--no-compile-cache",
        envvar="SYMJAX_COMPILE_CACHE",
        help="Whether to keep compiled code for the next run, in the user's "
        "cache folder.",
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing files.")]


Dtype = Literal["float32", "float64"]


class ModelOptions(Group, panel="Model"):
    """The model, or a calculator instead."""

    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME_OR_PATH",
            help="Model that ships with symjax (see 'symjax models'), folder of a "
            "saved model, checkpoint .ckpt or exported model .pt of any architecture "
            "(PET is imported, others are measured in place), or released model such "
            "as pet-mad-s or pet-mad-s@1.6.0. Default: pet-ethanol; for events, "
            "polarmae-events.",
            show_default=False,
        ),
    ] = None
    calculator: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE:CALLABLE",
            help="An ASE calculator instead of a model, such as "
            "ase.calculators.emt:EMT.",
            show_default=False,
        ),
    ] = None
    calculator_options: Annotated[
        str,
        typer.Option(
            metavar="JSON",
            help="Keyword arguments of the calculator's callable, as a JSON object.",
        ),
    ] = "{}"
    energy: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Output whose derivatives are forces and stress, such as energy/pbe. "
            "Default: energy, or its only variant.",
            show_default=False,
        ),
    ] = None

    def check(self, events: bool = False) -> None:
        """Raises ArgumentError if these options contradict each other or TARGET."""
        if self.calculator is not None and self.model is not None:
            raise ArgumentError(
                "--calculator",
                self.calculator,
                "takes the place of --model",
                "Pass one of them",
            )
        if self.calculator is None and self.calculator_options != "{}":
            raise ArgumentError(
                "--calculator-options",
                self.calculator_options,
                "has no effect without --calculator",
                "Pass both",
            )
        if self.calculator is not None and events:
            raise ArgumentError(
                "--calculator",
                self.calculator,
                "is for structures, and TARGET holds events",
                "Pass a structure file",
            )

    def open(self, events: bool = False) -> Any:
        """The model or calculator; the model that ships if neither is given."""
        from symjax.interop.foreign_sources import (
            CalculatorSource,
            FunctionSource,
            is_function,
        )
        from symjax.interop.in_place import load_or_open

        loaded: Any
        names = {
            "path": "--model",
            "model": "--model",
            "calculator": "--calculator",
            "options": "--calculator-options",
        }
        with options_as_typed(names):
            if self.calculator is not None:
                loaded = CalculatorSource(self.calculator, self.calculator_options)
            elif self.model is not None and is_function(self.model):
                loaded = FunctionSource(self.model)
            else:
                default = DEFAULT_MODELS[events]
                loaded = load_or_open(default if self.model is None else self.model)
            _check_kind(loaded, events)
        return loaded


def _check_kind(model: Any, events: bool) -> None:
    """Refuses a model for structures on events, and the other way round."""
    from symjax.models.pet import PETModel
    from symjax.models.pointmae import PointMAEModel

    if isinstance(model, PETModel if events else PointMAEModel):
        kind = "events" if events else "structures"
        raise ArgumentError(
            "model",
            model.name,
            f"cannot be measured on {kind}",
            "Use a model for them; see 'symjax models'",
        )


def degree_of(context: typer.Context, source: ModelOptions, max_degree: int) -> int:
    """The largest degree; by default 2 for calculators, whose calls may be slow."""
    if source.calculator is None or is_typed(context, "max_degree"):
        return max_degree
    return 2


class LabelOptions(Group, panel="Labels"):
    """Fields and units of labels."""

    label: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FIELD",
            help="Field of the structures with the label of an output, such as "
            "energy=dft_energy. May be given several times. Default: the field with "
            "the name of the output, if there is one.",
            show_default=False,
        ),
    ] = None
    label_energy_unit: Annotated[
        str,
        typer.Option(
            metavar="UNIT",
            help="Unit of energies in labels: eV, kcal/mol, kJ/mol, Hartree.",
        ),
    ] = "eV"
    label_length_unit: Annotated[
        str,
        typer.Option(
            metavar="UNIT",
            help="Unit of lengths in labels: angstrom or bohr. Labels of forces are in "
            "the unit of energy over this one.",
        ),
    ] = "angstrom"

    def fields(self) -> "LabelFields":
        """The fields and their units."""
        from symjax.data import LabelFields

        assigned = assignments("--label", self.label, "energy=dft_energy", "NAME=FIELD")
        names = {
            "energy_unit": "--label-energy-unit",
            "length_unit": "--label-length-unit",
        }
        with options_as_typed(names):
            return LabelFields(assigned, self.label_energy_unit, self.label_length_unit)


def assignments(
    option: str, given: list[str] | None, example: str, form: str
) -> dict[str, str]:
    """Reads the NAME=VALUE texts of an option that may be repeated.

    Args:
      option: The option, as typed.
      given: The texts that were typed.
      example: A valid text, for errors.
      form: The form of a text, for errors.

    Returns:
      Values by name.

    Raises:
      ArgumentError: A text does not have this form.
    """
    out = {}
    for text in given or []:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            problem = f"is not of the form {form}"
            raise ArgumentError(option, text, problem, f"Pass for instance {example}")
        out[name] = value
    return out


Reach = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=VALUE UNIT",
        help="Largest allowed error of an output, such as 'energy=0.1 meV': prints the "
        "average with the fewest elements that reaches it. May be given several times.",
        show_default=False,
    ),
]


def limits_of(option: str, given: list[str] | None) -> "list[Limit]":
    """Reads the texts NAME=VALUE UNIT of an option that may be repeated."""
    from symjax.data.limits import Limit

    return [Limit.parse(text, option) for text in given or []]


class JsonFile(Group, panel="Output"):
    """A file for the numbers that a command prints."""

    json: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="File to write the numbers into.", show_default=False
        ),
    ] = None
    overwrite: Overwrite = False

    def check(self) -> None:
        """Raises ArgumentError if the file exists and may not be replaced."""
        check_new_file("--json", self.json, self.overwrite)

    def write(self, value: Any) -> None:
        """Writes the file, if one was asked for, and prints its name."""
        from symjax.report.storage import dumps, plain, write_atomically

        if self.json is None:
            return
        text = dumps(plain(value)) + "\n"
        with options_as_typed({"output": "--json"}):
            write_atomically(self.json, lambda part: part.write_text(text))
        say(f"Wrote {self.json}", err=True)
