"""Estimates of the time and memory that a measurement will take."""

import collections
import dataclasses
import functools
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from scipy.spatial.transform import Rotation

from symjax.errors import ArgumentError
from symjax.metrics.accumulation import CHUNK_OF_A_BUFFER, contract, empty, placed
from symjax.metrics.functions import HostFunction
from symjax.metrics.grid import Grid
from symjax.metrics.pieces import Leaf, Piece, spherical_matrices
from symjax.metrics.planning import (
    Elements,
    Plan,
    default_batch_size,
    plan_passes,
)
from symjax.metrics.problem import (
    DEFAULT_MEMORY,
    Execution,
    Prepared,
    Problem,
    as_problem,
    check_degree,
    prepare,
)
from symjax.metrics.sampled import BLOCK, HaarSamples
from symjax.metrics.streaming import Steps
from symjax.so3.representations import FEATURE, VECTOR

# Additions are timed on coefficients of this many bytes, which exceed the cache.
_TIMED_BYTES = 2**28


@dataclasses.dataclass(frozen=True)
class Estimate:
    """The estimated cost of a measurement.

    Attributes:
      num_elements: Number of evaluations of the function, over all passes.
      num_passes: Passes over the orbit; more than one if the coefficients of all
        outputs together do not fit the memory.
      seconds: Time for the evaluations and the accumulation of their results, from
        timed calls, without compilation.
      memory: Bytes of the arrays of the largest pass: intermediates, responses,
        spectra and coefficients; without libraries and model.

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
    over: Grid | HaarSamples | None = None,
    max_degree: int = 6,
    memory: int = DEFAULT_MEMORY,
    batch_size: int | None = None,
) -> Estimate:
    """Estimates the cost of a measurement, by timing one call of every kind of pass.

    Takes the arguments of :func:`~symjax.metrics.measure`. A symmetry of the problem is
    ignored. The measurement reuses what is compiled here.

    Args:
      problem: The problem, or a function.
      x: Input of the function.
      representations: Representations of the outputs of the function.
      action: How O(3) acts on ``x``.
      args: Further arguments of the function.
      over: The grid, of degree ``2 * max_degree + 1`` by default; or random elements.
      max_degree: Largest projected degree.
      memory: Budget in bytes.
      batch_size: Elements evaluated at once.

    Returns:
      The estimate.

    Raises:
      ArgumentError: ``over`` has no fixed number of elements, the memory is too small,
        or another argument has an invalid value.
      RepresentationError: A representation does not fit its output.
      GridError: The grid is too coarse for ``max_degree``.

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.metrics import estimate
      >>> from symjax.so3 import VECTOR
      >>> cost = estimate(lambda x: x.sum(0), jnp.eye(3), representations=VECTOR)
      >>> cost.num_elements, cost.num_passes
      (2016, 1)
    """
    over = Grid() if over is None else over
    if not isinstance(over, Grid | HaarSamples):
        raise ArgumentError(
            "over",
            over,
            "has no fixed number of elements",
            "Pass for instance Grid(13)",
        )
    max_degree = check_degree(max_degree)
    given = as_problem(problem, x, representations, action, args)
    prepared = prepare(given, Execution(memory, batch_size), representations)
    if isinstance(over, HaarSamples):
        return _of_samples(prepared, over)
    elements = Elements(over.of_degree(max_degree), None)
    passes = plan_passes(prepared, elements, max_degree)
    timed: dict[tuple[Any, ...], float] = {}
    seconds = 0.0
    for pieces, plan in passes:
        # Pieces of one length take as long wherever they start.
        kind = (tuple(pieces), plan.calls_per_buffer)
        if kind not in timed:
            timed[kind] = _seconds_of_pass(prepared, pieces, elements, plan)
        seconds += timed[kind]
    return Estimate(
        elements.num_elements * len(passes),
        len(passes),
        seconds,
        max(plan.num_bytes for _, plan in passes),
    )


def _seconds_of_pass(
    prepared: Prepared, pieces: Sequence[Piece], elements: Elements, plan: Plan
) -> float:
    """Time of a pass, from that of one call and some additions.

    Compilation and the work at the end of a pass are not included.
    """
    steps = Steps.of(pieces, elements, plan)
    rotations = steps.slots.rotations(steps.slots.of_call(0))
    wholes = [piece.whole for piece in pieces]
    respond = functools.partial(prepared.respond, rotations, wholes, plan.vectorised)
    jax.block_until_ready(respond())
    responses, seconds = _timed(respond)
    matrices = spherical_matrices(steps.leaves, rotations)
    with jax.enable_x64(True):
        states, buffers = steps.empty(several=False)
        responses = placed(responses, isinstance(buffers[0][0], np.ndarray))
        references = steps.references(responses, matrices)
        sums = [state.moments for state in states]
        add = functools.partial(
            steps.accumulate, 0, responses=responses, references=references
        )
        sums, buffers = jax.block_until_ready(add(sums, buffers, matrices=matrices))
        _, adding = _timed(lambda: add(sums, buffers, matrices=matrices))
    del add, responses, buffers
    seconds = (seconds + adding) * plan.num_calls
    if plan.num_buffers > 1:
        seconds += plan.num_buffers * _seconds_of_contraction(steps)
    return seconds


def _seconds_of_contraction(steps: Steps) -> float:
    """Time to add a buffer to the coefficients, from that for part of the values."""
    plan, tables = steps.plan, steps.tables
    maps = tables.of_buffer(steps.slots, 0)
    sizes: collections.Counter[tuple[tuple[int, ...], str]] = collections.Counter()
    for leaf, through in zip(steps.leaves, steps.degrees, strict=True):
        sizes[through, leaf.compute_dtype] += leaf.size
    seconds = 0.0
    for (through, dtype), size in sizes.items():
        update = [maps[key] for key in enumerate(through)]
        rows = sum(len(part) for part in jax.tree.leaves(update))
        most = _TIMED_BYTES // (2 * rows * np.dtype(dtype).itemsize)
        part = Leaf(FEATURE, (1, min(size, max(most, CHUNK_OF_A_BUFFER))), dtype)
        with jax.enable_x64(True):
            ((_, sums),), (buffer,) = empty(
                (part,),
                (tables.projectors(through),),
                plan.parts,
                plan.nodes_per_buffer,
                several=True,
            )
            sums = jax.block_until_ready(contract(sums, buffer, update))
            _, each = _timed(functools.partial(contract, sums, buffer, update))
        seconds += each * size / part.size
    return seconds


def _timed(run: Callable[[], Any]) -> tuple[Any, float]:
    """The result of a function, and the seconds that it took."""
    start = time.perf_counter()
    out = jax.block_until_ready(run())
    return out, time.perf_counter() - start


def _of_samples(prepared: Prepared, over: HaarSamples) -> Estimate:
    """Times one call; a compiled function is called once before, to compile it."""
    own = [leaf.compact for leaf in prepared.leaves.values()]
    function = prepared.function
    alone = isinstance(function, HostFunction) and not function.batched
    number = 1 if alone else min(2 * over.num, default_batch_size())
    elements = Rotation.random(number, random_state=over.seed).as_matrix()

    def call() -> Any:
        if alone:
            return function(prepared.x, *prepared.args)
        return prepared.respond(elements, own, number)

    if not alone:
        jax.block_until_ready(call())
    _, seconds = _timed(call)
    held = sum(leaf.size for leaf in own) * 8 * 2 * min(over.num, BLOCK)
    return Estimate(2 * over.num, 1, seconds * 2 * over.num / number, held)
