"""Shapley values of the sectors of one stage: their contributions to A^2."""

import dataclasses
import itertools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from symjax.errors import ArgumentError
from symjax.metrics.problem import Execution
from symjax.metrics.stages import (
    StagedProblem,
    StagedRun,
    of_stage,
    removed,
    sectors_of,
)
from symjax.so3._arguments import check_integer
from symjax.so3.irreps import Irrep
from symjax.so3.quadratures import Quadrature

# Up to this number of sectors, all orders are evaluated.
_MOST_TRIED = 4


@dataclasses.dataclass(frozen=True, eq=False)
class SectorShares:
    """Contributions of the sectors of one stage to A^2.

    Attributes:
      sectors: The sectors that were removed; None stands for all above them.
      values: Shapley values for each output, in its unit squared. They add up to A^2
        minus ``left``.
      errors: Their standard errors; 0 if all orders were evaluated.
      left: For each output, A^2 without all of these sectors: it is caused elsewhere.

    Example:
      >>> import numpy as np
      >>> from symjax.metrics import SectorShares
      >>> from symjax.so3 import Irrep
      >>> one = SectorShares((Irrep(1, 1), None), {"y": np.array([3.0, 0.0])},
      ...                    {"y": np.zeros(2)}, {"y": 1.0})
      >>> float(one.values["y"].sum() + one.left["y"])
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

    The value of a sector is the change of A^2 on its removal, averaged over the orders
    in which the sectors can be removed one after another. With up to four parts all
    orders are evaluated; otherwise random ones, each with its reverse.

    Args:
      staged: The network.
      stage: Index of the stage, from 0.
      max_degree: Largest degree L of the sectors; all that lies above is one more part.
      rule: Quadrature or its degree; by default of degree 2 L + 1.
      orders: Number of orders; half of them are random, the others their reverses.
      seed: Seed of the orders.
      execution: Where and how to run.

    Returns:
      The Shapley values and their standard errors.

    Raises:
      ArgumentError: There is no such stage, ``orders`` is below 2, or outputs or stages
        are not what the function returns.
      GridError: There is no such quadrature, it is too coarse, or it has too many
        rotations for the memory.

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
    network = StagedRun.of(staged, max_degree, rule, execution)
    check_integer("stage", stage)
    check_integer("orders", orders, 2)
    check_integer("seed", seed)
    if stage >= len(staged.stages):
        raise ArgumentError(
            "stage",
            stage,
            f"is not the index of one of {len(staged.stages)} stages",
            f"Pass 0 to {len(staged.stages) - 1}",
        )
    outputs, features = network.as_it_is()
    parts = _parts(network, staged.stages[stage], features, max_degree)
    sectors = list(parts)
    squares = {frozenset[int](): _variances(network, outputs)}

    def without(absent: frozenset[int]) -> dict[str, float]:
        if absent not in squares:
            shifts = removed([parts[sectors[index]] for index in sorted(absent)])
            squares[absent] = _variances(network, network(shifts)[0])
        return squares[absent]

    tried = _orders(len(sectors), orders, seed)
    names = list(without(frozenset()))
    gains = {name: np.zeros((len(tried), len(sectors))) for name in names}
    for row, order in enumerate(tried):
        absent: frozenset[int] = frozenset()
        for index in order:
            before, absent = without(absent), absent | {index}
            for name, square in without(absent).items():
                gains[name][row, index] = before[name] - square
    exact = len(tried) == math.factorial(len(sectors))
    errors = {
        name: np.zeros(len(sectors)) if exact else _error_of_pairs(rows)
        for name, rows in gains.items()
    }
    return SectorShares(
        tuple(sectors),
        {name: rows.mean(axis=0) for name, rows in gains.items()},
        errors,
        without(frozenset(range(len(sectors)))),
    )


def _parts(
    network: StagedRun,
    stage: tuple[str, ...],
    features: Mapping[str, np.ndarray],
    max_degree: int,
) -> dict[Irrep | None, dict[str, np.ndarray]]:
    """The features of a stage by sector; None holds all that lies above them."""
    parts: dict[Irrep | None, dict[str, np.ndarray]] = {}
    parts.update(sectors_of(network, stage, features, max_degree).items())
    known = removed(parts.values())
    parts[None] = {
        name: features[name] - network.mean(features[name]) + known[name]
        for name in of_stage(stage, features)
    }
    return parts


def _orders(num: int, orders: int, seed: int) -> list[tuple[int, ...]]:
    """All orders if there are few, else random ones, each followed by its reverse."""
    if num <= _MOST_TRIED:
        return list(itertools.permutations(range(num)))
    generator = np.random.default_rng(seed)
    chosen: list[tuple[int, ...]] = []
    for _ in range(orders // 2):
        order = tuple(generator.permutation(num).tolist())
        chosen += [order, order[::-1]]
    return chosen


def _error_of_pairs(rows: np.ndarray) -> np.ndarray:
    """Standard error of a mean over orders, of which each pair is one draw."""
    pairs = rows.reshape(-1, 2, rows.shape[1]).mean(axis=1)
    if len(pairs) < 2:
        return np.full(rows.shape[1], np.inf)
    return np.asarray(pairs.std(axis=0, ddof=1) / math.sqrt(len(pairs)))


def _variances(network: StagedRun, outputs: Any) -> dict[str, float]:
    return {name: one.variance for name, one in network.squares(outputs).items()}
