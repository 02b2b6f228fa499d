"""What a run over many items asks of a model."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from symjax.errors import ModelError, SymjaxError
from symjax.metrics import Problem
from symjax.models.pet import PETModel
from symjax.models.pet.source import PETSource
from symjax.models.pointmae import PointMAEModel
from symjax.models.pointmae.source import PointMAESource


@runtime_checkable
class Source(Protocol):
    """A model, as a run uses it; picklable, for worker processes.

    An item is what it is measured on: an ``ase.Atoms``, or an event. Problems of items
    of one size have the same function, and inputs of the same shapes: one compiled
    program, and what several items can be evaluated by in one call.

    Example:
      >>> from symjax.interop.foreign_sources import CalculatorSource
      >>> from symjax.runs import Source
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

    def settings(self, options: Any) -> Mapping[str, Any]:
        """What the model adds to the settings of a report, after checking options."""

    def sizes(
        self, items: Mapping[str, Any]
    ) -> tuple[Mapping[str, Any], Mapping[str, SymjaxError]]:
        """Sizes by label, None before an item is read; errors of those of no use."""

    def prepare(self, label: str, item: Any, size: Any) -> tuple[Any, Any]:
        """What is read of an item, and its size; cheap, in the first process."""

    def problem(self, item: Any, size: Any, options: Any) -> Problem:
        """What is measured of a prepared item."""

    def breaking(self, item: Any, options: Any) -> Problem | None:
        """Outputs split by what else than the network breaks symmetry, if anything."""


def as_source(model: Any) -> Source:
    """A model of symjax as a source; sources pass through.

    Args:
      model: A PET, a Point-MAE, or a source.

    Raises:
      ModelError: It is none of them.

    Example:
      >>> from symjax.models import load_model
      >>> from symjax.runs import as_source
      >>> as_source(as_source(load_model("pet-ethanol"))).name
      'pet-ethanol'
    """
    if isinstance(model, PETModel):
        return PETSource(model)
    if isinstance(model, PointMAEModel):
        return PointMAESource(model)
    if not isinstance(model, Source):
        raise ModelError(
            "model",
            model,
            "is no model",
            "Pass what load_model returns, or a symjax.runs.Source",
        )
    return model
