"""Which stage of a network breaks the symmetry, by intervention on its features.

A stage consists of the features that one part of a network passes to the next. On the
whole orbit, its features h(g) are replaced by a part of themselves, and the remaining
network is evaluated on them at the same orientation. The change in the equivariance
error of the outputs was caused by what was removed.

- *Cut* through stage k: the features of stages 1 to k are all replaced by their means
  over O(3). What is left of A^2 is caused behind stage k, where the network reads the
  geometry again. The differences between successive cuts telescope to A^2. A difference
  may be negative, because contributions of different stages can cancel.
- *Without a sector*: one stage loses one sector (l, sigma) of its features. The changes
  due to single sectors need not add up; the difference is reported as interaction.
- *Shapley values* of the sectors of a stage: the change on removing one of them,
  averaged over all orders in which they can be removed. They add up.

Forces that are derivatives of an energy follow by differentiating through the
interventions (:func:`with_forces`): means and projections are linear, so derivatives of
features are projected in the same way as features.
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
      errors: For each output, A of the network and after cuts through stages 1, 2, ...,
        ``(1 + stages,)``.
      without: For each output, A after one sector was removed from one stage,
        ``(stages, degrees, 2)`` with sigma = +1 first; empty unless requested. Nothing
        is removed for 0+.
      bare: For each output, A after all of these sectors were removed from one stage at
        once, ``(stages,)``; empty unless requested.
      label_errors: For each output with labels, its root-mean-square error on them,
        averaged over orientations, in the layout of ``errors``.
      label_errors_without: The same in the layout of ``without``.

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
                "name", name, "is not a traced output", f"Use one of {known}"
            )
        return self.errors[name]

    def interactions(self, name: str) -> np.ndarray:
        """The joint effect of the sectors of each stage, beyond their single effects.

        The change of A^2 on removing all sectors of a stage, minus the sum of the
        changes on removing each of them alone, ``(stages,)``; 0 if independent.

        Raises:
          ArgumentError: The output was not traced, or no sectors were removed.

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
                "name",
                name,
                "was traced without removing sectors",
                "Use trace(..., sectors=True)",
            )
        alone = (square - np.square(self.without[name])).sum(axis=(1, 2))
        return square - np.square(self.bare[name]) - alone

    def contributions(self, name: str) -> np.ndarray:
        """What each stage adds to A^2, followed by what is added behind the last one.

        Differences of A^2 between successive cuts, ``(stages + 1,)``; their sum is A^2.

        Raises:
          ArgumentError: The output was not traced.
        """
        squares = np.square(self._of(name))
        return np.append(squares[:-1] - squares[1:], squares[-1])

    def blamed(self, name: str) -> tuple[int, Irrep] | None:
        """Stage and sector whose removal lowers A most; None if none does.

        Raises:
          ArgumentError: The output was not traced.
        """
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
    """Attributes the equivariance error of a network to its stages, by intervention.

    Args:
      staged: The network.
      max_degree: Largest degree L of the sectors that are removed.
      rule: Quadrature or its degree; by default of degree 2 L + 1.
      sectors: Whether to remove single sectors as well, which takes one run over the
        orbit for each stage and sector.
      execution: Where and how to run.

    Returns:
      Errors of the outputs.

    Raises:
      ArgumentError: The degree is invalid, or outputs or stages are not what the
        function returns.
      GridError: There is no such quadrature, it is too coarse, or it has too many
        rotations for the memory.

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.metrics import Output, Problem, StagedProblem, trace
      >>> from symjax.so3 import SCALAR
      >>> def function(x, shifts):
      ...     h = 2 * x[0, :1]
      ...     return {"y": (h + shifts.get("h", 0) + x[1, 1]).sum()}, {"h": h}
      >>> problem = Problem(lambda x: function(x, {})[0], jnp.eye(3),
      ...                   {"y": Output(SCALAR, "eV")})
      >>> found = trace(StagedProblem(problem, (("h",),), function), max_degree=1)
      >>> [round(float(error) ** 2, 4) for error in found.errors["y"]]
      [1.6667, 0.3333]
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
        # The invariant part is not removed: it causes no variance by itself.
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
    """A of several runs, and errors on labels of the outputs that have labels."""
    errors, on_labels = {}, {}
    for name, first in found[0].items():
        errors[name] = np.sqrt([squares[name].variance for squares in found])
        if first.on_labels is not None:
            rows = [squares[name].on_labels or 0.0 for squares in found]
            on_labels[name] = np.sqrt(rows)
    return errors, on_labels
