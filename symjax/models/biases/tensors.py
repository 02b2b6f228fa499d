"""Equivariant features of edges and atoms, as additional input of networks.

Irreps are (l, sigma), with sigma = -1 for pseudotensors and components m = -l, ..., l
as in :mod:`symjax.so3`. The coupling of degree l with a vector to degree l, which for
l = 1 is the cross product, changes sigma: it makes pseudotensors from the real
spherical harmonics of several directions.
"""

import functools
from collections.abc import Sequence

import e3x
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from symjax.models._parameters import Dense, Module, normal, ones
from symjax.so3.harmonics import degree_slice, solid_harmonics


@functools.lru_cache(maxsize=64)
def _coupling(a: int, b: int, c: int) -> np.ndarray:
    """Clebsch-Gordan coefficients (2a+1, 2b+1, 2c+1), of norm sqrt(2c+1)."""
    # Evaluated now, even under a trace: jax.ensure_compile_time_eval has no effect
    # within Flax's lazy initialisation. Always in double precision, since the cache is
    # shared by models of any precision.
    with jax.core.eval_context(), jax.enable_x64(True):
        table = np.asarray(
            e3x.so3.clebsch_gordan(a, b, c, cartesian_order=False), np.float64
        )
    block = table[degree_slice(a), degree_slice(b), degree_slice(c)]
    return block / np.linalg.norm(block) * np.sqrt(2 * c + 1)


def couple(
    a: Float[Array, "... rows channels"],
    b: Float[Array, "... columns channels"],
    degree: int,
) -> Float[Array, "... components channels"]:
    """Couples real spherical tensors to one degree, channel by channel.

    The Clebsch-Gordan coefficients are e3x's, scaled to Frobenius norm sqrt(2 l + 1),
    so that unit tensors in general position couple to a tensor of norm about 1.

    Args:
      a: Tensors with 2 l_a + 1 rows.
      b: Tensors with 2 l_b + 1 rows.
      degree: Degree l, with |l_a - l_b| <= l <= l_a + l_b.

    Returns:
      Tensors with 2 l + 1 components. Their sigma is sigma_a sigma_b
      (-1)^(l_a + l_b - l).
    """
    degrees = (a.shape[-2] - 1) // 2, (b.shape[-2] - 1) // 2
    table = jnp.asarray(_coupling(*degrees, degree), a.dtype)
    return jnp.einsum("...ic,...jc,ijk->...kc", a, b, table, precision="highest")


def directions(
    vectors: Float[Array, "... 3"], distances: Float[Array, "..."]
) -> Float[Array, "... 3"]:
    """Unit vectors of edges; padding has a zero vector and a nonzero distance."""
    return vectors / distances[..., None]


def harmonics(
    degree: int, units: Float[Array, "... 3"]
) -> list[Float[Array, "... components"]]:
    """Real spherical harmonics of unit vectors.

    Each component has mean square 1 over the sphere.

    Args:
      degree: Largest degree.
      units: Unit vectors, or zero vectors, whose harmonics of l > 0 are 0.

    Returns:
      One array for each degree, with 2 l + 1 components.
    """
    flat = solid_harmonics(degree, units, normalization="4pi")
    return [flat[..., degree_slice(order)] for order in range(degree + 1)]


def radial_functions(
    distances: Float[Array, "..."], cutoff: float, number: int
) -> Float[Array, "... number"]:
    """Bernstein polynomials on [0, cutoff], as in e3x."""
    return e3x.nn.basic_bernstein(distances, number, cutoff)


class HarmonicEmbedding(nn.Module):
    """Features of edges from spherical harmonics of their directions.

    Feature k of edge ij is (sum_lm W_lm,k Y_lm(r_ij)) (sum_n V_nk R_n(|r_ij|)) with
    radial functions R_n and 1 <= l <= L.

    Attributes:
      features: Number of features, the width of the tokens.
      degree: Largest degree L.
    """

    features: int
    degree: int

    @nn.compact
    def __call__(
        self,
        angles: Sequence[Float[Array, "... components"]],
        radial: Float[Array, "... number"],
    ) -> Float[Array, "... features"]:
        """Returns the features, which are added before the first nonlinearity."""
        angular = jnp.concatenate(angles[1 : self.degree + 1], axis=-1)
        shape = Dense(self.features, use_bias=False, name="angular")(angular)
        # Bernstein polynomials sum to 1: with a kernel of ones, the factor starts at 1.
        return shape * Dense(
            self.features, use_bias=False, kernel_init=ones, name="radial"
        )(radial)


class AtomVectors(Module):
    """Vectors of each atom: sums over edges of directions times invariants.

    Channel c of atom i is
    ``V_ic = sum_j f(r_ij) sum_n T_nc(species of j) R_n(r_ij) r_ij / |r_ij|`` with the
    cutoff f, radial functions R_n and a learned table T.

    Attributes:
      num_species: Number of species.
      channels: Number of vectors of each atom.
    """

    num_species: int
    channels: int

    @nn.compact
    def __call__(
        self,
        vectors: Float[Array, "atoms neighbors components"],
        radial: Float[Array, "atoms neighbors number"],
        weights: Float[Array, "atoms neighbors"],
        neighbors: Int[Array, "atoms neighbors"],
    ) -> Float[Array, "atoms components channels"]:
        """Returns the vectors, with the components in the order of ``vectors``."""
        shape = (self.num_species, radial.shape[-1], self.channels)
        table = self.param("table", normal(1.0), shape)
        strength = jnp.einsum("ajn,ajnc->ajc", radial, jnp.asarray(table)[neighbors])
        return jnp.einsum(
            "ajx,ajc->axc", vectors, strength * weights[..., None], precision="highest"
        )


def pseudotensors(
    degree: int,
    angles: Sequence[Float[Array, "atoms neighbors components"]],
    vectors: Float[Array, "atoms three channels"],
) -> list[Float[Array, "atoms neighbors components channels"]]:
    """Pseudotensors of each edge, from its direction and the vectors of its atom.

    For l = 0 the triple products Y_1(r_ij) . (V_c x V_c+1), for l > 0 the couplings of
    Y_l(r_ij) with V_c to degree l.

    Args:
      degree: Largest degree.
      angles: Spherical harmonics of each edge by degree, through at least degree 1.
      vectors: Vectors V_c of each atom, with components (y, z, x).

    Returns:
      One array for each degree l = 0, ..., ``degree``.
    """
    own = vectors[:, None]
    shape = (*angles[0].shape[:2], 3, vectors.shape[-1])
    crossed = couple(own, jnp.roll(own, -1, axis=-1), 1)
    first = jnp.broadcast_to(angles[1][..., None], shape)
    found = [couple(first, jnp.broadcast_to(crossed, shape), 0)]
    for order in range(1, degree + 1):
        angle = jnp.broadcast_to(
            angles[order][..., None], (*shape[:2], 2 * order + 1, shape[-1])
        )
        found.append(couple(angle, jnp.broadcast_to(own, shape), order))
    return found
