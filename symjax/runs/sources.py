"""What a run over many structures asks of a model."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import ase

from symjax.errors import SymjaxError
from symjax.metrics import Problem
from symjax.models.pet.source import PETSource


@runtime_checkable
class Source(Protocol):
    """A model, as a run over structures uses it; picklable, for worker processes.

    Example:
      >>> from symjax.interop.sources import CalculatorSource
      >>> from symjax.runs.sources import Source
      >>> isinstance(CalculatorSource("ase.calculators.emt:EMT"), Source)
      True
    """

    @property
    def name(self) -> str:
        """As reports show it."""

    @property
    def digest(self) -> str:
        """Tells whether a resumed run has the same model."""

    @property
    def note(self) -> str:
        """What a report says of how it is evaluated; often empty."""

    def shapes(
        self, structures: Mapping[str, ase.Atoms]
    ) -> tuple[Mapping[str, Any], Mapping[str, SymjaxError]]:
        """Sizes to pad structures to, and errors of those that cannot be used."""

    def check_layers(self, layers: str) -> None:
        """Raises unless the layers that are asked for can be had."""

    def energy(self, name: str | None) -> str | None:
        """The output whose derivatives are forces: empty if there is none."""

    def problem(self, atoms: ase.Atoms, shape: Any, options: Any) -> Problem:
        """What is measured of a structure."""


def as_source(model: Any) -> Source:
    """A model of symjax as a source; sources pass through.

    Args:
      model: A PET, or a source.

    Returns:
      The source.

    Example:
      >>> from symjax.models import load_model
      >>> from symjax.runs.sources import as_source
      >>> as_source(as_source(load_model("pet-ethanol"))).name
      'pet-ethanol'
    """
    return model if isinstance(model, Source) else PETSource(model)
