"""Symmetry metrics during training, on a fixed set of structures."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from symjax.metrics import Grid, Output, Survey, measure, pool
from symjax.metrics.packs import Pack, measure_packs
from symjax.training.configuration import MonitorSection

COLUMNS = ("step", "structure", "name", "kind", "quantity", "degree", "sigma", "value")
"""Columns of ``trajectory.csv``, which has one number in each row.

``quantity`` is ``A`` (in the unit of the output), ``relative`` (A divided by the root
mean square), ``B`` (with ``degree`` and ``sigma``), ``remainder`` (1 minus the sum of
B), ``resolved`` (1 if the grid resolves the response, 0 if not), or ``skipped`` where
the measurement would have exceeded its share of the time. A survey of several
structures has ``survey_A``, ``survey_low`` and ``survey_high`` (the 95 % interval of A
over these structures), and ``survey_relative``.
"""


class Probe(NamedTuple):
    """A structure or event that is measured repeatedly.

    Attributes:
      name: Its name.
      problem: Function from a model to the problem that
        :func:`symjax.metrics.measure` takes. It compiles once if the function of the
        problem is always the same object.
    """

    name: str
    problem: Callable[[Any], Any]

    def rows(
        self, model: Any, config: MonitorSection, step: int
    ) -> Iterator[dict[str, Any]]:
        """Measures a model; yields rows with :data:`COLUMNS`."""
        problem = self.problem(model)
        result = measure(
            problem,
            over=Grid(config.grid, on_aliasing="report"),
            max_degree=config.max_degree,
        )
        for name, leaf in result.items():
            common = {"step": step, "structure": self.name, "name": name}
            common["kind"] = problem.outputs[name].kind
            resolved = leaf.convergence is None or leaf.convergence.resolved
            for quantity, value in (
                ("A", leaf.equivariance_error),
                ("relative", leaf.relative_error),
                ("remainder", leaf.remainder),
                ("resolved", float(resolved)),
            ):
                yield {**common, "quantity": quantity, "value": value}
            for (degree, column), value in np.ndenumerate(leaf.content):
                sector = {"degree": degree, "sigma": (1, -1)[column]}
                yield {**common, "quantity": "B", **sector, "value": float(value)}


class SurveyProbe(NamedTuple):
    """Several structures that are surveyed with the same few elements each time.

    Attributes:
      name: Their name.
      packs: Function from a model to the structures, in packs that are evaluated
        together.
      over: Number and seed of the elements.
      threads: Number of packs that are evaluated at the same time.

    Example:
      >>> import ase.build
      >>> from symjax.metrics import Survey
      >>> from symjax.models import load_model
      >>> from symjax.models.pet.packing import Prepared
      >>> from symjax.training.configuration import MonitorSection
      >>> from symjax.training.monitor import SurveyProbe
      >>> model = load_model("pet-ethanol")
      >>> molecules = {name: ase.build.molecule(name) for name in ("H2O", "CH4")}
      >>> prepared = Prepared.of(model, molecules, num_elements=8, outputs=("energy",))
      >>> probe = SurveyProbe("validation", prepared.packs, Survey(8))
      >>> rows = list(probe.rows(model, MonitorSection(), step=0))
      >>> sorted({row["quantity"] for row in rows})
      ['survey_A', 'survey_high', 'survey_low', 'survey_relative']
    """

    name: str
    packs: Callable[[Any], Iterable[Pack]]
    over: Survey
    threads: int = 1

    def rows(
        self, model: Any, config: MonitorSection, step: int
    ) -> Iterator[dict[str, Any]]:
        """Measures A of each output over all structures; yields rows."""
        outputs: dict[str, Output] = {}

        def packs() -> Iterator[Pack]:
            for pack in self.packs(model):
                outputs.update(pack.outputs)
                yield pack

        measured = measure_packs(packs(), self.over, 0, threads=self.threads)
        found = pool(item for items in measured for item in items)
        for name in found.names:
            error = found.error(name, of="data")
            common = {"step": step, "structure": self.name, "name": name}
            common["kind"] = outputs[name].kind
            for quantity, value in (
                ("survey_A", error.value),
                ("survey_low", error.low),
                ("survey_high", error.high),
                ("survey_relative", found.error(name, of="data", relative=True).value),
            ):
                yield {**common, "quantity": quantity, "value": value}


class Monitor:
    """Measures probes within a share of the time, which ``clock`` tells in seconds.

    The first measurement, which compiles, is always made and not counted.
    """

    def __init__(
        self,
        probes: Sequence[Probe | SurveyProbe],
        config: MonitorSection,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._probes, self._config, self._clock = probes, config, clock
        self._started: float | None = None
        self._spent = self._last = 0.0

    def is_due(self, step: int) -> bool:
        """Whether a measurement is due after this number of steps."""
        return step % self._config.every == 0

    def rows(self, model: Any, step: int) -> list[dict[str, Any]]:
        """Measures all probes, or returns a row ``skipped``, with :data:`COLUMNS`."""
        now = self._clock()
        if self._started is not None:
            available = self._config.max_share * (now - self._started)
            if self._spent + self._last > available:
                return [{"step": step, "quantity": "skipped"}]
        rows = [
            row
            for probe in self._probes
            for row in probe.rows(model, self._config, step)
        ]
        after = self._clock()
        if self._started is None:
            self._started = after
        else:
            self._last = after - now
            self._spent += self._last
        return rows
