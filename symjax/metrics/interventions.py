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
import functools
import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float

from symjax.errors import ArgumentError
from symjax.metrics import orbit
from symjax.metrics.leaves import Leaf, rotated_rows
from symjax.metrics.measure import Grid
from symjax.metrics.planning import default_batch_size
from symjax.metrics.problem import (
    Execution,
    Output,
    Prepared,
    Problem,
    check_degree,
    prepare,
)
from symjax.metrics.unbiased import characters
from symjax.so3.irreps import Irrep
from symjax.so3.quadrature import Quadrature
from symjax.so3.representations import VECTOR

PRIME = "'"
"""Ends the name of a derivative of a feature."""
# Sectors of which all orders are tried.
_MOST_TRIED = 4


@dataclasses.dataclass(frozen=True)
class StagedProblem:
    """A problem whose function can be interfered with between its stages.

    Attributes:
      problem: The function on the orbit, as it is.
      stages: Names of the features of each stage, in the order of the network.
      function: ``(x, shifts, *args) -> (outputs, features)``: the outputs of the
        problem after ``shifts`` were added to the features that they name, and the
        features of all stages before that. A feature ``h'`` beside ``h`` is a
        derivative of it, and is replaced with it. Or a
        :class:`~symjax.metrics.HostFunction` of the same arguments.

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

    def interactions(self, name: str) -> np.ndarray:
        """What the sectors of each stage change together, beyond each of them alone.

        Args:
          name: An output.

        Returns:
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
        square = self.errors[name][0] ** 2
        alone = (square - np.square(self.without[name])).sum(axis=(1, 2))
        return square - np.square(self.bare[name]) - alone

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
    run = _Run.of(staged, max_degree, rule, execution)
    shifts: dict[str, np.ndarray] = {}
    outputs, features = run(shifts)
    found = [run.squares(outputs)]
    first = features
    for stage in staged.stages:
        for name in _of_stage(stage, features):
            shifts[name] = run.mean(features[name]) - features[name]
        outputs, features = run(shifts)
        found.append(run.squares(outputs))
    units = {name: staged.problem.outputs[name].unit for name in found[0]}
    errors, on_labels = _roots(found)
    if not sectors:
        return Trace(staged.stages, units, errors, {}, {}, on_labels)
    alone, bare = [], []
    for stage in staged.stages:
        parts = _sectors_of(run, stage, first, max_degree)
        # The invariant part is no cause of a variance by itself.
        squares = [found[0]]
        squares += [run.squares(run(_removed([part]))[0]) for part in parts.values()]
        alone += squares
        bare.append(run.squares(run(_removed(parts.values()))[0]))
    shape = (len(staged.stages), max_degree + 1, 2)
    without, labels_without = (
        {name: values.reshape(shape) for name, values in found_of.items()}
        for found_of in _roots(alone)
    )
    return Trace(
        *(staged.stages, units, errors, without),
        *(_roots(bare)[0], on_labels, labels_without),
    )


@dataclasses.dataclass(frozen=True, eq=False)
class SectorShares:
    """How the sectors of one stage share out what they change in A^2.

    Attributes:
      sectors: The sectors that were taken away, and None for all above them.
      values: Shapley values of each output, in its unit squared: they add up to A^2
        less ``left``.
      errors: Standard errors of these; 0 where all orders were tried.
      left: A^2 without all of them, for each output: what enters elsewhere.

    Example:
      >>> import numpy as np
      >>> from symjax.metrics import SectorShares
      >>> from symjax.so3 import Irrep
      >>> one = SectorShares((Irrep(1, 1), None), {"y": np.array([3.0, 0.0])},
      ...                    {"y": np.zeros(2)}, {"y": 1.0})
      >>> one.values["y"].sum() + one.left["y"]
      4.0
    """

    sectors: tuple[Irrep | None, ...]
    values: Mapping[str, np.ndarray]
    errors: Mapping[str, np.ndarray]
    left: Mapping[str, float]


def sector_shares(
    staged: StagedProblem,
    stage: int,
    max_degree: int = 2,
    rule: int | Quadrature | None = None,
    orders: int = 8,
    seed: int = 0,
    execution: Execution | None = None,
) -> SectorShares:
    """Shapley values of the sectors of one stage.

    All orders of at most four sectors are tried; of more, random ones, each with its
    reverse.

    Args:
      staged: The network.
      stage: Number of the stage, from 0.
      max_degree: Largest degree of the sectors; what lies above is one more part.
      rule: Quadrature or its degree; by default 2 L + 1.
      orders: Number of random orders, half of them reversed others.
      seed: Of the orders.
      execution: Where and how to run.

    Returns:
      Values that add up.

    Raises:
      ArgumentError: There is no such stage, or less than two orders.

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.metrics import Output, Problem, StagedProblem, sector_shares
      >>> from symjax.so3 import SCALAR
      >>> def function(x, shifts):
      ...     h = x[0, :1] + 2 * x[1, 1:2] * x[0, 2]
      ...     return {"y": (h + shifts.get("h", 0)).sum()}, {"h": h}
      >>> problem = Problem(lambda x: function(x, {})[0], jnp.eye(3),
      ...                   {"y": Output(SCALAR)})
      >>> found = sector_shares(StagedProblem(problem, (("h",),), function), 0, 1)
      >>> [str(one) for one in found.sectors[:3]], round(found.left["y"], 6)
      (['0-', '1+', '1-'], 0.0)
    """
    check_degree(max_degree)
    if not 0 <= stage < len(staged.stages):
        raise ArgumentError(
            "stage",
            stage,
            f"there are {len(staged.stages)} stages",
            "Pass a number from 0",
        )
    if orders < 2:
        raise ArgumentError(
            "orders", orders, "has no spread", "Pass an even number from 2"
        )
    run = _Run.of(staged, max_degree, rule, execution)
    outputs, features = run({})
    whole = run.squares(outputs)
    parts: dict[Irrep | None, dict[str, np.ndarray]] = dict(
        _sectors_of(run, staged.stages[stage], features, max_degree)
    )
    known = _removed(parts.values())
    parts[None] = {
        name: values - run.mean(values) + known[name]
        for name in _of_stage(staged.stages[stage], features)
        if (values := features[name]) is not None
    }
    keys = list(parts)
    seen: dict[frozenset[int], dict[str, float]] = {frozenset(): _only_a(whole)}

    def without(some: frozenset[int]) -> dict[str, float]:
        if some not in seen:
            shifts = _removed([parts[keys[index]] for index in sorted(some)])
            seen[some] = _only_a(run.squares(run(shifts)[0]))
        return seen[some]

    chosen = _orders(len(keys), orders, seed)
    steps: dict[str, list[np.ndarray]] = {name: [] for name in whole}
    for order in chosen:
        gains = {name: np.zeros(len(keys)) for name in whole}
        gone: frozenset[int] = frozenset()
        for index in order:
            more = gone | {index}
            for name in whole:
                gains[name][index] = without(gone)[name] - without(more)[name]
            gone = more
        for name in whole:
            steps[name].append(gains[name])
    every = len(chosen) == math.factorial(len(keys))
    values = {name: np.mean(rows, axis=0) for name, rows in steps.items()}
    errors = {
        name: np.zeros(len(keys)) if every else _error_of_pairs(np.stack(rows))
        for name, rows in steps.items()
    }
    return SectorShares(
        tuple(keys), values, errors, without(frozenset(range(len(keys))))
    )


def _orders(num: int, orders: int, seed: int) -> list[tuple[int, ...]]:
    """All orders of a few, or random ones, each followed by its reverse."""
    if num <= _MOST_TRIED:
        return list(itertools.permutations(range(num)))
    generator = np.random.default_rng(seed)
    chosen: list[tuple[int, ...]] = []
    for _ in range(orders // 2):
        one = tuple(generator.permutation(num).tolist())
        chosen += [one, one[::-1]]
    return chosen


def _error_of_pairs(rows: np.ndarray) -> np.ndarray:
    """Standard error of a mean of orders, of which each pair is one draw."""
    pairs = rows.reshape(-1, 2, rows.shape[1]).mean(axis=1)
    if len(pairs) < 2:
        return np.full(rows.shape[1], np.inf)
    return np.asarray(pairs.std(axis=0, ddof=1) / math.sqrt(len(pairs)))


def _of_stage(stage: tuple[str, ...], features: Mapping[str, Any]) -> list[str]:
    """Features of a stage and their derivatives."""
    return [name for name in features if name.rstrip(PRIME) in stage]


def _sectors_of(
    run: "_Run",
    stage: tuple[str, ...],
    features: Mapping[str, np.ndarray],
    max_degree: int,
) -> dict[Irrep, dict[str, np.ndarray]]:
    """Each sector of a stage but the invariant one, in the order of the table."""
    return {
        Irrep(degree, sigma): {
            name: run.sector(features[name], degree, sigma)
            for name in _of_stage(stage, features)
        }
        for degree in range(max_degree + 1)
        for sigma in (1, -1)
        if (degree, sigma) != (0, 1)
    }


def _removed(parts: Iterable[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Shifts that take some parts away."""
    shifts: dict[str, np.ndarray] = {}
    for part in parts:
        for name, values in part.items():
            shifts[name] = shifts[name] - values if name in shifts else -values
    return shifts


class _Squares(NamedTuple):
    """A^2, and the squared error on labels if there are any."""

    variance: float
    on_labels: float | None


def _only_a(squares: Mapping[str, _Squares]) -> dict[str, float]:
    return {name: one.variance for name, one in squares.items()}


def _roots(
    found: Sequence[Mapping[str, _Squares]],
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """A of several runs, and errors on labels of outputs that have some."""
    errors, on_labels = {}, {}
    for name, first in found[0].items():
        errors[name] = np.sqrt([squares[name].variance for squares in found])
        if first.on_labels is not None:
            rows = [squares[name].on_labels or 0.0 for squares in found]
            on_labels[name] = np.sqrt(rows)
    return errors, on_labels


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


def _evaluate_on_host(
    function: orbit.HostFunction,
    action: orbit.Action,
    elements: Float[np.ndarray, "group 3 3"],
    shifts: Mapping[str, np.ndarray],
    x: Any,
    args: tuple[Any, ...],
) -> Any:
    with jax.enable_x64(True):
        moved = jax.device_get(orbit.move(action, x, elements))
    rows = [
        function.function(
            jax.tree.map(lambda leaf, i=index: leaf[i], moved),
            {name: shift[index] for name, shift in shifts.items()},
            *args,
        )
        for index in range(len(elements))
    ]
    return jax.tree.map(
        lambda *leaves: np.stack([np.asarray(v) for v in leaves]), *rows
    )


@dataclasses.dataclass(frozen=True)
class _Run:
    """The network on both cosets of a rule: elements R, and then -R."""

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
    ) -> "_Run":
        """Ready to be evaluated on a rule."""
        execution = Execution() if execution is None else execution
        grid = Grid(rule).of_degree(max_degree)
        return cls(
            staged,
            prepare(staged.problem, execution),
            grid.rotations,
            grid.weights,
            execution.batch_size or default_batch_size(),
        )

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
        host = isinstance(self.staged.function, orbit.HostFunction)
        run: Any = _evaluate_on_host if host else _evaluate
        function = orbit.as_function(self.staged.function)
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

    def squares(self, outputs: Any) -> dict[str, _Squares]:
        """A^2 of every output, and its squared error where it has labels."""
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
            if labels is not None and np.isfinite(labels).all():
                right = _as_row(leaf, np.asarray(labels, np.float64))
                error = float(np.square(mean - right).mean()) + variance
            out[name] = _Squares(variance, error)
        return out


def _as_row(leaf: Leaf, labels: np.ndarray) -> np.ndarray:
    """Labels of real samples as :func:`rotated_rows` has responses."""
    whole = dataclasses.replace(leaf.compact, dtype="float64")
    num = labels.size * whole.num_samples // whole.size
    some = dataclasses.replace(whole, shape=(num, *whole.shape[1:]))
    everything = np.ones(num, bool)
    return rotated_rows(some, labels.reshape(1, -1), np.eye(3)[None], everything)[0]


def with_forces(
    staged: StagedProblem,
    energy: str,
    displacements: Any,
    *,
    atoms: int,
    unit: str = "",
    labels: np.ndarray | None = None,
) -> StagedProblem:
    """The same network with forces, minus the derivatives of one of its outputs.

    Features come with their derivatives along displacements that turn with the input,
    by forward differentiation: what replaces features replaces these too.

    Args:
      staged: The network; a JAX function, with an action that is linear in its input.
      energy: The output that is differentiated; its values are summed.
      displacements: How the input changes as the coordinates of atoms do: a pytree
        like the input, with a first axis for x, y, z of the first atom, then of the
        second, and so on.
      atoms: Number of atoms.
      unit: Unit of the forces.
      labels: Forces that are right, ``(atoms, 3)``.

    Returns:
      The problem, with the output ``"forces"`` of shape ``(atoms, 3)``.

    Raises:
      ArgumentError: There is no such output, or it has forces already.

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.metrics import Output, Problem, StagedProblem, trace, with_forces
      >>> from symjax.so3 import SCALAR
      >>> def function(x, shifts):
      ...     h = x**2 + 0.1 * x
      ...     return {"e": (h + shifts.get("h", 0)).sum()}, {"h": h}
      >>> problem = Problem(lambda x: function(x, {})[0], jnp.eye(3),
      ...                   {"e": Output(SCALAR)})
      >>> staged = StagedProblem(problem, (("h",),), function)
      >>> moves = jnp.eye(9).reshape(9, 3, 3)
      >>> found = trace(with_forces(staged, "e", moves, atoms=3), max_degree=2)
      >>> found.errors["forces"].round(4).tolist()
      [0.1, 0.0]
    """
    problem = staged.problem
    if energy not in problem.outputs or "forces" in problem.outputs:
        raise ArgumentError(
            "energy",
            energy,
            "is no output, or there are forces already",
            f"Use {', '.join(problem.outputs)}",
        )
    plain = staged.function
    act = orbit.as_action(problem.action)

    def action(rotation: Array, x: Any) -> Any:
        return {
            "x": act(rotation, x["x"]),
            "moves": jax.vmap(lambda one: act(rotation, one))(x["moves"]),
            "axes": x["axes"] @ rotation.T,
        }

    def function(x: Any, shifts: Mapping[str, Array], *args: Any) -> Any:
        values = {n: v for n, v in shifts.items() if not n.endswith(PRIME)}
        slopes = {n: shifts[n + PRIME] for n in values}

        def network(inner: Any, some: Any) -> Any:
            return plain(inner, some, *args)

        def along(move: Any, slope: Any) -> Any:
            return jax.jvp(network, (x["x"], values), (move, slope))

        whole, rates = jax.vmap(along, out_axes=(None, 0))(x["moves"], slopes)
        (outputs, features), (output_rates, feature_rates) = whole, rates
        rate = output_rates[energy].reshape(3 * atoms, -1).sum(axis=1)
        forces = -rate.reshape(atoms, 3) @ x["axes"]
        derivatives = {name + PRIME: v for name, v in feature_rates.items()}
        return {**outputs, "forces": forces}, {**features, **derivatives}

    def as_it_is(x: Any, *args: Any) -> Any:
        return function(x, {}, *args)[0]

    dtype = jax.tree.leaves(displacements)[0].dtype
    made = Problem(
        as_it_is,
        {"x": problem.x, "moves": displacements, "axes": np.eye(3, dtype=dtype)},
        {**problem.outputs, "forces": Output(VECTOR, unit, labels=labels)},
        action=action,
        args=problem.args,
    )
    return StagedProblem(made, staged.stages, function)
