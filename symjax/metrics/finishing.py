"""The end of a stream: moments, sector powers and checks from the sums."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float

from symjax._arrays import fitting
from symjax.metrics import characters, moments, stabilizer
from symjax.metrics.accumulation import Reference, State, is_small
from symjax.metrics.characters import Projector
from symjax.metrics.pieces import Leaf, rotate_back
from symjax.metrics.planning import Elements
from symjax.metrics.stabilizer import LeafSymmetry


class Coarser(NamedTuple):
    """Results of one piece under a nested rule, per sample.

    Attributes:
      variance: E||z - mean||^2 for each irrep.
      norm: E||z||^2 for each irrep.
      power: ||P_{l,sigma} u||^2, through fewer degrees than under the full rule.
    """

    variance: Float[np.ndarray, "samples irreps"]
    norm: Float[np.ndarray, "samples irreps"]
    power: Float[np.ndarray, "samples irreps degrees 2"]


class Streamed(NamedTuple):
    """Results of one piece at the end of a stream; samples are the first axis of all.

    Attributes:
      fine: Moments under the full rule.
      power: ||P_{l,sigma} u||^2 for each sample, irrep, degree and sigma.
      coarser: The same under each nested rule, the finest first.
      misfit: ||u - û||^2 at random elements, û the projected sectors of u.
      overlap: <û, u - û> at the same elements.
      spread: ||z - mean||^2 at the same elements.
      round_off: Squared difference between responses at some of these elements and at
        the same ones rotated by a few eps; 0 if it was not measured.
    """

    fine: moments.Moments
    power: Float[np.ndarray, "samples irreps degrees 2"]
    coarser: tuple[Coarser, ...]
    misfit: Float[np.ndarray, "samples group"]
    overlap: Float[np.ndarray, "samples group"]
    spread: Float[np.ndarray, "samples group"]
    round_off: Float[np.ndarray, " samples"]

    @property
    def is_finite(self) -> bool:
        """Whether all sums, and therefore all responses, are finite."""
        sums = (self.fine.norm, self.power, self.misfit, self.spread)
        return all(bool(np.isfinite(array).all()) for array in sums)

    def divided(self, scale: float) -> "Streamed":
        """The same results for responses divided by ``scale``."""
        square = scale**2
        squares = jax.tree.map(lambda part: np.asarray(part) / square, self)
        mean = self.fine.mean / scale
        return squares._replace(fine=squares.fine._replace(mean=mean))


class AtChecks(NamedTuple):
    """One piece at the random elements.

    Attributes:
      responses: Direct responses on both cosets.
      rows: Rows that evaluate the projected part, see
        :func:`symjax.metrics.characters.synthesis_rows`.
      matrices: rho(g); None for a trivial representation.
    """

    responses: Float[Array, "group cosets c"]
    rows: Float[np.ndarray, "rows group"]
    matrices: Float[np.ndarray, "elements components components"] | None


def finish(
    leaf: Leaf,
    reference: Reference,
    state: State,
    checks: AtChecks,
    elements: Elements,
    symmetry: LeafSymmetry | None,
    projectors: tuple[Projector, ...],
) -> Streamed:
    """Computes moments, sector powers and checks of one piece from its sums."""
    representation = leaf.representation
    shape = leaf.spherical_shape
    sums = state.moments
    assert state.coefficients is not None
    arrays = state.coefficients, reference, checks.responses, checks.matrices
    if is_small(state.coefficients):
        arrays = jax.device_get(arrays)
    blocks, reference, responses, matrices = arrays

    def run(compiled: Any) -> Any:
        return fitting(compiled, arrays)

    if representation.is_trivial:
        sums = sums._replace(first=run(_first_moments)(blocks, shape))
    epsilon = leaf.epsilon

    def moments_under(rule: int) -> moments.Moments:
        return moments.finalize(
            sums,
            representation,
            reference.rotated,
            elements.num_elements,
            epsilon,
            rule=rule,
            symmetry=symmetry,
        )

    fine = moments_under(0)
    spread = run(_spread)(leaf, responses, reference, matrices, fine.mean)
    direct = reference.direct.reshape(-1)
    if symmetry is not None:
        # One sample of each orbit suffices.
        blocks = [
            _averaged(projector, symmetry, part, run)
            for projector, part in zip(projectors, blocks, strict=True)
        ]
        responses, direct = (
            run(_samples)(array, shape[0], symmetry.first)
            for array in (responses, direct)
        )
        shape = (len(symmetry.first), *shape[1:])
    starts = moments.irrep_starts(representation)
    power = [
        np.moveaxis(
            np.add.reduceat(np.asarray(power, np.float64), starts, axis=-1),
            (0, 1),
            (2, 3),
        )
        for power in run(_powers)(projectors, blocks, direct, shape)
    ]
    misfit = np.asarray(
        run(_misfit)(responses, direct, blocks[0], checks.rows, shape[0]), np.float64
    )
    if symmetry is not None:
        power = [np.take(part, symmetry.number, axis=0) for part in power]
        misfit = np.take(misfit, symmetry.number, axis=2)
    coarser = []
    for rule in range(1, len(projectors)):
        under = moments_under(rule)
        coarser.append(Coarser(under.variance, under.norm, power[rule]))
    return Streamed(
        fine,
        power[0],
        tuple(coarser),
        misfit[0].T,
        misfit[1].T,
        np.asarray(spread, np.float64).T,
        np.zeros(fine.norm.shape[0]),
    )


@functools.partial(jax.jit, static_argnames=("shape",))
def _first_moments(
    blocks: list[list[Array]], shape: tuple[int, int, int]
) -> Float[Array, "rules samples components channels"]:
    """Mean of a centred response under each rule, from its coefficients with l = 0."""
    xp = blocks[0][0].__array_namespace__()
    first = xp.stack([one[0][0].mean(axis=0) for one in blocks])
    return first.reshape(len(first), *shape)


def _averaged(
    projector: Projector,
    symmetry: LeafSymmetry,
    blocks: list[Array],
    run: Callable[[Any], Any],
) -> list[Array]:
    """Coefficients of one sample of each orbit, averaged over the symmetry."""
    joined = stabilizer.average_coefficients(
        projector,
        symmetry.reduced,
        symmetry.permutations,
        run(characters.join_blocks)(blocks),
    )
    ends = np.cumsum([len(layout.degrees) for layout in projector.blocks])
    return run(_split)(joined, tuple(ends[:-1].tolist()))


@functools.partial(jax.jit, static_argnames=("ends",))
def _split(joined: Array, ends: tuple[int, ...]) -> list[Array]:
    xp = joined.__array_namespace__()
    return xp.split(xp.swapaxes(joined, 0, 1), ends)


@functools.partial(jax.jit, static_argnames=("num_samples",))
def _samples(values: Array, num_samples: int, chosen: Array) -> Array:
    """Entries of the last axis that belong to some samples."""
    by_sample = values.reshape(*values.shape[:-1], num_samples, -1)
    return by_sample[..., chosen, :].reshape(*values.shape[:-1], -1)


@functools.partial(jax.jit, static_argnames=("leaf",))
def _spread(
    leaf: Leaf,
    responses: Array,
    reference: Reference,
    matrices: Float[np.ndarray, "elements components components"] | None,
    mean: Array,
) -> Float[Array, "group samples"]:
    """||z - mean||^2 at random elements, averaged over both cosets."""
    direct = responses.reshape(-1, *leaf.spherical_shape)
    centred = rotate_back(matrices, direct) - reference.rotated
    shift = mean - reference.rotated.astype(mean.dtype)
    squares = ((centred - shift.astype(centred.dtype)) ** 2).sum((2, 3))
    return squares.reshape(-1, 2, squares.shape[-1]).mean(1)


@functools.partial(jax.jit, static_argnames=("num_samples",))
def _misfit(
    responses: Float[Array, "group cosets c"],
    reference: Float[Array, " c"],
    blocks: list[Array],
    rows: Float[Array, "rows group"],
    num_samples: int,
) -> Float[Array, "two group samples"]:
    """||u - û||^2 and <û, u - û> at random elements, û the projected sectors of u."""
    xp = responses.__array_namespace__()
    predicted = reference
    start = 0
    for block in blocks:
        part = rows[start : start + len(block)].astype(block.dtype)
        with jax.default_matmul_precision("highest"):
            predicted = predicted + xp.tensordot(part, block, axes=(0, 0))
        start += len(block)
    missed = responses - predicted
    both = xp.stack([missed**2, predicted * missed])
    return both.reshape(2, len(missed), 2, num_samples, -1).sum(-1).mean(2)


@functools.partial(jax.jit, static_argnames=("projectors", "shape"))
def _powers(
    projectors: tuple[Projector, ...],
    blocks: list[list[Array]],
    reference: Float[Array, " c"],
    shape: tuple[int, int, int],
) -> list[Float[Array, "degrees parities samples components"]]:
    # One program for all rules, because it is compiled for every shape of a leaf.
    return [
        characters.sector_power(projector, part, reference, shape)
        for projector, part in zip(projectors, blocks, strict=True)
    ]
