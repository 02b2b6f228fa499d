"""Measuring a model that comes with everything that a measurement needs to know."""

from typing import Any, Protocol

from symjax.metrics.measure import measure
from symjax.metrics.results import Measurement


class Problem(Protocol):
    """A function on the orbit, with its input, its action and its representations.

    The attributes are named as the arguments of :func:`~symjax.metrics.measure`; one
    that is called ``symmetry`` is used too. Those of models of atoms and of events are
    :class:`symjax.models.pet.OrbitProblem` and
    :class:`symjax.models.pointmae.EventProblem`.

    Example:
      >>> from symjax.metrics import Problem
      >>> Problem.__name__
      'Problem'
    """

    @property
    def function(self) -> Any:
        """Function of ``x`` and ``args``."""

    @property
    def x(self) -> Any:
        """What rotates."""

    @property
    def args(self) -> tuple[Any, ...]:
        """What does not."""

    @property
    def action(self) -> Any:
        """How ``x`` rotates."""

    @property
    def representations(self) -> Any:
        """How each output transforms."""

    @property
    def masks(self) -> Any:
        """Which samples are real."""


def measure_problem(problem: Problem, **options: Any) -> Measurement:
    """Measures a model on a structure or an event.

    Args:
      problem: For instance from :func:`symjax.models.pet.orbit_problem`.
      **options: Of :func:`~symjax.metrics.measure`: ``max_degree``, ``grid`` and so on.

    Returns:
      The measurement.

    Raises:
      SymjaxError: As :func:`~symjax.metrics.measure`.

    Example:
      >>> import ase.build
      >>> from symjax.metrics import measure_problem
      >>> from symjax.models import load_model
      >>> from symjax.models.pet import orbit_problem
      >>> water = ase.build.molecule("H2O")
      >>> problem = orbit_problem(load_model("pet-ethanol"), water, layers="none")
      >>> result = measure_problem(problem, max_degree=2, on_aliasing="report")
      >>> sorted(result)
      ['energy', 'forces']
    """
    return measure(
        problem.function,
        problem.x,
        args=problem.args,
        action=problem.action,
        representations=problem.representations,
        masks=problem.masks,
        symmetry=getattr(problem, "symmetry", None),
        **options,
    )
