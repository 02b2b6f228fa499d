"""Unbiased estimates of V, ||z||^2 and ||P u||^2 from random rotations of a set.

A *turn* t is a fixed set of rotations s_1 .. s_M times a Haar-random rotation R_t, each
with its negative: 2 M elements of O(3), each Haar-distributed. The set is the identity
alone (independent pairs R, -R), the rotations of a finite group, or any other. With
m_t the mean of z over a turn, q_t the mean of ||z||^2, and e, o the even and odd parts
of u under inversion,

    V = E[q] - E_{t != t'}[<m_t, m_t'>],
    ||P_{l,sigma} u||^2 = (2l+1) E_{t != t'}[mean over both sets of chi_l(g^-1 h)
                          <a(g), a(h)>],

with a = e if sigma (-1)^l = +1 and a = o otherwise, and chi_l the character of SO(3).
Products within a turn are left out, because the elements of a turn are not independent:
the square of a sample mean is biased. Two turns are enough. Only Gram matrices of the
responses are needed, so every degree costs the same.

For a nearly equivariant model most of the response is known: u(g) = rho(g) m + r(g),
whose first term lies in the sectors of rho only, with powers ||m||^2. With m from a
separate turn, independent of those that are used,

    ||P u||^2 = ||P r||^2 + [in a sector of rho] (||m||^2 + 2 E[<m, z - m>]),

so that the error of the powers decreases with r.

Each quantity is stored as one number per turn, a *row*, whose mean over the turns is
the estimate. Rows of several samples can be added, and standard errors follow from
leaving out one turn at a time.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from symjax.metrics.moments import irrep_starts
from symjax.metrics.pieces import Leaf, spherical_values
from symjax.metrics.turn_averages import Cosets
from symjax.so3.representations import spherical_matrix_table

# Number of entries of Gram matrices that are held at the same time.
_HELD = 2**22


class Rows(NamedTuple):
    """One number per turn for each quantity; the mean over turns is the estimate.

    Attributes:
      variance: V of each irrep, ``(samples, irreps, turns)``.
      norm: ||z||^2, of the same shape.
      power: ||P_{l,sigma} u||^2, ``(samples, irreps, degrees, 2, turns)``. If a turn
        serves as reference, it is missing from ``power`` and ``norm``; their ratio B is
        more accurate than either.
    """

    variance: Float[np.ndarray, "samples irreps turns"]
    norm: Float[np.ndarray, "samples irreps turns"]
    power: Float[np.ndarray, "samples irreps degrees 2 turns"]

    @property
    def turns(self) -> int:
        """Number of turns."""
        return self.norm.shape[-1]

    def of(self, select: Bool[np.ndarray, "samples"]) -> "Rows":
        """The sum over some samples."""
        return Rows(*(array[select].sum(axis=0) for array in self))

    def without_one(self) -> "Rows":
        """The estimates without each turn in turn, along the last axis.

        Needs three turns or more. Without turn t, a U-statistic U of n turns with rows
        r_t is (n U - 2 r_t) / (n - 2), and a mean is (n U - r_t) / (n - 1).
        """
        norm, n = self.norm, self.norm.shape[-1]
        return Rows(
            without_a_pair(self.variance),
            (norm.sum(-1, keepdims=True) - norm) / (n - 1),
            without_a_pair(self.power),
        )


def without_a_pair(rows: np.ndarray) -> np.ndarray:
    """A U-statistic of pairs of turns, without each of the turns."""
    return (rows.sum(-1, keepdims=True) - 2 * rows) / (rows.shape[-1] - 2)


def squared_errors(rows: Rows) -> Rows:
    """Squared standard errors by the jackknife, which rather overestimates them."""
    return Rows(*map(jackknife, rows.without_one()))


def jackknife(estimates: Float[np.ndarray, "*shape turns"]) -> np.ndarray:
    """(n - 1) / n sum (estimate - mean)^2, over estimates that each lack one turn."""
    n = estimates.shape[-1]
    centred = estimates - estimates.mean(-1, keepdims=True)
    return (n - 1) / n * np.square(centred).sum(-1)


def characters(angle: np.ndarray, max_degree: int) -> Iterator[np.ndarray]:
    """Characters chi_l of rotations by some angles, for l = 0, 1, ..., max_degree.

    chi_l(theta) = sin((2l+1) theta/2) / sin(theta/2), evaluated by the stable
    recurrence chi_{l+1} = chi_l + 2 cos((l+1) theta).
    """
    value = np.ones_like(angle)
    yield value
    for degree in range(1, max_degree + 1):
        value = value + 2 * np.cos(degree * angle)
        yield value


def both_cosets(
    rotations: Float[np.ndarray, "*batch turns members 3 3"],
) -> Float[np.ndarray, "*batch elements 3 3"]:
    """The elements of some turns: each rotation, followed by its negative."""
    both = np.stack([rotations, -rotations], axis=-3)
    return both.reshape(*rotations.shape[:-4], -1, 3, 3)


def estimate_rows(
    leaf: Leaf,
    responses: Float[np.ndarray, "elements samples ..."],
    rotations: Float[np.ndarray, "items turns members 3 3"],
    max_degree: int,
    owner: Int[np.ndarray, "samples"] | None = None,
    reference: bool = False,
    cosets: Sequence[Cosets] = (),
) -> tuple[
    Rows,
    Float[np.ndarray, "samples components channels"],
    Float[np.ndarray, "averages samples irreps turns"],
]:
    """Rows of every sample, the mean of z, and rows of V after averages.

    Args:
      leaf: Describes one response, with one sample axis (``leaf.compact``).
      responses: Responses at the elements of :func:`both_cosets`.
      rotations: The turns of each item; items are structures that were evaluated
        together, each at its own elements.
      max_degree: Largest degree of the projected sectors.
      owner: Index of the item of each sample; 0 by default.
      reference: Whether the mean m of the powers comes from the first turn, and not 0.
      cosets: Groups whose averages can be evaluated from a turn.

    Returns:
      The rows; the mean of z in spherical components; and rows of V after the average
      over each group of ``cosets``.
    """
    representation = leaf.representation
    num_samples, components, channels = leaf.spherical_shape
    items, turns, members = rotations.shape[:3]
    owner = np.zeros(num_samples, int) if owner is None else owner
    double = dataclasses.replace(leaf, dtype="float64")
    u = spherical_values(double, np.asarray(responses))
    z, matrices = u, None
    if not representation.is_trivial:
        elements = both_cosets(rotations).reshape(-1, 3, 3)
        matrices = spherical_matrix_table(representation, elements)
        matrices = matrices.reshape(items, -1, components, components)
        # For every sample the matrices of its item: z = rho^T u.
        matrices = np.swapaxes(matrices, 0, 1)[:, owner]
        z = np.swapaxes(matrices, -1, -2) @ u
    mean = z.mean(axis=0)
    # Powers are those of u - rho m, from the turns that m does not depend on.
    m, residual, sampled = np.zeros_like(mean), u, slice(None)
    if reference:
        m = z[: 2 * members].mean(axis=0)
        residual = u - (m if matrices is None else matrices @ m)
        sampled = slice(1, None)
    by_turn = (turns, members, 2, num_samples, components, channels)
    residual = residual.reshape(by_turn)[sampled].reshape(-1, *by_turn[2:])
    parities = np.stack(
        [residual[:, 0] + residual[:, 1], residual[:, 0] - residual[:, 1]]
    )
    parities /= 2
    deviations = (z.reshape(by_turn)[sampled] - m).mean(axis=(1, 2))
    z = (z - mean).reshape(by_turn)  # the shift avoids cancellation in the variance
    squares = np.square(u.reshape(by_turn)).mean(axis=(1, 2)).sum(axis=-1)
    spread = np.square(z).mean(axis=(1, 2)).sum(axis=-1)
    means = z.mean(axis=(1, 2))  # (turns, samples, components, channels)
    angle = angles_between(rotations[:, sampled])
    num_sampled = len(deviations)

    irreps = len(representation.irreps)
    variance = np.empty((num_samples, irreps, turns))
    norm = np.empty((num_samples, irreps, num_sampled))
    power = np.empty((num_samples, irreps, max_degree + 1, 2, num_sampled))
    averaged = np.empty((len(cosets), num_samples, irreps, turns))
    elements_of_turn = z.reshape(turns, 2 * members, *z.shape[3:])
    chunk = max(1, _HELD // (num_sampled * members) ** 2)
    for number, start in enumerate(irrep_starts(representation)):
        irrep = representation.irreps[number]
        part = slice(start, start + irrep.dimension)
        norm[:, number] = squares[sampled, :, part].sum(axis=-1).T
        q = spread[..., part].sum(axis=-1).T
        of_irrep = np.swapaxes(means[:, :, part].reshape(turns, num_samples, -1), 0, 1)
        # sum over t' != t of <m_t, m_t'>, without any matrix
        others = np.einsum("stk,sk->st", of_irrep, of_irrep.sum(axis=1))
        others -= np.square(of_irrep).sum(axis=-1)
        # V is the U-statistic of (q_t + q_t') / 2 - <m_t, m_t'>.
        variance[:, number] = _of_pairs(q) - others / (turns - 1)
        for after, one in zip(averaged, cosets, strict=True):
            kept = elements_of_turn[:, one.members][..., part, :].mean(axis=2)
            q = np.square(kept).mean(axis=1).sum(axis=(-1, -2)).T
            after[:, number] = _of_pairs(q) - others / (turns - 1)
        for first in range(0, num_samples, chunk):
            block = slice(first, first + chunk)
            power[block, number] = _power_rows(
                parities[:, :, block, part],
                angle,
                owner[block],
                num_sampled,
                max_degree,
            )
        if reference and irrep.degree <= max_degree:
            constant = np.square(m[:, part]).sum(axis=(1, 2))[:, None]
            crossed = 2 * np.einsum("sck,tsck->st", m[:, part], deviations[:, :, part])
            column = 0 if irrep.sigma == 1 else 1
            power[:, number, irrep.degree, column] += constant + _of_pairs(crossed)
    return Rows(variance, norm, power), mean, averaged


def _of_pairs(rows: Float[np.ndarray, "samples turns"]) -> np.ndarray:
    """Rows of the U-statistic of (c_t + c_t') / 2, whose mean is that of c."""
    others = rows.sum(axis=1, keepdims=True) - rows
    return (rows + others / (rows.shape[1] - 1)) / 2


def angles_between(
    rotations: Float[np.ndarray, "items turns members 3 3"],
) -> Float[np.ndarray, "items elements elements"]:
    """Rotation angles of g^-1 h for all pairs of rotations of an item."""
    items, turns, members = rotations.shape[:3]
    flat = rotations.reshape(items, turns * members, 9)
    cosine = (flat @ np.swapaxes(flat, 1, 2) - 1) / 2
    return np.arccos(np.clip(cosine, -1.0, 1.0))


def _power_rows(
    parts: np.ndarray, angle: np.ndarray, owner: np.ndarray, turns: int, degree: int
) -> np.ndarray:
    """Rows of ||P u||^2 for some samples: ``(samples, degrees, 2, turns)``."""
    num = parts.shape[1]
    members = num // turns
    rows = np.moveaxis(parts, 2, 0).reshape(len(owner), 2, num, -1)
    gram = rows @ np.swapaxes(rows, -1, -2)
    turn_of = np.arange(num) // members
    gram[..., turn_of[:, None] == turn_of] = 0.0
    out = np.empty((len(owner), degree + 1, 2, turns))
    scale = members**2 * (turns - 1)
    shared = len(angle) == 1
    for l, chi in enumerate(characters(angle, degree)):  # noqa: E741
        weights = chi if shared else chi[owner]
        summed = np.einsum(
            "spij,sij->spi", gram, np.broadcast_to(weights, (len(owner), num, num))
        )
        by_turn = summed.reshape(len(owner), 2, turns, members).sum(-1)
        by_turn *= (2 * l + 1) / scale
        # sigma = +1 has sigma (-1)^l = +1 for even l: the even part
        out[:, l] = by_turn if l % 2 == 0 else by_turn[:, ::-1]
    return out
