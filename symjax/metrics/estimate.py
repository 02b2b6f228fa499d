"""How long a measurement will take and how much memory it plans, before it is made."""

import dataclasses
from typing import Any

import numpy as np

from symjax.errors import ArgumentError
from symjax.metrics import orbit
from symjax.metrics.leaves import describe
from symjax.metrics.planning import DEFAULT_MEMORY, Elements, plan_passes
from symjax.metrics.streaming import seconds_of_pass
from symjax.so3.quadrature import Quadrature, quadrature
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
    function: Any,
    x: Any,
    *,
    representations: Any,
    action: Any = VECTOR,
    args: tuple[Any, ...] = (),
    max_degree: int = 6,
    grid: int | Quadrature | None = None,
    method: str = "factorised",
    memory: int = DEFAULT_MEMORY,
    batch_size: int | None = None,
) -> Estimate:
    """Plans a measurement and times one call of every kind of pass.

    Takes the arguments of :func:`~symjax.metrics.measure`, with a fixed grid and
    without symmetry. What it compiles for a call, the measurement finds again.

    Args:
      function: The function to be measured.
      x: Input pytree.
      representations: Of every output leaf.
      action: How O(3) acts on ``x``.
      args: Further arguments of the function.
      max_degree: Largest projected degree.
      grid: Degree of the quadrature, or a rule.
      method: ``"factorised"`` or ``"dense"``.
      memory: Budget in bytes.
      batch_size: Elements evaluated at once.

    Returns:
      The estimate.

    Raises:
      ArgumentError: The grid is no fixed one, or the memory too small.

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.metrics import estimate
      >>> from symjax.so3 import VECTOR
      >>> cost = estimate(lambda x: x.sum(0), jnp.eye(3), representations=VECTOR)
      >>> cost.num_elements, cost.num_passes
      (2072, 1)
    """
    if grid is not None and not isinstance(grid, int | np.integer | Quadrature):
        raise ArgumentError(
            "grid", grid, "has no fixed number of elements", "Pass a degree or a rule"
        )
    if not isinstance(grid, Quadrature):
        grid = quadrature(2 * max_degree + 1 if grid is None else int(grid))
    move = orbit.as_action(action)
    leaves = describe(orbit.output_shapes(function, move, x, args), representations)
    elements = Elements(grid, None)
    passes = plan_passes(
        function,
        move,
        x,
        args,
        leaves,
        elements,
        max_degree,
        method=method,
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
