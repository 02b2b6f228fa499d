"""The metrics of symmetry along a training, on a fixed set of structures."""

import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from symjax.metrics import Grid, measure
from symjax.training.configuration import MonitorSection

COLUMNS = ("step", "structure", "name", "kind", "quantity", "degree", "sigma", "value")
"""Columns of ``trajectory.csv``, one number a row.

``quantity`` is ``A`` (in the unit of the output), ``relative`` (A over the root mean
square), ``B`` (with ``degree`` and ``sigma``), ``remainder`` (1 less the sum of B),
``resolved`` (1 if the grid resolves the response, 0 if not), or ``skipped`` where the
measurement would have exceeded its share of the time.
"""


class Probe(NamedTuple):
    """A structure or event that is measured again and again.

    Attributes:
      name: Its name.
      problem: From a model to what :func:`symjax.metrics.measure` needs; compiled
        once if the function in it is always the same object.

    Example:
      >>> from symjax.training.monitor import Probe
      >>> Probe("frames.xyz[0]", lambda model: None).name
      'frames.xyz[0]'
    """

    name: str
    problem: Callable[[Any], Any]


def measure_probe(
    probe: Probe, model: Any, config: MonitorSection, step: int
) -> Iterator[dict[str, Any]]:
    """Measures a model on a probe.

    Args:
      probe: The structure.
      model: The model.
      config: Grid and largest degree.
      step: Step at which the model was taken.

    Returns:
      Rows with :data:`COLUMNS`.

    Example:
      >>> import ase.build
      >>> from symjax.models import load_model
      >>> from symjax.models.pet import orbit_problem
      >>> from symjax.training.configuration import MonitorSection
      >>> from symjax.training.monitor import Probe, measure_probe
      >>> water = ase.build.molecule("H2O")
      >>> probe = Probe(
      ...     "water", lambda model: orbit_problem(model, water, layers="none"))
      >>> config = MonitorSection(max_degree=1, grid=3)
      >>> rows = measure_probe(probe, load_model("pet-ethanol"), config, step=0)
      >>> next(rows)["quantity"]
      'A'
    """
    problem = probe.problem(model)
    result = measure(
        problem,
        over=Grid(config.grid, on_aliasing="report"),
        max_degree=config.max_degree,
    )
    for name, leaf in result.items():
        common = {
            "step": step,
            "structure": probe.name,
            "name": name,
            "kind": problem.outputs[name].kind,
        }
        for quantity, value in (
            ("A", leaf.equivariance_error),
            ("relative", leaf.relative_error),
            ("remainder", leaf.remainder),
            ("resolved", float(leaf.convergence is None or leaf.convergence.resolved)),
        ):
            yield {**common, "quantity": quantity, "value": value}
        for degree, pair in enumerate(leaf.content):
            for sigma, value in zip((1, -1), pair, strict=True):
                yield {
                    **common,
                    "quantity": "B",
                    "degree": degree,
                    "sigma": sigma,
                    "value": float(value),
                }


class Monitor:
    """Measures probes within a share of the time.

    The first measurement, which compiles, is always made and not counted.

    Args:
      probes: What is measured.
      config: How, how often and for how long.
      clock: Seconds; the wall time by default.

    Example:
      >>> from symjax.training.configuration import MonitorSection
      >>> from symjax.training.monitor import Monitor
      >>> Monitor([], MonitorSection(every=10)).is_due(20)
      True
    """

    def __init__(
        self,
        probes: list[Probe],
        config: MonitorSection,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._probes, self._config, self._clock = probes, config, clock
        self._started: float | None = None
        self._spent = self._last = 0.0

    def is_due(self, step: int) -> bool:
        """Whether a measurement follows a step.

        Args:
          step: The step.

        Returns:
          Whether it is a multiple of ``every``.
        """
        return step % self._config.every == 0

    def rows(self, model: Any, step: int) -> list[dict[str, Any]]:
        """Measures all probes, or says that there was no time.

        Args:
          model: The model.
          step: Step at which it was taken.

        Returns:
          Rows with :data:`COLUMNS`.
        """
        now = self._clock()
        first = self._started is None
        if self._started is not None:
            available = self._config.max_share * (now - self._started)
            if self._spent + self._last > available:
                return [{"step": step, "quantity": "skipped"}]
        rows = [
            row
            for probe in self._probes
            for row in measure_probe(probe, model, self._config, step)
        ]
        after = self._clock()
        if first:
            self._started = after
        else:
            self._last = after - now
            self._spent += self._last
        return rows
