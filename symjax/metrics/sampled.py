"""Unbiased estimates from Haar-random elements, with standard errors.

The elements come in pairs (R_i, -R_i), R_i Haar-random in SO(3). With the even and
odd parts e_i = (u(R_i) + u(-R_i)) / 2 and o_i = (u(R_i) - u(-R_i)) / 2, and the
character chi_l of SO(3),

    ||P_{l,sigma} u||^2 = (2l+1) E_{i != j}[chi_l(R_i^-1 R_j) <a_i, a_j>],

with a = e where sigma (-1)^l = +1 and a = o elsewhere. The mean over pairs of
*different* elements (a U-statistic) is unbiased; the plain square of a sample mean is
not. The same holds for the variance, E||z||^2 - E_{i != j}<z_i, z_j>. Only Gram
matrices of the responses enter, so no Wigner matrix is needed and every degree costs
the same. Elements are streamed in blocks whose estimates are averaged; standard errors
come from the jackknife within each block, which errs on the large side where an
estimate is dominated by noise.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from symjax.errors import ArgumentError
from symjax.metrics import orbit
from symjax.metrics.moments import irrep_starts
from symjax.metrics.planning import default_batch_size
from symjax.metrics.problem import Prepared, run
from symjax.metrics.results import (
    LeafMeasurement,
    Measurement,
    Totals,
    unflatten_mean,
)
from symjax.so3 import representations as reps
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


def characters_of(rotations: np.ndarray, max_degree: int) -> np.ndarray:
    """chi_l(R_i^-1 R_j) for all pairs of elements and degrees.

    chi_l(theta) = sin((2l+1) theta/2) / sin(theta/2), evaluated by the stable
    recurrence chi_{l+1} = chi_l + 2 cos((l+1) theta).

    Args:
      rotations: Proper rotations, shape ``(group, 3, 3)``.
      max_degree: Largest degree.

    Returns:
      Array of shape ``(max_degree + 1, group, group)``.

    Example:
      >>> import numpy as np
      >>> from symjax.metrics.sampled import characters_of
      >>> characters_of(np.eye(3)[None], 2)[:, 0, 0].tolist()
      [1.0, 3.0, 5.0]
    """
    flat = rotations.reshape(len(rotations), 9)
    cosine = np.clip((flat @ flat.T - 1) / 2, -1.0, 1.0)
    angle = np.arccos(cosine)
    out = [np.ones_like(angle)]
    for degree in range(1, max_degree + 1):
        out.append(out[-1] + 2 * np.cos(degree * angle))
    return np.stack(out)


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
        chi = characters_of(block, max_degree)
        for (name, leaf), values in zip(leaves.items(), responses, strict=True):
            values = np.asarray(values)[: len(elements)]
            orbit.check_finite(name, values, elements)
            collected[name].append(
                _estimate_block(
                    leaf,
                    values,
                    elements,
                    chi,
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
    """Estimates of one block; ``*_error`` are squared standard errors of totals."""

    mean: np.ndarray
    variance: np.ndarray
    norm: np.ndarray
    power: np.ndarray
    variance_error: np.ndarray
    norm_error: np.ndarray
    power_error: np.ndarray
    num: int


def _u_statistic(gram: np.ndarray) -> np.ndarray:
    """Mean of the off-diagonal entries of the last two axes."""
    n = gram.shape[-1]
    total = gram.sum((-2, -1)) - np.trace(gram, axis1=-2, axis2=-1)
    return total / (n * (n - 1))


def _jackknife(gram: np.ndarray) -> np.ndarray:
    """Squared standard error of the U-statistic, by leaving out one element."""
    n = gram.shape[-1]
    diagonal = np.diagonal(gram, axis1=-2, axis2=-1)
    off = gram.sum((-2, -1)) - diagonal.sum(-1)
    row = gram.sum(-1) - diagonal
    without = (off[..., None] - 2 * row) / ((n - 1) * (n - 2))
    return (n - 1) / n * np.square(without - without.mean(-1, keepdims=True)).sum(-1)


def _estimate_block(
    leaf: Any,
    responses: np.ndarray,
    elements: np.ndarray,
    chi: np.ndarray,
    mask: np.ndarray,
) -> _Block:
    representation = leaf.representation
    starts = irrep_starts(representation)
    with jax.enable_x64(True):
        flat = jnp.asarray(responses, jnp.float64).reshape(len(elements), *leaf.shape)
        direct = reps.to_spherical(representation, flat)
        rotated = direct
        if not representation.is_trivial:
            matrices = reps.spherical_matrix(representation, jnp.asarray(elements))
            rotated = jnp.einsum("gij,gsic->gsjc", matrices, direct)
    u, z = np.asarray(direct), np.asarray(rotated)
    mean = z.mean(axis=0)
    z = z - mean  # a shift leaves the variance alone and saves its digits
    pairs = z.reshape(-1, 2, *z.shape[1:])
    halves = u.reshape(-1, 2, *u.shape[1:])
    even, odd = halves.mean(axis=1), (halves[:, 0] - halves[:, 1]) / 2

    num_samples, num_irreps = u.shape[1], len(representation.irreps)
    degrees = np.arange(len(chi))
    scale = (2 * degrees + 1)[:, None, None] * chi
    parity = (-1) ** degrees
    variance = np.zeros((num_samples, num_irreps))
    norm = np.zeros_like(variance)
    power = np.zeros((num_samples, num_irreps, len(chi), 2))
    grams = np.zeros((num_irreps, 3, len(chi[0]), len(chi[0])))
    squares = np.zeros((num_irreps, 2, len(chi[0])))
    for k, start in enumerate(starts):
        stop = start + representation.irreps[k].dimension
        for s in range(num_samples):
            rows_e, rows_o, rows_z, rows_u = (
                array[..., s, start:stop, :].reshape(len(chi[0]), -1)
                for array in (even, odd, pairs.mean(axis=1), halves)
            )
            gram = np.stack([rows @ rows.T for rows in (rows_e, rows_o, rows_z)])
            spread = np.square(pairs[:, :, s, start:stop]).sum((1, 2, 3)) / 2
            size = np.square(rows_u).sum(-1) / 2
            variance[s, k] = spread.mean() - _u_statistic(gram[2])
            norm[s, k] = size.mean()
            by_parity = np.einsum("lij,pij->lpij", scale, gram[:2])
            estimate = _u_statistic(by_parity)
            # sigma = +1 has sigma (-1)^l = +1 for even l: the even part
            power[s, k, :, 0] = np.where(parity == 1, estimate[:, 0], estimate[:, 1])
            power[s, k, :, 1] = np.where(parity == 1, estimate[:, 1], estimate[:, 0])
            if mask[s]:
                grams[k] += gram
                squares[k] += np.stack([spread, size])

    n = len(chi[0])
    power_error = np.zeros((num_irreps, len(chi), 2))
    variance_error = np.zeros(num_irreps)
    for k in range(num_irreps):
        errors = _jackknife(np.einsum("lij,pij->lpij", scale, grams[k, :2]))
        power_error[k, :, 0] = np.where(parity == 1, errors[:, 0], errors[:, 1])
        power_error[k, :, 1] = np.where(parity == 1, errors[:, 1], errors[:, 0])
        # V is the U-statistic of (s_i + s_j)/2 - <z_i, z_j>
        kernel = (squares[k, 0][:, None] + squares[k, 0]) / 2 - grams[k, 2]
        variance_error[k] = _jackknife(kernel)
    norm_error = squares[:, 1].var(axis=1, ddof=1) / n
    return _Block(
        mean, variance, norm, power, variance_error, norm_error, power_error, n
    )


def _combine(
    name: str,
    leaf: Any,
    samples: tuple[int, ...],
    mask: np.ndarray,
    blocks: list[_Block],
) -> LeafMeasurement:
    """Averages the blocks, weighted by their sizes."""
    weights = np.array([block.num for block in blocks], float)
    weights /= weights.sum()

    def average(field: str) -> np.ndarray:
        return np.tensordot(weights, [getattr(b, field) for b in blocks], axes=1)

    def error(field: str) -> np.ndarray:
        squares = np.tensordot(weights**2, [getattr(b, field) for b in blocks], axes=1)
        return np.sqrt(squares)

    representation = leaf.representation
    power = average("power")
    with jax.enable_x64(True):
        mean = unflatten_mean(representation, average("mean"), samples)
    return LeafMeasurement(
        name,
        representation,
        mean,
        average("variance").reshape(*samples, -1),
        average("norm").reshape(*samples, -1),
        power.reshape(*samples, *power.shape[1:]),
        mask,
        leaf.axes[2],
        None,
        Totals(
            error("variance_error"),
            error("norm_error"),
            error("power_error"),
            np.zeros(len(representation.irreps)),
        ),
    )
