"""Networks whose features can be modified between stages, on the whole orbit."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from symjax.errors import ArgumentError, GridError
from symjax.metrics import arguments, functions, orbit
from symjax.metrics.grid import Grid
from symjax.metrics.pieces import Leaf, leaf_name, rotated_rows
from symjax.metrics.planning import default_batch_size
from symjax.metrics.problem import Execution, Prepared, Problem, check_degree, prepare
from symjax.metrics.unbiased import angles_between, characters
from symjax.so3.irreps import Irrep
from symjax.so3.quadratures import Quadrature

# Bytes per pair of rotations: angles, characters and kernels.
_PAIRS = 4 * 8
PRIME = "'"
"""Suffix of the name of a derivative of a feature."""


@dataclasses.dataclass(frozen=True)
class StagedProblem:
    """A problem with access to the features between the stages of its network.

    Attributes:
      problem: The problem, with the unmodified function.
      stages: Names of the features of each stage, in the order of the network.
      function: ``(x, shifts, *args) -> (outputs, features)``. Adds ``shifts``, a
        dictionary by name, to the features, and returns the outputs of the problem and
        the features of all stages before the shift. A feature named ``h'`` is the
        derivative of ``h`` and belongs to its stage. It may also be a
        :class:`~symjax.metrics.HostFunction`.

    Raises:
      ArgumentError: ``problem`` is not a problem, or ``stages`` is not a sequence of
        sequences of names.

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

    def __post_init__(self) -> None:
        arguments.check_type("problem", self.problem, Problem, "Pass a Problem")
        remedy = "Pass (('first features',), ('those of the next stage', ...), ...)"
        arguments.check_type("stages", self.stages, tuple | list, remedy)
        for stage in self.stages:
            arguments.check_type("stages", stage, tuple | list, remedy)
        if not self.stages or not all(self.stages):
            raise ArgumentError(
                "stages", self.stages, "has an empty stage", "Name its features"
            )


class Squares(NamedTuple):
    """A^2, and the mean squared error on labels; None if not all are known."""

    variance: float
    on_labels: float | None


@functools.partial(jax.jit, static_argnums=(0, 1))
def _evaluate(
    function: Callable[..., Any],
    action: functions.Action,
    elements: Float[Array, "group 3 3"],
    shifts: Mapping[str, Array],
    x: Any,
    args: tuple[Any, ...],
) -> Any:
    def one(element: Array, shift: Mapping[str, Array]) -> Any:
        return function(action(element, x), shift, *args)

    return jax.vmap(one)(elements, shifts)


def _evaluate_on_host(
    function: functions.HostFunction,
    action: functions.Action,
    elements: Float[np.ndarray, "group 3 3"],
    shifts: Mapping[str, np.ndarray],
    x: Any,
    args: tuple[Any, ...],
) -> Any:
    rows = [
        function.function(
            moved, {name: shift[index] for name, shift in shifts.items()}, *args
        )
        for index, moved in enumerate(orbit.moved_on_host(action, x, elements))
    ]
    return jax.tree.map(
        lambda *leaves: np.stack([np.asarray(v) for v in leaves]), *rows
    )


@dataclasses.dataclass(frozen=True)
class StagedRun:
    """A network on both cosets of a rule: all elements R, followed by all -R."""

    staged: StagedProblem
    prepared: Prepared
    rotations: Float[np.ndarray, "half 3 3"]
    weights: Float[np.ndarray, "half"]
    batch: int

    @classmethod
    def of(
        cls,
        staged: StagedProblem,
        max_degree: int,
        rule: int | Quadrature | None,
        execution: Execution | None,
    ) -> "StagedRun":
        """Prepares the network for a rule, by default of degree 2 L + 1."""
        remedy = "Pass a StagedProblem"
        arguments.check_type("staged", staged, StagedProblem, remedy)
        max_degree = check_degree(max_degree)
        grid = Grid(rule).of_degree(max_degree)
        prepared = prepare(
            staged.problem, Execution() if execution is None else execution
        )
        batch = prepared.execution.batch_size or default_batch_size()
        return cls(staged, prepared, grid.rotations, grid.weights, batch)

    @functools.cached_property
    def elements(self) -> Float[np.ndarray, "group 3 3"]:
        """All elements, R and then -R."""
        return np.concatenate([self.rotations, -self.rotations])

    @functools.cached_property
    def angles(self) -> Float[np.ndarray, "half half"]:
        """Rotation angles of R_i^-1 R_j.

        Raises:
          GridError: They do not fit the memory.
        """
        num, memory = len(self.rotations), self.prepared.execution.memory
        if _PAIRS * num**2 > memory:
            raise GridError(
                "rule",
                f"{num} rotations",
                f"need {_PAIRS * num**2 / 2**30:.1f} GiB for all pairs of them, of "
                f"{memory / 2**30:.1f} GiB of memory",
                "Use a rule of lower degree, or Execution(memory=...)",
            )
        return angles_between(self.rotations[None, None])[0]

    def as_it_is(self) -> tuple[Any, dict[str, np.ndarray]]:
        """Outputs and features without a shift, after a check of their names and types.

        Raises:
          ArgumentError: The outputs are not those of the problem, a feature of a stage
            is missing, or it is not an array of floating-point numbers.
        """
        outputs, features = self({})
        paths = jax.tree_util.tree_flatten_with_path(outputs)[0]
        returned = sorted(leaf_name(path) for path, _ in paths)
        known = sorted(self.staged.problem.outputs)
        if returned != known:
            raise ArgumentError(
                "function",
                returned,
                f"are not the outputs {known} of the problem",
                "Return (outputs, features), with the outputs of problem.function",
            )
        for name in (name for stage in self.staged.stages for name in stage):
            if name not in features:
                raise ArgumentError(
                    "stages",
                    name,
                    "is not a feature that the function returns",
                    f"Use one of {', '.join(features)}",
                )
            if not jnp.issubdtype(features[name].dtype, jnp.floating):
                raise ArgumentError(
                    f"features[{name!r}]",
                    features[name].dtype,
                    "is not a floating dtype, so that it has no mean or sectors",
                    "Name features of real floating-point numbers",
                )
        return outputs, features

    def __call__(self, shifts: Mapping[str, np.ndarray]) -> tuple[Any, Any]:
        """Outputs and features at all elements, with a shift at each of them."""
        num = len(self.elements)
        fill = np.minimum(np.arange(-(-num // self.batch) * self.batch), num - 1)
        parts = []
        host = isinstance(self.staged.function, functions.HostFunction)
        run: Any = _evaluate_on_host if host else _evaluate
        function = functions.as_function(self.staged.function)
        for start in range(0, len(fill), self.batch):
            some = fill[start : start + self.batch]
            parts.append(
                jax.device_get(
                    run(
                        function,
                        self.prepared.action,
                        self.elements[some],
                        {name: shift[some] for name, shift in shifts.items()},
                        self.prepared.x,
                        self.prepared.args,
                    )
                )
            )
        joined = jax.tree.map(lambda *rows: np.concatenate(rows)[:num], *parts)
        arguments.check_type("function", joined, tuple, "Return (outputs, features)")
        return joined[0], joined[1]

    def _both(self, values: np.ndarray) -> np.ndarray:
        """Even and odd part under the inversion, at all rotations."""
        half = values.reshape(2, len(self.rotations), -1)
        return np.stack([half[0] + half[1], half[0] - half[1]]) / 2

    def mean(self, values: np.ndarray) -> np.ndarray:
        """The mean over O(3), repeated for all elements."""
        even, _ = self._both(values)
        mean = (self.weights @ even.astype(np.float64)).astype(values.dtype)
        return np.broadcast_to(mean.reshape(values.shape[1:]), values.shape)

    def sector(self, values: np.ndarray, degree: int, sigma: int) -> np.ndarray:
        """The character projection P_{l, sigma} of features, at all elements."""
        parity = sigma * (-1) ** degree
        part = self._both(values)[0 if parity == 1 else 1]
        *_, character = characters(self.angles, degree)
        kernel = (2 * degree + 1) * character
        kernel = (kernel * self.weights).astype(values.dtype)
        projected = kernel @ part
        return np.concatenate([projected, parity * projected]).reshape(values.shape)

    def squares(self, outputs: Any) -> dict[str, Squares]:
        """A^2 of every output, and its squared error if it has labels."""
        leaves = jax.tree.leaves(outputs)
        out = {}
        for name, leaf in self.prepared.leaves.items():
            values = np.asarray(leaves[leaf.index])
            orbit.check_finite(name, values, self.elements)
            mask = self.prepared.masks[name].reshape(-1)
            z = rotated_rows(leaf.compact, values, self.elements, mask)
            weights = np.tile(self.weights, 2) / 2
            mean = weights @ z
            variance = float(weights @ np.square(z - mean).sum(1)) / z.shape[1]
            labels = self.staged.problem.outputs[name].labels
            error = None
            if labels is not None:
                shape = int(mask.sum()), *leaf.shape[len(leaf.axes[0]) :]
                argument = f"outputs[{name!r}].labels"
                labels = arguments.as_labels(argument, labels, shape)
                if np.isfinite(labels).all():
                    right = _as_row(leaf, labels)
                    error = float(np.square(mean - right).mean()) + variance
            out[name] = Squares(variance, error)
        return out


def _as_row(leaf: Leaf, labels: np.ndarray) -> np.ndarray:
    """Labels of the real samples in the layout of :func:`rotated_rows`."""
    labelled = dataclasses.replace(leaf, shape=labels.shape)
    everything = np.ones(len(labels), bool)
    return rotated_rows(labelled, labels[None], np.eye(3)[None], everything)[0]


def of_stage(stage: tuple[str, ...], features: Mapping[str, Any]) -> list[str]:
    """Names of the features of a stage and of their derivatives."""
    return [name for name in features if name.rstrip(PRIME) in stage]


def sectors_of(
    run: "StagedRun",
    stage: tuple[str, ...],
    features: Mapping[str, np.ndarray],
    max_degree: int,
) -> dict[Irrep, dict[str, np.ndarray]]:
    """The projections of a stage's features on each sector except 0+."""
    return {
        Irrep(degree, sigma): {
            name: run.sector(features[name], degree, sigma)
            for name in of_stage(stage, features)
        }
        for degree in range(max_degree + 1)
        for sigma in (1, -1)
        if (degree, sigma) != (0, 1)
    }


def removed(parts: Iterable[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The shifts, by name of the feature, that remove some parts."""
    shifts: dict[str, np.ndarray] = {}
    for part in parts:
        for name, values in part.items():
            shifts[name] = shifts[name] - values if name in shifts else -values
    return shifts
