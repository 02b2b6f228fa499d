"""Measurement of one structure at random elements: unbiased, with standard errors.

Elements are pairs (R, -R) with R Haar-random in SO(3), or random rotations of a finite
group (:mod:`symjax.metrics.turn_averages`). They are evaluated in blocks, whose
estimates (:mod:`symjax.metrics.unbiased`) are averaged. The first of each block serves
as a reference for the powers, so that B of a nearly equivariant model is accurate after
a few evaluations. Standard errors come from the jackknife within each block, which
overestimates them if an estimate is dominated by noise.

There is no aliasing: an estimate is as good as its standard error, which the
certificate states.
"""

import dataclasses
import math
from collections.abc import Iterable, Sequence

import jax
import numpy as np

from symjax.errors import ArgumentError
from symjax.metrics import arguments, orbit
from symjax.metrics.adaptive import ROUND_OFF
from symjax.metrics.pieces import Leaf
from symjax.metrics.planning import default_batch_size
from symjax.metrics.problem import Prepared, run
from symjax.metrics.results import LeafMeasurement, Measurement, Totals, unflatten_mean
from symjax.metrics.turn_averages import (
    AveragedVariance,
    Cosets,
    SampledResponse,
    cosets_of,
    turn_members,
)
from symjax.metrics.unbiased import (
    Rows,
    both_cosets,
    estimate_rows,
    jackknife,
    squared_errors,
    without_a_pair,
)
from symjax.metrics.verdicts import (
    CONFIDENCE,
    Certificate,
    Convergence,
    excluded_part,
)
from symjax.so3.sampling import check_rotations_fit, haar

BLOCK = 256
"""Rotations of a block, whose responses are held at the same time."""
# One of them serves as reference. With the other seven, two standard errors cover 91 %.
_LEAST_TURNS = 8
# Round-off of a response that averages do not remove, in epsilon, with a margin.
_NOISE = 16.0


@dataclasses.dataclass(frozen=True)
class HaarSamples:
    """Random group elements instead of a quadrature, for expensive functions.

    Estimates are unbiased and come with standard errors. An output is resolved and
    certified if two standard errors of each B, and of A relative to A, are within the
    tolerances.

    Attributes:
      num: Number of rotations R; each is paired with -R. At least eight times the
        number of rotations in a set (see ``turn``), and a multiple of it.
      turn: The set of rotations that is rotated at random as a whole: ``"C1"`` for
        independent rotations, a finite group of rotations, or ``"fibonacci 8"``. With a
        group, the error after averages over it and its subgroups is estimated too
        (:mod:`symjax.metrics.turn_averages`).
      seed: Random seed.
      content_tolerance: Accepted uncertainty of each B.
      error_tolerance: Accepted relative uncertainty of A.

    Raises:
      ArgumentError: An attribute has an invalid value.

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.metrics import HaarSamples, measure
      >>> from symjax.so3 import VECTOR
      >>> x = jnp.array([[1.0, 0.0, 0.0], [0.0, 2.0, 0.5]])
      >>> f = lambda x: x.sum(0) + 0.1 * jnp.sin(x[0])
      >>> result = measure(f, x, representations=VECTOR, over=HaarSamples(64, seed=1))
      >>> certificate = result["output"].certificate
      >>> certificate.certified, certificate.error_uncertainty < 0.2
      (True, True)
    """

    num: int
    turn: str = "C1"
    seed: int = 0
    content_tolerance: float = 0.05
    error_tolerance: float = 0.5

    def __post_init__(self) -> None:
        arguments.check_fractions(self, "content_tolerance", "error_tolerance")
        order = len(turn_members(self.turn))
        least = _LEAST_TURNS * order
        arguments.check_integers(self, num=least, seed=0)
        check_rotations_fit("num", self.num)
        if self.num % order:
            raise ArgumentError(
                "num",
                self.num,
                f"is not a multiple of the {order} rotations of turn {self.turn!r}",
                f"Pass {-(-self.num // order) * order}, or another turn",
            )

    @property
    def turns(self) -> int:
        """Number of independent random rotations."""
        return self.num // len(turn_members(self.turn))


@run.register
def _(over: HaarSamples, prepared: Prepared, max_degree: int) -> Measurement:
    """Estimates every output from random elements, with standard errors."""
    masks = prepared.masks
    leaves = {name: leaf.compact for name, leaf in prepared.leaves.items()}
    batch_size = prepared.execution.batch_size or default_batch_size()
    progress = prepared.execution.progress
    members = turn_members(over.turn)
    with jax.enable_x64(True):
        rotations = np.asarray(haar(jax.random.key(over.seed), over.turns))
    turns = members @ rotations[:, None]
    cosets = cosets_of(over.turn)
    prepared = prepared.replicated()
    num_blocks = -(-over.turns // max(BLOCK // len(members), 2 * _LEAST_TURNS))
    blocks = np.array_split(turns, num_blocks)
    collected: dict[str, list[_Block]] = {name: [] for name in leaves}
    done = 0
    for block in blocks:
        elements = both_cosets(block)
        # Blocks may differ by one turn; padding keeps one compiled program.
        size = 2 * len(blocks[0]) * len(members)
        padded = -(-size // batch_size) * batch_size
        filler = np.broadcast_to(np.eye(3), (padded - len(elements), 3, 3))
        responses = prepared.respond(
            np.concatenate([elements, filler]),
            leaves.values(),
            min(batch_size, padded),
            shared=True,
        )
        for (name, leaf), values in zip(leaves.items(), responses, strict=True):
            values = np.asarray(values)[: len(elements)]
            orbit.check_finite(name, values, elements)
            collected[name].append(
                _estimate_block(
                    *(leaf, values, block, max_degree),
                    masks[name].reshape(-1),
                    cosets if name in prepared.outputs else (),
                )
            )
        done += len(elements)
        if progress is not None:
            progress(done, 2 * over.num)
    results = {
        name: _combine(
            *(name, leaf, prepared.leaves[name].axes[0], masks[name], collected[name]),
            over,
        )
        for name, leaf in leaves.items()
    }
    for name, unit in prepared.outputs.items():
        epsilon = leaves[name].epsilon
        response = _response(results[name], unit, collected[name], cosets, epsilon)
        results[name] = dataclasses.replace(results[name], response=response)
    of_sets = "" if over.turn == "C1" else f" in turns of {over.turn}"
    return Measurement(
        results,
        f"{over.num} Haar-random pairs{of_sets} (seed {over.seed})",
        None,
        2 * over.num,
        max_degree,
    )


@dataclasses.dataclass(frozen=True)
class _Block:
    """Estimates of one block for each sample, and squared errors of their sums.

    ``summed`` holds the estimates of each turn for all samples together, ``averaged``
    those of V after averages over groups.
    """

    mean: np.ndarray
    estimates: Rows
    squares: Rows
    summed: Rows
    averaged: np.ndarray
    num: int


def _estimate_block(
    leaf: Leaf,
    responses: np.ndarray,
    block: np.ndarray,
    max_degree: int,
    mask: np.ndarray,
    cosets: Sequence[Cosets],
) -> _Block:
    rows, mean, averaged = estimate_rows(
        *(leaf, responses, block[None], max_degree), reference=True, cosets=cosets
    )
    estimates = Rows(*(array.mean(axis=-1) for array in rows))
    chosen = rows.of(mask)
    summed = Rows(*(array.sum(axis=0) for array in chosen))
    after = averaged[:, mask].sum(axis=(1, 2))
    return _Block(mean, estimates, squared_errors(chosen), summed, after, len(block))


def _response(
    leaf: LeafMeasurement,
    unit: str,
    blocks: list[_Block],
    cosets: Sequence[Cosets],
    epsilon: float,
) -> SampledResponse:
    """V of the response and after averages, with squared standard errors."""
    weights = np.array([block.num for block in blocks], float)
    weights /= weights.sum()
    found = {}
    for number, (name, order) in enumerate(
        [("none", 1), *((one.average, one.members.shape[1]) for one in cosets)]
    ):
        rows = [
            block.averaged[number - 1] if number else block.summed.variance
            for block in blocks
        ]
        value = weights @ [row.mean() for row in rows]
        square = weights**2 @ [jackknife(without_a_pair(row)) for row in rows]
        found[name] = AveragedVariance(order, float(value), float(square))
    totals = leaf.totals()
    noise = (_NOISE * epsilon) ** 2 * float(totals.norm.sum())
    count = int(totals.count.sum())
    return SampledResponse(leaf.name, unit, found, count, noise)


def _combine(
    name: str,
    leaf: Leaf,
    samples: tuple[int, ...],
    mask: np.ndarray,
    blocks: list[_Block],
    over: HaarSamples,
) -> LeafMeasurement:
    """Averages the blocks, weighted by their numbers of turns."""
    weights = np.array([block.num for block in blocks], float)
    weights /= weights.sum()

    def average(arrays: list[np.ndarray]) -> np.ndarray:
        return np.tensordot(weights, arrays, axes=1)

    def error(arrays: list[np.ndarray]) -> np.ndarray:
        return np.sqrt(np.tensordot(weights**2, arrays, axes=1))

    representation = leaf.representation
    variance, norm, power = map(
        average, map(list, zip(*(block.estimates for block in blocks), strict=True))
    )
    errors = Rows(
        *map(error, map(list, zip(*(block.squares for block in blocks), strict=True)))
    )
    mean = average([block.mean for block in blocks])
    found = LeafMeasurement(
        name,
        representation,
        unflatten_mean(representation, mean, samples),
        variance.reshape(*samples, -1),
        norm.reshape(*samples, -1),
        power.reshape(*samples, *power.shape[1:]),
        mask,
        leaf.axes[2],
        leaf.epsilon,
        None,
        Totals(
            errors.variance,
            errors.norm,
            errors.power,
            np.zeros(len(representation.irreps)),
        ),
    )
    certificate = _certify(over, found.totals(), blocks, weights, found.epsilon)
    verdict = Convergence(
        resolved=certificate.certified,
        content_change=certificate.content_uncertainty,
        error_change=certificate.error_uncertainty,
        remainder=found.remainder,
        degree_to_try=certificate.degree_to_try,
        reason=certificate.reason,
        error_uncertainty=certificate.error_uncertainty,
        excluded=certificate.excluded,
    )
    return dataclasses.replace(found, convergence=verdict, certificate=certificate)


def _certify(
    over: HaarSamples,
    totals: Totals,
    blocks: list[_Block],
    weights: np.ndarray,
    epsilon: float,
) -> Certificate:
    """Two standard errors of each B and of A, by leaving out one turn at a time."""
    norm, variance = float(totals.norm.sum()), float(totals.variance.sum())
    content = totals.content

    left = [block.summed.without_one() for block in blocks]

    def error(values: Iterable[np.ndarray]) -> np.ndarray:
        squares = [jackknife(array) for array in values]
        return np.sqrt(np.tensordot(weights**2, squares, axes=1))

    # P - B N has the standard error of P / N, times N.
    ratios = [one.power - content[..., None] * one.norm for one in left]
    largest = tail = relative = 0.0
    if norm > 0:
        largest = 2 * float(error(ratios).max()) / norm
        sums = [array.sum(axis=(0, 1)) for array in ratios]
        tail = max(totals.remainder, 0.0) + 2 * float(error(sums)) / norm
    floor = ROUND_OFF * epsilon
    vanishes = totals.relative_error <= floor
    if not vanishes:
        relative = float(error(one.variance for one in left)) / variance
    reason = ""
    if largest > over.content_tolerance:
        reason = f"each B is only known to {largest:.1g}"
    elif relative > over.error_tolerance:
        reason = f"A is only known to {relative:.0%}"
    # Standard errors decrease with the square root of the number.
    lacking = max(largest / over.content_tolerance, relative / over.error_tolerance)
    factor = max(math.ceil(lacking**2), 2) if reason else 1
    return Certificate(
        certified=not reason,
        degree=0,
        projected_degree=len(content) - 1,
        content_uncertainty=largest,
        error_uncertainty=relative,
        tail=tail,
        reason=reason,
        degree_to_try=factor * over.num,
        # A part with the symmetry of the group meets all rotations of a turn or none.
        excluded=excluded_part(over.turns),
        confidence=CONFIDENCE,
        noise=floor if vanishes and variance > 0 else 0.0,
        samples=over.num,
    )
