"""How long a measurement will take and how much memory it plans, before it is made."""

import dataclasses
from collections.abc import Callable
from typing import Any

from symjax.errors import ArgumentError
from symjax.metrics.measure import Grid
from symjax.metrics.planning import DEFAULT_MEMORY, Elements, plan_passes
from symjax.metrics.problem import (
    Execution,
    Problem,
    as_problem,
    check_degree,
    prepare,
)
from symjax.metrics.streaming import seconds_of_pass
from symjax.so3.representations import VECTOR


@dataclasses.dataclass(frozen=True)
class Estimate:
    """What a measurement will cost.

    Attributes:
      num_elements: Elements of O(3) at which the function will be evaluated, over all
        passes.
      num_passes: Passes over the orbit; more than one where the coefficients of all
        outputs together do not fit the memory.
      seconds: Time of these evaluations and of what is added up from them, from timed
        calls; compilation is not in it.
      memory: Bytes of the arrays of the largest pass: intermediates, responses,
        spectra and coefficients. The libraries and the model come on top.

    Example:
      >>> from symjax.metrics import Estimate
      >>> print(Estimate(11960, 3, 5400.0, 4 * 2**30))
      11,960 evaluations in 3 passes, about 1 h 30 min, 4.0 GiB
    """

    num_elements: int
    num_passes: int
    seconds: float
    memory: int

    def __str__(self) -> str:
        passes = f" in {self.num_passes} passes" if self.num_passes > 1 else ""
        minutes, seconds = divmod(round(self.seconds), 60)
        hours, minutes = divmod(minutes, 60)
        if hours:
            duration = f"{hours} h {minutes} min"
        elif minutes >= 10:
            duration = f"{minutes} min"
        elif minutes:
            duration = f"{minutes} min {seconds} s"
        else:
            duration = f"{self.seconds:.2g} s"
        return (
            f"{self.num_elements:,} evaluations{passes}, about {duration}, "
            f"{self.memory / 2**30:.1f} GiB"
        )


def estimate(
    problem: Problem | Callable[..., Any],
    x: Any = None,
    *,
    representations: Any = None,
    action: Any = VECTOR,
    args: tuple[Any, ...] = (),
    over: Grid | None = None,
    max_degree: int = 6,
    memory: int = DEFAULT_MEMORY,
    batch_size: int | None = None,
) -> Estimate:
    """Plans a measurement and times one call of every kind of pass.

    Takes the arguments of :func:`~symjax.metrics.measure`, with a fixed grid. A
    symmetry is not used. What it compiles for a call, the measurement finds again.

    Args:
      problem: The problem, or a function.
      x: Input of a function.
      representations: Of every output of a function.
      action: How O(3) acts on the ``x`` of a function.
      args: Further arguments of a function.
      over: The grid; of degree ``2 * max_degree + 1`` by default.
      max_degree: Largest projected degree.
      memory: Budget in bytes.
      batch_size: Elements evaluated at once.

    Returns:
      The estimate.

    Raises:
      ArgumentError: ``over`` is no grid, or the memory too small.

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.metrics import estimate
      >>> from symjax.so3 import VECTOR
      >>> cost = estimate(lambda x: x.sum(0), jnp.eye(3), representations=VECTOR)
      >>> cost.num_elements, cost.num_passes
      (2016, 1)
    """
    over = Grid() if over is None else over
    if not isinstance(over, Grid):
        raise ArgumentError(
            "over",
            over,
            "has no fixed number of elements",
            "Pass for instance Grid(13)",
        )
    check_degree(max_degree)
    given = as_problem(problem, x, representations, action, args)
    prepared = prepare(given, Execution(memory, batch_size), representations)
    function, move, x, args = (
        *(prepared.function, prepared.action, prepared.x, prepared.args),
    )
    leaves = prepared.leaves
    elements = Elements(over.of_degree(max_degree), None)
    passes = plan_passes(
        function,
        move,
        x,
        args,
        leaves,
        elements,
        max_degree,
        method=over.method,
        memory=memory,
        batch_size=batch_size,
        divisible=True,
    )
    timed: dict[tuple[Any, ...], float] = {}
    seconds = 0.0
    for pieces, plan in passes:
        keep = tuple(leaves[piece.name].index for piece in pieces)
        # Pieces of one length take as long wherever they start.
        kind = (keep, tuple(pieces), plan.calls_per_buffer)
        if kind not in timed:
            timed[kind] = seconds_of_pass(
                function, move, x, args, pieces, keep, elements, plan
            )
        seconds += timed[kind]
    return Estimate(
        elements.num_elements * len(passes),
        len(passes),
        seconds,
        max(plan.num_bytes for _, plan in passes),
    )
