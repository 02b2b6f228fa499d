"""Options about labels and averages that several commands have."""

from typing import TYPE_CHECKING, Annotated

import typer

from symjax.cli.application import options_as_typed
from symjax.errors import ArgumentError

if TYPE_CHECKING:
    from symjax.data import LabelFields

Reach = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=VALUE UNIT",
        help="Largest admitted error of an output, such as 'energy=0.1 meV': names the "
        "average of fewest elements that is enough. May be given several times.",
        show_default=False,
    ),
]
LabelField = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=FIELD",
        help="Field of the structures with the label of an output, such as "
        "energy=dft_energy. May be given several times. Default: the field of the "
        "output's name, where there is one.",
        show_default=False,
    ),
]
LabelEnergyUnit = Annotated[
    str,
    typer.Option(
        metavar="UNIT",
        help="Unit of energies in labels: eV, kcal/mol, kJ/mol, Hartree.",
    ),
]
LabelLengthUnit = Annotated[
    str,
    typer.Option(
        metavar="UNIT",
        help="Unit of lengths in labels: angstrom or bohr; of forces, energy over it.",
    ),
]


def label_fields(
    given: list[str] | None, energy_unit: str, length_unit: str
) -> "LabelFields":
    """Where labels are, from options.

    Args:
      given: ``NAME=FIELD`` of each output that is named.
      energy_unit: Of labels.
      length_unit: Of labels.
    """
    from symjax.data import LabelFields

    fields = {}
    for text in given or []:
        name, equals, field = text.partition("=")
        if not (name and equals and field):
            raise ArgumentError(
                "--label",
                text,
                "is not of the form NAME=FIELD",
                "Pass for instance energy=dft_energy",
            )
        fields[name] = field
    names = {"energy_unit": "--label-energy-unit", "length_unit": "--label-length-unit"}
    with options_as_typed(names):
        return LabelFields(fields, energy_unit, length_unit)
