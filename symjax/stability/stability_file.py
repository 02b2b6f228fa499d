"""The file that ``symjax stability --json`` writes."""

import dataclasses
import typing
from collections.abc import Iterator, Mapping
from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from symjax._declared import Declared


class Figure(NamedTuple):
    """Title and unit of a number."""

    title: str
    unit: str = ""


_Number = float | None
_Count = Annotated[int | None, Field(ge=0)]


class Figures(Declared):
    """Results for one molecule; None for what was not simulated.

    Attributes:
      energy_drift: Drift of the energy in :func:`symjax.stability.run_nve`, in
        meV/atom/ps.
      angular_momentum_drift: Largest change of the angular momentum there, in hbar.
      mean_torque: Mean norm of the net torque there, in eV.
      largest_torque: Largest norm of the net torque there, in eV.
      largest_net_force: Largest norm of the net force there, in eV/angstrom.
      spread: Range of the energies from :func:`symjax.stability.relax_rotated`, in eV.
      minima: Number of distinct relaxed structures.
      converged: Number of relaxations that converged.
      median_steps: Median number of steps of a relaxation.
      largest_splitting: Largest splitting of a degenerate set of
        :func:`symjax.stability.normal_modes`, in 1/cm.
      largest_rotation: Largest modulus of the wavenumber of a rotation there, in 1/cm.

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
        """Title with unit, and value, of every number that is not None."""
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
    """Content of the file; ``StabilityFile.from_json`` reads and checks it.

    Attributes:
      model: Name of the model or calculator.
      average: The average over O(3) of the calculator; None if it is not averaged.
      steps: Number of steps of dynamics.
      temperature: Temperature of the initial momenta in K.
      orientations: Number of orientations that were relaxed.
      seed: Random seed of momenta and orientations.
      structures: Results for every molecule, by label.
      units: Units of the results, by name.
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
