"""Which stage of a network breaks the symmetry: by intervention, not by correlation.

A stage is all that one part of a network hands to the next. On the whole orbit, its
features h(g) are replaced by a part of themselves, and the rest of the network runs on
that, at the same orientation. What changes in the equivariance error of the outputs was
caused by what was removed.

- *Cut* through stage k: the features of stages 1 to k are all replaced by their means
  over O(3). What is left of A^2 enters behind k, where the network sees the geometry
  again; the differences between successive cuts telescope to the whole A^2. One may be
  negative: what enters early can cancel what enters later.
- *Without a sector*: one stage loses one sector (l, sigma) of its features, and nothing
  else. What one loses alone need not add up: the rest is interaction, and is reported.
- *Shapley values* share out what a stage loses with all its sectors: of every order in
  which they can be taken away, the mean of what each one then changes. They add up.

Forces that are derivatives of an energy follow by differentiating through all of this
(:func:`with_forces`): means and projections are linear, so that derivatives of features
are projected as features are.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from symjax.errors import ArgumentError
from symjax.metrics.problem import Execution
from symjax.metrics.stages import (
    Squares,
    StagedProblem,
    StagedRun,
    of_stage,
    removed,
    sectors_of,
)
from symjax.so3.irreps import Irrep
from symjax.so3.quadratures import Quadrature


@dataclasses.dataclass(frozen=True, eq=False)
class Trace:
    """How the equivariance error of outputs depends on the stages of a network.

    Attributes:
      stages: Names of the features of each stage.
      units: Unit of each output.
      errors: For each output A as it is, and after cuts through stages 1, 2, ...
      without: For each output, A after one sector was taken from one stage,
        ``(stages, degrees, 2)`` with sigma = +1 first; empty unless asked for.
      bare: For each output, A after all of these sectors were taken from one stage at
        once, ``(stages,)``; empty unless asked for.
      label_errors: For each output with labels, its root-mean-square error on them,
        averaged over orientations, where ``errors`` has A.
      label_errors_without: The same where ``without`` has A.

    Example:
      >>> import numpy as np
      >>> from symjax.metrics import Trace
      >>> one = Trace((("h",),), {"y": "eV"}, {"y": np.array([2.0, 1.0])}, {})
      >>> one.contributions("y").tolist()  # in the stage, and behind it
      [3.0, 1.0]
    """

    stages: tuple[tuple[str, ...], ...]
    units: Mapping[str, str]
    errors: Mapping[str, np.ndarray]
    without: Mapping[str, np.ndarray]
    bare: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    label_errors: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    label_errors_without: Mapping[str, np.ndarray] = dataclasses.field(
        default_factory=dict
    )

    def _of(self, name: str) -> np.ndarray:
        if name not in self.errors:
            known = ", ".join(self.errors)
            raise ArgumentError(
                "name", name, "is no output that was traced", f"Use one of {known}"
            )
        return self.errors[name]

    def interactions(self, name: str) -> np.ndarray:
        """What the sectors of each stage change together, beyond each of them alone.

        A^2 less that without all sectors, less the sum of the changes of A^2 by each
        alone, ``(stages,)``: 0 where they are independent.

        Example:
          >>> import numpy as np
          >>> from symjax.metrics import Trace
          >>> without = {"y": np.sqrt([[[2.0, 1.0]]])}
          >>> one = Trace((("h",),), {"y": ""}, {"y": np.sqrt([2.0, 0.0])}, without,
          ...             {"y": np.sqrt([0.5])})
          >>> one.interactions("y").round(9).tolist()
          [0.5]
        """
        square = self._of(name)[0] ** 2
        if name not in self.without:
            raise ArgumentError(
                "name", name, "no sector was taken away", "Use trace(..., sectors=True)"
            )
        alone = (square - np.square(self.without[name])).sum(axis=(1, 2))
        return square - np.square(self.bare[name]) - alone

    def contributions(self, name: str) -> np.ndarray:
        """What each stage adds to A^2, and last what enters behind all of them.

        Differences of A^2 between successive cuts; their sum is A^2.
        """
        squares = np.square(self._of(name))
        return np.append(squares[:-1] - squares[1:], squares[-1])

    def blamed(self, name: str) -> tuple[int, Irrep] | None:
        """Stage and sector without which A is smallest; None if no removal lowers A."""
        before = self._of(name)[0]
        if name not in self.without:
            return None
        errors = self.without[name]
        stage, degree, column = np.unravel_index(np.argmin(errors), errors.shape)
        if not errors[stage, degree, column] < before:
            return None
        return int(stage), Irrep(int(degree), 1 if column == 0 else -1)


def trace(
    staged: StagedProblem,
    max_degree: int = 4,
    rule: int | Quadrature | None = None,
    sectors: bool = False,
    execution: Execution | None = None,
) -> Trace:
    """Interferes with a network stage by stage.

    Args:
      staged: The network.
      max_degree: Largest degree L of the sectors that are removed.
      rule: Quadrature or its degree; by default 2 L + 1.
      sectors: Whether single sectors are removed as well: as many runs over the orbit
        as there are stages times sectors.
      execution: Where and how to run.

    Returns:
      Errors of the outputs.

    Raises:
      ArgumentError: The degree is none, or outputs or stages are not what the function
        returns.
      GridError: There is no such quadrature, or it is too coarse.

    Example:
      >>> import ase.build
      >>> from symjax.metrics import trace
      >>> from symjax.models import load_model
      >>> from symjax.models.pet import staged_problem
      >>> water = ase.build.molecule("H2O")
      >>> found = trace(staged_problem(load_model("pet-ethanol"), water), max_degree=1)
      >>> found.errors["energy"].shape, found.units["energy"]
      ((3,), 'eV')
    """
    run = StagedRun.of(staged, max_degree, rule, execution)
    shifts: dict[str, np.ndarray] = {}
    outputs, features = run.as_it_is()
    found = [run.squares(outputs)]
    first = features
    for stage in staged.stages:
        for name in of_stage(stage, features):
            shifts[name] = run.mean(features[name]) - features[name]
        outputs, features = run(shifts)
        found.append(run.squares(outputs))
    units = {name: staged.problem.outputs[name].unit for name in found[0]}
    errors, on_labels = _roots(found)
    if not sectors:
        return Trace(staged.stages, units, errors, {}, {}, on_labels)
    alone, bare = [], []
    for stage in staged.stages:
        parts = sectors_of(run, stage, first, max_degree)
        # The invariant part is no cause of a variance by itself.
        squares = [found[0]]
        squares += [run.squares(run(removed([part]))[0]) for part in parts.values()]
        alone += squares
        bare.append(run.squares(run(removed(parts.values()))[0]))
    shape = (len(staged.stages), max_degree + 1, 2)
    without, labels_without = (
        {name: values.reshape(shape) for name, values in found_of.items()}
        for found_of in _roots(alone)
    )
    return Trace(
        *(staged.stages, units, errors, without),
        *(_roots(bare)[0], on_labels, labels_without),
    )


def _roots(
    found: Sequence[Mapping[str, Squares]],
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """A of several runs, and errors on labels of outputs that have some."""
    errors, on_labels = {}, {}
    for name, first in found[0].items():
        errors[name] = np.sqrt([squares[name].variance for squares in found])
        if first.on_labels is not None:
            rows = [squares[name].on_labels or 0.0 for squares in found]
            on_labels[name] = np.sqrt(rows)
    return errors, on_labels
