"""Spectral coefficients of an orbit response, and the character projections.

For one coset s (proper, s = +1, or improper, s = -1) the coefficients of a real
response u on the orbit are

    c^s_{l,mn} = integral over SO(3) of D^l_{mn}(R) u(s R) dmu(R),

and the squared norm of its character projection (design of symjax, section 1;
Domina et al., arXiv:2603.24638, SI) is

    ||P_{l,sigma} u||^2 = (2l+1)/4 sum_{mn} |c^+_{l,mn} + sigma (-1)^l c^-_{l,mn}|^2.

The norm does not depend on the basis of the irrep, so the two evaluation paths may
use different ones:

- *dense*: the real matrix D^l(R) of every element, contracted with the responses.
  Works for any list of elements; the oracle of the other path.
- *factorised*: on a product grid D^l_{mn} = e^{-i m alpha} d^l_{mn}(beta)
  e^{-i n gamma}, so the in-plane integral is a discrete Fourier transform, done
  first. Only n >= 0 is kept, because u is real. The transform of the few in-plane
  angles is written as a matrix product: for 14 to 100 points that beats an FFT,
  which needs the angles contiguous in memory while responses have channels there.

Both paths share one state layout: real rows, each with a degree and a weight, so
that a sector's power is a weighted sum of squares of rows.
"""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from symjax.so3.quadrature import Quadrature
from symjax.so3.rotations import matrix_to_euler
from symjax.so3.wigner import small_wigner_d, wigner_d


class Layout(NamedTuple):
    """How the rows of a coefficient array map to degrees.

    Attributes:
      degrees: Degree l of each row.
      weights: 1, or 2 for a row that stands for itself and its complex conjugate.
    """

    degrees: np.ndarray
    weights: np.ndarray


@dataclasses.dataclass(frozen=True)
class DenseProjector:
    """Tables of the dense path for one batch size: nothing but the degree.

    Attributes:
      max_degree: Largest degree L that is projected.
    """

    max_degree: int

    @property
    def layout(self) -> Layout:
        """One row for each entry of each real Wigner-D matrix."""
        sizes = [(2 * degree + 1) ** 2 for degree in range(self.max_degree + 1)]
        degrees = np.repeat(np.arange(self.max_degree + 1), sizes)
        return Layout(degrees, np.ones(len(degrees)))


@dataclasses.dataclass(frozen=True)
class FactorisedProjector:
    """Static description of the factorised path on a product grid.

    Attributes:
      max_degree: Largest degree L that is projected.
      in_plane: Number of in-plane angles K of the grid.
    """

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
        """For each n: all real parts, then all imaginary parts."""
        degrees, weights = [], []
        for n, (row_degrees, _) in enumerate(self.frequencies):
            degrees += [row_degrees, row_degrees]
            weights.append(np.full(2 * len(row_degrees), 1.0 if n == 0 else 2.0))
        return Layout(np.concatenate(degrees), np.concatenate(weights))


def dense_tables(
    projector: DenseProjector, rotations: np.ndarray, weights: np.ndarray
) -> Float[Array, "rows group"]:
    """Weighted entries of the Wigner-D matrices, one row for each (l, m, n).

    Args:
      projector: The static description.
      rotations: Proper rotations, shape ``(group, 3, 3)``.
      weights: Quadrature weights, shape ``(group,)``.

    Returns:
      Array of the dtype that JAX gives to ``rotations``.

    Example:
      >>> import numpy as np
      >>> from symjax.metrics.characters import DenseProjector, dense_tables
      >>> dense_tables(DenseProjector(2), np.eye(3)[None], np.ones(1)).shape
      (35, 1)
    """
    matrices = wigner_d(projector.max_degree, jnp.asarray(rotations))
    flat = [matrix.reshape(len(rotations), -1) for matrix in matrices]
    return (jnp.concatenate(flat, axis=1) * jnp.asarray(weights)[:, None]).T


def factorised_tables(
    projector: FactorisedProjector, quadrature: Quadrature, sphere_weights: np.ndarray
) -> tuple[Float[Array, "waves in_plane"], list[Float[Array, "rows nodes parts"]]]:
    """Tables of the factorised path for all sphere nodes of a rule.

    Args:
      projector: The static description.
      quadrature: The product rule.
      sphere_weights: Weights of its sphere nodes, shape ``(nodes,)``; pass those of
        a nested rule to project on the coarser grid.

    Returns:
      The in-plane transform, with rows 1, cos(g), sin(g), cos(2g), ..., and for
      each frequency n the map from (node, cos/sin part) to the rows of the state.

    Example:
      >>> from symjax.metrics.characters import FactorisedProjector, factorised_tables
      >>> from symjax.so3.quadrature import quadrature
      >>> rule = quadrature(5)
      >>> waves, maps = factorised_tables(
      ...     FactorisedProjector(2, rule.in_plane), rule, rule.sphere_weights)
      >>> waves.shape, [m.shape for m in maps]
      ((5, 6), [(18, 14, 1), (16, 14, 2), (10, 14, 2)])
    """
    num_angles = projector.in_plane
    gamma = 2 * np.pi * np.arange(num_angles) / num_angles
    waves = [np.ones(num_angles)]
    for n in range(1, projector.max_degree + 1):
        waves += [np.cos(n * gamma), np.sin(n * gamma)]

    small = [
        np.asarray(d)
        for d in small_wigner_d(projector.max_degree, jnp.asarray(quadrature.beta))
    ]
    maps = []
    for n, (degrees, orders) in enumerate(projector.frequencies):
        d = np.stack(
            [
                small[degree][:, degree + order, degree + n]
                for degree, order in zip(degrees, orders, strict=True)
            ]
        )
        d = d * sphere_weights
        phase = orders[:, None] * quadrature.alpha
        # e^{-i m alpha} (a - i b), with a, b the cosine and sine parts of u
        real = np.stack([d * np.cos(phase), -d * np.sin(phase)], axis=-1)
        imaginary = np.stack([-d * np.sin(phase), -d * np.cos(phase)], axis=-1)
        both = np.concatenate([real, imaginary])
        maps.append(jnp.asarray(both[..., :1] if n == 0 else both))
    return jnp.asarray(np.stack(waves) / num_angles), maps


def synthesis_rows(
    projector: DenseProjector | FactorisedProjector, rotations: np.ndarray
) -> Float[Array, "rows group"]:
    """Rows that evaluate the projected part of a response at any proper element.

    The inverse transform, u(R) = sum_l (2l+1) sum_{mn} c_{l,mn} conj(D^l_{mn}(R)):
    the product of the coefficients with these rows.

    Args:
      projector: Names the layout of the rows.
      rotations: Proper rotations, shape ``(group, 3, 3)``.

    Returns:
      Array to be contracted with the rows of the coefficients.

    Example:
      >>> import numpy as np
      >>> from symjax.metrics.characters import DenseProjector, synthesis_rows
      >>> synthesis_rows(DenseProjector(1), np.eye(3)[None]).shape
      (10, 1)
    """
    layout = projector.layout
    scale = jnp.asarray((2 * layout.degrees + 1) * layout.weights)[:, None]
    if isinstance(projector, DenseProjector):
        return scale * dense_tables(projector, rotations, np.ones(len(rotations)))
    angles = matrix_to_euler(jnp.asarray(rotations))
    alpha, beta, gamma = (np.asarray(a) for a in angles)
    small = [
        np.asarray(d) for d in small_wigner_d(projector.max_degree, jnp.asarray(beta))
    ]
    rows = []
    for n, (degrees, orders) in enumerate(projector.frequencies):
        d = np.stack(
            [
                small[degree][:, degree + order, degree + n]
                for degree, order in zip(degrees, orders, strict=True)
            ]
        )
        phase = orders[:, None] * alpha + n * gamma
        rows += [d * np.cos(phase), -d * np.sin(phase)]
    return scale * jnp.asarray(np.concatenate(rows))


def dense_coefficients(
    tables: Float[Array, "rows group"], responses: Float[Array, "group cosets c"]
) -> Float[Array, "cosets rows c"]:
    """Contribution of one batch of elements to the coefficients.

    Args:
      tables: Columns of :func:`dense_tables` for this batch.
      responses: Centred responses, both cosets of each element.

    Returns:
      Coefficients to be added to the state.

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.metrics.characters import dense_coefficients
      >>> dense_coefficients(jnp.ones((35, 4)), jnp.ones((4, 2, 7))).shape
      (2, 35, 7)
    """
    tables = tables.astype(responses.dtype)
    return jnp.einsum("rg,gsc->src", tables, responses, precision="highest")


def in_plane_spectrum(
    waves: Float[Array, "waves in_plane"],
    responses: Float[Array, "in_plane nodes cosets c"],
) -> Float[Array, "waves nodes cosets c"]:
    """The in-plane transform of the responses at a batch of sphere nodes.

    The in-plane angle comes first, so that this product and the one of
    :func:`factorised_coefficients` need no transposed copy of the responses.

    Args:
      waves: The in-plane transform of :func:`factorised_tables`.
      responses: Centred responses at all in-plane angles of these nodes.

    Returns:
      Parts 1, cos(g), sin(g), cos(2g), ... of the responses.

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.metrics.characters import in_plane_spectrum
      >>> in_plane_spectrum(jnp.ones((1, 4)), jnp.ones((4, 3, 2, 7))).shape
      (1, 3, 2, 7)
    """
    return jnp.einsum(
        "wk,kbsc->wbsc", waves.astype(responses.dtype), responses, precision="highest"
    )


def factorised_coefficients(
    maps: list[Float[Array, "rows nodes parts"]],
    spectrum: Float[Array, "waves nodes cosets c"],
) -> Float[Array, "cosets rows c"]:
    """Contribution of one batch of sphere nodes to the coefficients.

    Args:
      maps: Maps of :func:`factorised_tables`, restricted to the nodes of this batch.
      spectrum: From :func:`in_plane_spectrum`; frequencies beyond the maps are not
        read.

    Returns:
      Coefficients to be added to the state.

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.metrics.characters import factorised_coefficients
      >>> factorised_coefficients([jnp.ones((2, 3, 1))], jnp.ones((1, 3, 2, 7))).shape
      (2, 2, 7)
    """
    rows = []
    for n, table in enumerate(maps):
        parts = spectrum[:1] if n == 0 else spectrum[2 * n - 1 : 2 * n + 1]
        table = table.astype(spectrum.dtype)
        rows.append(jnp.einsum("rbp,pbsc->rsc", table, parts, precision="highest"))
    return jnp.swapaxes(jnp.concatenate(rows), 0, 1)


@functools.partial(jax.jit, static_argnames=("projector",))
def sector_power(
    projector: DenseProjector | FactorisedProjector,
    coefficients: Float[Array, "cosets rows c"],
    reference: Float[Array, " c"],
) -> Float[Array, "degrees parities c"]:
    """Squared norms of the character projections, for each channel.

    Args:
      projector: Names the layout of the rows.
      coefficients: Accumulated coefficients of the response minus ``reference``.
      reference: The response that was subtracted. It only enters (0, +), where a
        constant has its whole content.

    Returns:
      Array with ``[l, 0]`` for sigma = +1 and ``[l, 1]`` for sigma = -1.

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.metrics.characters import DenseProjector, sector_power
      >>> power = sector_power(DenseProjector(1), jnp.zeros((2, 10, 1)), jnp.ones(1))
      >>> power[..., 0].tolist()
      [[1.0, 0.0], [0.0, 0.0]]
    """
    layout = projector.layout
    # The single row of l = 0, n = 0, real part comes first in both layouts.
    coefficients = coefficients.at[:, 0].add(reference)
    proper, improper = coefficients
    signs = jnp.asarray((-1.0) ** layout.degrees, proper.dtype)[:, None] * improper
    scale = jnp.asarray((2 * layout.degrees + 1) / 4 * layout.weights, proper.dtype)[
        :, None
    ]
    both = jnp.stack(
        [scale * (proper + signs) ** 2, scale * (proper - signs) ** 2], axis=1
    )
    return jax.ops.segment_sum(
        both,
        jnp.asarray(layout.degrees),
        num_segments=projector.max_degree + 1,
    )
