"""What ``symjax stability --json`` writes, and what it says of every number."""

import dataclasses
import typing
from collections.abc import Iterator, Mapping
from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from symjax._declared import Declared


class Figure(NamedTuple):
    """What a number is called, and its unit."""

    title: str
    unit: str = ""


_Number = float | None
_Count = Annotated[int | None, Field(ge=0)]


class Figures(Declared):
    """Numbers of one molecule; None of what was not simulated.

    Attributes:
      energy_drift: Of :func:`symjax.stability.run_nve`, as the next four.
      angular_momentum_drift: Largest distance from the first value.
      mean_torque: Mean over the trajectory.
      largest_torque: Largest of the trajectory.
      largest_net_force: Largest of the trajectory.
      spread: Of :func:`symjax.stability.relax_rotated`, as the next three.
      minima: Number of different structures.
      converged: Number of relaxations.
      median_steps: Over the orientations.
      largest_splitting: Of :func:`symjax.stability.normal_modes`, as the next.
      largest_rotation: Of its modulus.

    Example:
      >>> from symjax.stability.stability_file import Figures
      >>> [(figure.title, value) for figure, value in Figures(spread=0.5).known()]
      [('spread of the relaxed energies', 0.5)]
    """

    energy_drift: Annotated[_Number, Figure("drift of the energy", "meV/atom/ps")] = (
        None
    )
    angular_momentum_drift: Annotated[
        _Number, Figure("largest change of the angular momentum", "hbar")
    ] = None
    mean_torque: Annotated[_Number, Figure("mean net torque", "eV")] = None
    largest_torque: Annotated[_Number, Figure("largest net torque", "eV")] = None
    largest_net_force: Annotated[
        _Number, Figure("largest net force", "eV/angstrom")
    ] = None
    spread: Annotated[_Number, Figure("spread of the relaxed energies", "eV")] = None
    minima: Annotated[_Count, Figure("different relaxed structures")] = None
    converged: Annotated[_Count, Figure("relaxations that converged")] = None
    median_steps: Annotated[_Number, Figure("steps of a relaxation, median")] = None
    largest_splitting: Annotated[
        _Number, Figure("largest splitting of degenerate modes", "1/cm")
    ] = None
    largest_rotation: Annotated[
        _Number, Figure("largest wavenumber of a rotation", "1/cm")
    ] = None

    def known(self) -> Iterator[tuple[Figure, float]]:
        """Title, unit and value of every number that there is."""
        for name, figure in _figures().items():
            value = getattr(self, name)
            if value is not None:
                yield figure, value


def _figures() -> dict[str, Figure]:
    hints = typing.get_type_hints(Figures, include_extras=True)
    return {name: hint.__metadata__[-1] for name, hint in hints.items()}


def _units() -> dict[str, str]:
    return {name: figure.unit for name, figure in _figures().items()}


class StabilityFile(Declared):
    """What the command writes; ``StabilityFile.from_json`` reads and checks it.

    Attributes:
      model: Name of the model or calculator.
      average: Average over elements of O(3) of every result; None without.
      steps: Steps of dynamics.
      temperature: Of the first momenta, in K.
      orientations: Orientations that were relaxed from.
      seed: Of momenta and orientations.
      structures: Numbers of every molecule, by label.
      units: Units of the numbers, by name.
      schema: Name and version of the format.

    Example:
      >>> from symjax.stability import StabilityFile
      >>> file = StabilityFile("pet-ethanol", None, 200, 300, 6, 0, {})
      >>> StabilityFile.from_json(file.to_json()).units["spread"]
      'eV'
    """

    model: str
    average: str | None
    steps: int
    temperature: float
    orientations: int
    seed: int
    structures: Mapping[str, Figures]
    units: Mapping[str, str] = dataclasses.field(default_factory=_units)
    schema: Literal["symjax-stability/1"] = "symjax-stability/1"
