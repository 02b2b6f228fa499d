"""One structure, with random elements: unbiased estimates and standard errors.

Elements come in pairs (R, -R), R Haar-random in SO(3), and are streamed in blocks whose
estimates (:mod:`symjax.metrics.unbiased`) are averaged. Standard errors come from the
jackknife within each block, which errs on the large side where an estimate is dominated
by noise.
"""

import dataclasses

import jax
import numpy as np

from symjax.errors import ArgumentError
from symjax.metrics import orbit
from symjax.metrics.leaves import Leaf
from symjax.metrics.planning import default_batch_size
from symjax.metrics.problem import Prepared, run
from symjax.metrics.results import (
    LeafMeasurement,
    Measurement,
    Totals,
    unflatten_mean,
)
from symjax.metrics.unbiased import Rows, estimate_rows, squared_errors
from symjax.so3.sampling import haar

# Gram matrices of a block have this many rows; responses of one block are all that
# is held at a time.
_BLOCK = 256


@dataclasses.dataclass(frozen=True)
class HaarSamples:
    """Random group elements instead of a quadrature.

    Attributes:
      num: Number of random rotations R, at least 8; each is paired with -R.
      seed: Seed of the generator.

    Example:
      >>> from symjax.metrics import HaarSamples
      >>> HaarSamples(64, seed=1).num
      64
    """

    num: int
    seed: int = 0

    def __post_init__(self) -> None:
        for field, least in (("num", 8), ("seed", 0)):
            value = getattr(self, field)
            if (
                not isinstance(value, int | np.integer)
                or isinstance(value, bool)
                or value < least
            ):
                raise ArgumentError(
                    field,
                    value,
                    f"is not an integer from {least} up",
                    "Standard errors need 8 rotations at least"
                    if field == "num"
                    else "Pass a seed such as 0",
                )


@run.register
def _(over: HaarSamples, prepared: Prepared, max_degree: int) -> Measurement:
    """Estimates every leaf from random elements; its results carry standard errors."""
    samples, masks, devices = over, prepared.masks, prepared.devices
    leaves = {name: leaf.compact for name, leaf in prepared.leaves.items()}
    batch_size = prepared.execution.batch_size or default_batch_size()
    progress = prepared.execution.progress
    with jax.enable_x64(True):
        rotations = np.asarray(haar(jax.random.key(samples.seed), samples.num))
    x, args = orbit.replicate((prepared.x, prepared.args), devices)
    num_blocks = -(-samples.num // _BLOCK)
    blocks = np.array_split(rotations, num_blocks)
    keep = tuple(leaf.index for leaf in leaves.values())
    collected: dict[str, list[_Block]] = {name: [] for name in leaves}
    done = 0
    for block in blocks:
        elements = np.stack([block, -block], axis=1).reshape(-1, 3, 3)
        # Blocks differ by one element at most; padding keeps one compiled program.
        padded = -(-2 * len(blocks[0]) // batch_size) * batch_size
        filler = np.broadcast_to(np.eye(3), (padded - len(elements), 3, 3))
        responses = orbit.respond(
            prepared.function,
            prepared.action,
            x,
            np.concatenate([elements, filler]),
            args=args,
            keep=keep,
            batch_size=min(batch_size, padded),
            devices=devices,
        )
        for (name, leaf), values in zip(leaves.items(), responses, strict=True):
            values = np.asarray(values)[: len(elements)]
            orbit.check_finite(name, values, elements)
            collected[name].append(
                _estimate_block(
                    *(leaf, values, block, max_degree),
                    masks[name].reshape(-1),
                )
            )
        done += len(elements)
        if progress is not None:
            progress(done, 2 * samples.num)
    results = {
        name: _combine(
            *(name, leaf, prepared.leaves[name].axes[0], masks[name], collected[name])
        )
        for name, leaf in leaves.items()
    }
    return Measurement(
        results,
        f"{samples.num} Haar-random pairs (seed {samples.seed})",
        None,
        2 * samples.num,
        max_degree,
    )


@dataclasses.dataclass(frozen=True)
class _Block:
    """Estimates of one block, of each sample, and squared errors of their sums."""

    mean: np.ndarray
    estimates: Rows
    squares: Rows
    num: int


def _estimate_block(
    leaf: Leaf,
    responses: np.ndarray,
    block: np.ndarray,
    max_degree: int,
    mask: np.ndarray,
) -> _Block:
    turns = block[None, :, None]
    rows, mean = estimate_rows(leaf, responses, turns, max_degree)
    estimates = Rows(*(array.mean(axis=-1) for array in rows))
    return _Block(mean, estimates, squared_errors(rows.of(mask)), len(block))


def _combine(
    name: str,
    leaf: Leaf,
    samples: tuple[int, ...],
    mask: np.ndarray,
    blocks: list[_Block],
) -> LeafMeasurement:
    """Averages the blocks, weighted by their sizes."""
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
    with jax.enable_x64(True):
        mean = unflatten_mean(
            representation, average([block.mean for block in blocks]), samples
        )
    return LeafMeasurement(
        name,
        representation,
        mean,
        variance.reshape(*samples, -1),
        norm.reshape(*samples, -1),
        power.reshape(*samples, *power.shape[1:]),
        mask,
        leaf.axes[2],
        None,
        Totals(
            errors.variance,
            errors.norm,
            errors.power,
            np.zeros(len(representation.irreps)),
        ),
    )
