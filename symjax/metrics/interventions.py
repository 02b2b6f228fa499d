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
  else. The changes of A^2 need not add up to anything.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float

from symjax.errors import ArgumentError
from symjax.metrics import orbit
from symjax.metrics.leaves import rotated_rows
from symjax.metrics.measure import Grid
from symjax.metrics.planning import default_batch_size
from symjax.metrics.problem import (
    Execution,
    Prepared,
    Problem,
    check_degree,
    prepare,
)
from symjax.metrics.unbiased import characters
from symjax.so3.irreps import Irrep
from symjax.so3.quadrature import Quadrature


@dataclasses.dataclass(frozen=True)
class StagedProblem:
    """A problem whose function can be interfered with between its stages.

    Attributes:
      problem: The function on the orbit, as it is.
      stages: Names of the features of each stage, in the order of the network.
      function: ``(x, shifts, *args) -> (outputs, features)``: the outputs of the
        problem after ``shifts`` were added to the features that they name, and the
        features of all stages before that.

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.metrics import Output, Problem, StagedProblem, trace
      >>> from symjax.so3 import SCALAR
      >>> def function(x, shifts):
      ...     h = x[0] ** 2 + 0.1 * x[0]
      ...     return {"y": (h + shifts.get("h", 0)).sum()}, {"h": h}
      >>> problem = Problem(lambda x: function(x, {})[0], jnp.eye(3),
      ...                   {"y": Output(SCALAR)})
      >>> found = trace(StagedProblem(problem, (("h",),), function), max_degree=2)
      >>> found.errors["y"].round(4).tolist()
      [0.1, 0.0]
    """

    problem: Problem
    stages: tuple[tuple[str, ...], ...]
    function: Callable[..., Any]


@dataclasses.dataclass(frozen=True, eq=False)
class Trace:
    """How the equivariance error of outputs depends on the stages of a network.

    Attributes:
      stages: Names of the features of each stage.
      units: Unit of each output.
      errors: For each output A as it is, and after cuts through stages 1, 2, ...
      without: For each output, A after one sector was taken from one stage,
        ``(stages, degrees, 2)`` with sigma = +1 first; empty unless asked for.

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

    def contributions(self, name: str) -> np.ndarray:
        """What each stage adds to A^2, and last what enters behind all of them.

        Args:
          name: An output.

        Returns:
          Differences of A^2 between successive cuts; their sum is A^2.
        """
        squares = np.square(self.errors[name])
        return np.append(squares[:-1] - squares[1:], squares[-1])

    def blamed(self, name: str) -> tuple[int, Irrep] | None:
        """The stage and sector without which A is smallest, if it is smaller at all.

        Args:
          name: An output.

        Returns:
          Number of the stage and the sector; None if no removal lowers A, or none
          was tried.
        """
        if name not in self.without:
            return None
        errors = self.without[name]
        stage, degree, column = np.unravel_index(np.argmin(errors), errors.shape)
        if not errors[stage, degree, column] < self.errors[name][0]:
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
      ArgumentError: The degree is none, or there is no stage.
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
    check_degree(max_degree)
    if not staged.stages or not all(staged.stages):
        raise ArgumentError(
            "staged", staged.stages, "has no stage", "Name features between layers"
        )
    execution = Execution() if execution is None else execution
    grid = Grid(rule).of_degree(max_degree)
    run = _Run(
        staged,
        prepare(staged.problem, execution),
        grid.rotations,
        grid.weights,
        execution.batch_size or default_batch_size(),
    )
    shifts: dict[str, np.ndarray] = {}
    outputs, features = run(shifts)
    found = [run.squares(outputs)]
    first = features
    for stage in staged.stages:
        shifts |= {name: run.mean(features[name]) - features[name] for name in stage}
        outputs, features = run(shifts)
        found.append(run.squares(outputs))
    names = list(found[0])
    errors = {n: np.sqrt([squares[n] for squares in found]) for n in names}
    without: dict[str, np.ndarray] = {}
    if sectors:
        shape = (len(staged.stages), max_degree + 1, 2)
        without = {name: np.full(shape, np.nan) for name in names}
        for index, stage in enumerate(staged.stages):
            for degree in range(max_degree + 1):
                for column, sigma in enumerate((1, -1)):
                    if (degree, sigma) == (0, 1):
                        # The invariant part is no cause of a variance by itself.
                        for name in names:
                            without[name][index, 0, 0] = errors[name][0]
                        continue
                    part = {
                        name: -run.sector(first[name], degree, sigma) for name in stage
                    }
                    squares = run.squares(run(part)[0])
                    for name in names:
                        value = math.sqrt(squares[name])
                        without[name][index, degree, column] = value
    units = {name: staged.problem.outputs[name].unit for name in names}
    return Trace(staged.stages, units, errors, without)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _evaluate(
    function: Callable[..., Any],
    action: orbit.Action,
    elements: Float[Array, "group 3 3"],
    shifts: Mapping[str, Array],
    x: Any,
    args: tuple[Any, ...],
) -> Any:
    def one(element: Array, shift: Mapping[str, Array]) -> Any:
        return function(action(element, x), shift, *args)

    return jax.vmap(one)(elements, shifts)


@dataclasses.dataclass(frozen=True)
class _Run:
    """The network on both cosets of a rule: elements R, and then -R."""

    staged: StagedProblem
    prepared: Prepared
    rotations: Float[np.ndarray, "half 3 3"]
    weights: Float[np.ndarray, "half"]
    batch: int

    @functools.cached_property
    def elements(self) -> Float[np.ndarray, "group 3 3"]:
        return np.concatenate([self.rotations, -self.rotations])

    @functools.cached_property
    def angles(self) -> Float[np.ndarray, "half half"]:
        """Of R_i^-1 R_j."""
        flat = self.rotations.reshape(-1, 9)
        return np.arccos(np.clip((flat @ flat.T - 1) / 2, -1.0, 1.0))

    def __call__(self, shifts: Mapping[str, np.ndarray]) -> tuple[Any, Any]:
        """Outputs and features at all elements, after shifts at each of them."""
        num = len(self.elements)
        fill = np.minimum(np.arange(-(-num // self.batch) * self.batch), num - 1)
        parts = []
        for start in range(0, len(fill), self.batch):
            some = fill[start : start + self.batch]
            parts.append(
                jax.device_get(
                    _evaluate(
                        orbit.as_function(self.staged.function),
                        self.prepared.action,
                        self.elements[some],
                        {name: shift[some] for name, shift in shifts.items()},
                        self.prepared.x,
                        self.prepared.args,
                    )
                )
            )
        joined = jax.tree.map(lambda *rows: np.concatenate(rows)[:num], *parts)
        return joined[0], joined[1]

    def _both(self, values: np.ndarray) -> np.ndarray:
        """Even and odd part under the inversion, of all rotations."""
        half = values.reshape(2, len(self.rotations), -1)
        return np.stack([half[0] + half[1], half[0] - half[1]]) / 2

    def mean(self, values: np.ndarray) -> np.ndarray:
        """The invariant part, for all elements."""
        even, _ = self._both(values)
        mean = (self.weights @ even.astype(np.float64)).astype(values.dtype)
        return np.broadcast_to(mean.reshape(values.shape[1:]), values.shape)

    def sector(self, values: np.ndarray, degree: int, sigma: int) -> np.ndarray:
        """P_{l, sigma} of features, which are invariant by what they stand for."""
        parity = sigma * (-1) ** degree
        part = self._both(values)[0 if parity == 1 else 1]
        *_, character = characters(self.angles, degree)
        kernel = (2 * degree + 1) * character
        kernel = (kernel * self.weights).astype(values.dtype)
        projected = kernel @ part
        return np.concatenate([projected, parity * projected]).reshape(values.shape)

    def squares(self, outputs: Any) -> dict[str, float]:
        """A^2 of every output."""
        leaves = jax.tree.leaves(outputs)
        out = {}
        for name, leaf in self.prepared.leaves.items():
            values = np.asarray(leaves[leaf.index])
            orbit.check_finite(name, values, self.elements)
            mask = self.prepared.masks[name].reshape(-1)
            z = rotated_rows(leaf.compact, values, self.elements, mask)
            weights = np.tile(self.weights, 2) / 2
            centred = z - weights @ z
            out[name] = float(weights @ np.square(centred).sum(1)) / z.shape[1]
        return out
