"""Equivariant features of edges and atoms, for networks that have none of their own.

Irreps are (l, sigma), sigma = -1 for pseudotensors, components m = -l, ..., l as in
:mod:`symjax.so3`. The coupling of l with a vector to l, a cross product for l = 1,
changes sigma: real spherical harmonics of several directions, coupled in this way, are
pseudotensors.
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
    # Outside of whatever is being traced; jax.ensure_compile_time_eval does not hold
    # within Flax's lazy initialisation. In double precision, whatever the precision of
    # the model that is first to ask.
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
    """Couples real spherical tensors, channel by channel, to one degree.

    Clebsch-Gordan coefficients are e3x's, scaled so that unit tensors in general
    position couple to a tensor of norm about 1.

    Returns:
      Tensors of that degree. Its sigma is that of ``a`` times that of ``b``, times
      (-1)^(l_a + l_b - l).
    """
    degrees = (a.shape[-2] - 1) // 2, (b.shape[-2] - 1) // 2
    table = jnp.asarray(_coupling(*degrees, degree), a.dtype)
    return jnp.einsum("...ic,...jc,ijk->...kc", a, b, table, precision="highest")


def directions(
    vectors: Float[Array, "... 3"], distances: Float[Array, "..."]
) -> Float[Array, "... 3"]:
    """Directions of edges; 0 for padding, whose length must not be 0."""
    return vectors / distances[..., None]


def harmonics(
    degree: int, units: Float[Array, "... 3"]
) -> list[Float[Array, "... components"]]:
    """Real spherical harmonics of unit vectors, with components of mean square 1.

    One array for each degree; those of l > 0 are 0 at a zero vector.
    """
    flat = solid_harmonics(degree, units, normalization="4pi")
    return [flat[..., degree_slice(order)] for order in range(degree + 1)]


def radial_functions(
    distances: Float[Array, "..."], cutoff: float, number: int
) -> Float[Array, "... number"]:
    """Smooth radial functions: e3x's Bernstein polynomials on [0, cutoff]."""
    return e3x.nn.basic_bernstein(distances, number, cutoff)


class HarmonicEmbedding(nn.Module):
    """Directions of edges in real spherical harmonics, for the tokens of a layer.

    Feature k of edge ij is sum_lm W_lm,k Y_lm(r_ij) times sum_n V_nk R_n(r_ij), with
    1 <= l <= L, the largest degree; as many features as tokens have.
    """

    features: int
    degree: int

    @nn.compact
    def __call__(
        self,
        angles: Sequence[Float[Array, "... components"]],
        radial: Float[Array, "... number"],
    ) -> Float[Array, "... features"]:
        """Returns what is added to the tokens before their first nonlinearity."""
        angular = jnp.concatenate(angles[1 : self.degree + 1], axis=-1)
        shape = Dense(self.features, use_bias=False, name="angular")(angular)
        # Ones at first: every feature sees all distances alike.
        return shape * Dense(
            self.features, use_bias=False, kernel_init=ones, name="radial"
        )(radial)


class AtomVectors(Module):
    """Vectors of each atom, sums over its edges of directions times invariants.

    Channel c of atom i is
    ``V_ic = sum_j f(r_ij) sum_n T_nc(species of j) R_n(r_ij) r_ij / |r_ij|`` with f the
    cutoff.
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
        """Returns the vectors, in the order of the given components."""
        number = radial.shape[-1]
        table = self.param(
            "table",
            normal(1.0),
            (self.num_species, number, self.channels),
        )
        strength = jnp.einsum("ajn,ajnc->ajc", radial, jnp.asarray(table)[neighbors])
        return jnp.einsum(
            "ajx,ajc->axc", vectors, strength * weights[..., None], precision="highest"
        )


def pseudotensors(
    degree: int,
    angles: Sequence[Float[Array, "atoms neighbors components"]],
    vectors: Float[Array, "atoms three channels"],
) -> list[Float[Array, "atoms neighbors components channels"]]:
    """Pseudotensors of each edge from its direction and the vectors of its atom.

    For l = 0 the triple products Y_1(r_ij) . (V_c x V_c+1), for l > 0 the couplings of
    Y_l(r_ij) with V_c to l; one array for each degree. Harmonics are needed to degree 1
    at least; the vectors are in the order (y, z, x).
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
