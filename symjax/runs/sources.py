"""The interface of models for runs over many items."""

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
    """Interface of a model for a run; picklable, for worker processes.

    An item is a structure, an ``ase.Atoms``, or an event. Problems of items of the same
    size must have the same function and inputs of the same shapes, so that they share a
    compiled program and can be evaluated together.

    Example:
      >>> from symjax.interop.foreign_sources import CalculatorSource
      >>> from symjax.runs import Source
      >>> isinstance(CalculatorSource("ase.calculators.emt:EMT"), Source)
      True
    """

    @property
    def name(self) -> str:
        """Name of the model in reports."""

    @property
    def digest(self) -> str:
        """Digest of the model, which must not change when a run is resumed."""

    @property
    def note(self) -> str:
        """A remark for the report on how the model is evaluated; often empty."""

    def settings(self, options: Any) -> Mapping[str, Any]:
        """Checks the options; returns what the model adds to the report's settings."""

    def sizes(
        self, items: Mapping[str, Any]
    ) -> tuple[Mapping[str, Any], Mapping[str, SymjaxError]]:
        """Sizes by label, None if unknown before reading; and errors by label."""

    def prepare(self, label: str, item: Any, size: Any) -> tuple[Any, Any]:
        """Prepares an item; returns it with its size. Cheap; in the main process."""

    def problem(self, item: Any, size: Any, options: Any) -> Problem:
        """The problem to measure for a prepared item."""

    def breaking(self, item: Any, options: Any) -> Problem | None:
        """Problem that separates sources of symmetry breaking; None if it is one."""


def as_source(model: Any) -> Source:
    """Converts a model of symjax to a source; a source is returned as it is.

    Args:
      model: A PET, a Point-MAE, or a source.

    Raises:
      ModelError: It is none of these.

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
