"""Spectral coefficients of an orbit response, and the character projections.

For one coset s (proper, s = +1, or improper, s = -1) the coefficients of a real
response u on the orbit are

    c^s_{l,mn} = integral over SO(3) of D^l_{mn}(R) u(s R) dmu(R),

and the squared norm of its character projection (Domina et al., arXiv:2603.24638, SI)
is

    ||P_{l,sigma} u||^2 = (2l+1)/4 sum_{mn} |c^+_{l,mn} + sigma (-1)^l c^-_{l,mn}|^2.

On a product grid D^l_{mn} = e^{-i m alpha} d^l_{mn}(beta) e^{-i n gamma}, so the
in-plane integral is a discrete Fourier transform, which is done first. Only n >= 0 is
kept, because u is real. The transform is a matrix product: for 14 to 100 in-plane
angles this is faster than an FFT, which needs the angles contiguous in memory, where
responses have channels.

Coefficients are stored as real rows, each with a degree and a weight, so that the power
of a sector is a weighted sum of squares of rows. Rows are grouped into blocks, one per
in-plane frequency: separate arrays of shape ``(rows, cosets, c)``, each the result of
one matrix product, which are never copied.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float

from symjax.so3.quadratures import Quadrature
from symjax.so3.wigner import euler_angles, small_d_tables


class Layout(NamedTuple):
    """The degree and weight of each row of a coefficient array.

    Attributes:
      degrees: Degree l of each row.
      weights: 1, or 2 for a row that also represents its complex conjugate.
    """

    degrees: np.ndarray
    weights: np.ndarray


@dataclasses.dataclass(frozen=True)
class Projector:
    """The layout of coefficients through degree L, from K in-plane angles."""

    max_degree: int
    in_plane: int

    @functools.cached_property
    def frequencies(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """For each in-plane frequency n >= 0, the (l, m) pairs with l >= n."""
        pairs = []
        for n in range(self.max_degree + 1):
            degrees: list[int] = []
            orders: list[int] = []
            for degree in range(n, self.max_degree + 1):
                degrees += [degree] * (2 * degree + 1)
                orders += range(-degree, degree + 1)
            pairs.append((np.array(degrees), np.array(orders)))
        return pairs

    @property
    def layout(self) -> Layout:
        """The rows of all blocks."""
        degrees, weights = zip(*self.blocks, strict=True)
        return Layout(np.concatenate(degrees), np.concatenate(weights))

    @property
    def blocks(self) -> list[Layout]:
        """For each n: all real parts, then all imaginary parts."""
        return [
            Layout(np.tile(degrees, 2), np.full(2 * len(degrees), 2.0 if n else 1.0))
            for n, (degrees, _) in enumerate(self.frequencies)
        ]


def factorised_tables(
    projector: Projector, quadrature: Quadrature, sphere_weights: np.ndarray
) -> tuple[
    Float[np.ndarray, "waves in_plane"], list[Float[np.ndarray, "rows parts nodes"]]
]:
    """Tables of the projection for all sphere nodes of a rule.

    ``sphere_weights`` are the weights of the rule, or of one nested in it.

    Returns:
      The in-plane transform, with rows 1, cos(g), sin(g), cos(2g), ..., and for
      each frequency n the map from (cos/sin part, node) to the rows of its block.
    """
    num_angles = projector.in_plane
    gamma = 2 * np.pi * np.arange(num_angles) / num_angles
    waves = [np.ones(num_angles)]
    for n in range(1, projector.max_degree + 1):
        waves += [np.cos(n * gamma), np.sin(n * gamma)]

    small = small_d_tables(projector.max_degree, quadrature.beta)
    maps = []
    for n, (degrees, orders) in enumerate(projector.frequencies):
        d = _column(small, degrees, orders, n) * sphere_weights
        phase = orders[:, None] * quadrature.alpha
        # e^{-i m alpha} (a - i b), with a, b the cosine and sine parts of u
        real = np.stack([d * np.cos(phase), -d * np.sin(phase)], axis=1)
        imaginary = np.stack([-d * np.sin(phase), -d * np.cos(phase)], axis=1)
        both = np.concatenate([real, imaginary])
        maps.append(both[:, :1] if n == 0 else both)
    return np.stack(waves) / num_angles, maps


def _column(
    small: list[np.ndarray], degrees: np.ndarray, orders: np.ndarray, n: int
) -> Float[np.ndarray, "pairs angles"]:
    """Entries d^l_{mn} of the small matrices, one row for each pair (l, m)."""
    pairs = zip(degrees, orders, strict=True)
    return np.stack([small[d][:, d + order, d + n] for d, order in pairs])


def synthesis_rows(
    projector: Projector, rotations: np.ndarray
) -> Float[np.ndarray, "rows group"]:
    """Rows that evaluate the projected part of a response at any proper element.

    The inverse transform, u(R) = sum_l (2l+1) sum_{mn} c_{l,mn} conj(D^l_{mn}(R)), is
    the product of the coefficients with these rows.
    """
    layout = projector.layout
    scale = ((2 * layout.degrees + 1) * layout.weights)[:, None]
    alpha, beta, gamma = euler_angles(rotations)
    small = small_d_tables(projector.max_degree, beta)
    rows = []
    for n, (degrees, orders) in enumerate(projector.frequencies):
        d = _column(small, degrees, orders, n)
        phase = orders[:, None] * alpha + n * gamma
        rows += [d * np.cos(phase), -d * np.sin(phase)]
    return scale * np.concatenate(rows)


def in_plane_spectrum(
    waves: Float[Array, "waves in_plane"],
    responses: Float[Array, "in_plane nodes cosets c"],
) -> list[Float[Array, "parts nodes cosets c"]]:
    """The in-plane transform of the responses at a batch of sphere nodes.

    The in-plane angle is the first axis, so that this product and that of
    :func:`factorised_coefficients` need no transposed copy of the responses. NumPy
    arrays stay on the host.

    Returns:
      For each frequency n a separate array of its cosine and sine parts; for n = 0 only
      the mean.
    """
    xp = responses.__array_namespace__()
    with jax.default_matmul_precision("highest"):
        spectrum = xp.tensordot(waves.astype(responses.dtype), responses, 1)
    pairs = range(1, len(waves), 2)
    return [spectrum[:1], *(spectrum[first : first + 2] for first in pairs)]


def factorised_coefficients(
    maps: Sequence[Float[Array | np.ndarray, "rows parts nodes"]],
    spectrum: list[Float[Array, "parts nodes cosets c"]],
) -> list[Float[Array, "rows cosets c"]]:
    """Contribution of some sphere nodes to the coefficients, block by block.

    Frequencies beyond the maps are ignored. NumPy arrays are accepted too, and stay on
    the host.
    """
    xp = spectrum[0].__array_namespace__()
    with jax.default_matmul_precision("highest"):
        return [
            xp.tensordot(table.astype(part.dtype), part, axes=((1, 2), (0, 1)))
            for table, part in zip(maps, spectrum, strict=False)
        ]


@jax.jit
def join_blocks(
    blocks: list[Float[Array, "rows cosets c"]],
) -> Float[Array, "cosets rows c"]:
    """The coefficients in one array, in the order of the layout."""
    xp = blocks[0].__array_namespace__()
    return xp.swapaxes(xp.concatenate(blocks), 0, 1)


def sector_power(
    projector: Projector,
    blocks: list[Float[Array, "rows cosets c"]],
    reference: Float[Array, " c"],
    shape: tuple[int, int, int],
) -> Float[Array, "degrees parities samples components"]:
    """Squared norms ``[l, 0]`` (sigma = +1) and ``[l, 1]`` (-1), summed over channels.

    NumPy arrays are accepted too, and stay on the host.

    Args:
      projector: Defines the layout of the rows.
      blocks: Accumulated coefficients of the response minus ``reference``.
      reference: The response that was subtracted. As a constant, it only contributes to
        the sector 0+.
      shape: Samples, components and channels, whose product is ``c``.
    """
    xp = reference.__array_namespace__()
    degrees = np.arange(projector.max_degree + 1)
    total = xp.zeros((len(degrees), 2, *shape[:2]), reference.dtype)
    for number, (layout, block) in enumerate(
        zip(projector.blocks, blocks, strict=True)
    ):
        if number == 0:
            # The row of l = 0, n = 0, real part comes first.
            first = np.equal(np.arange(len(block)), 0).astype(block.dtype)
            block = block + first[:, None, None] * reference
        signs = ((-1.0) ** layout.degrees).astype(block.dtype)[:, None]
        proper, improper = block[:, 0], signs * block[:, 1]
        both = xp.stack(
            [
                (half**2).reshape(-1, *shape).sum(axis=-1)
                for half in (proper + improper, proper - improper)
            ]
        )
        scale = (2 * layout.degrees + 1) / 4 * layout.weights
        sums = (np.equal.outer(degrees, layout.degrees) * scale).astype(block.dtype)
        with jax.default_matmul_precision("highest"):
            total = total + xp.einsum("lr,prsi->lpsi", sums, both)
    return total
