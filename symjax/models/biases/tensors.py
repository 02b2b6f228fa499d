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

from symjax.so3.harmonics import degree_slice, solid_harmonics


@functools.lru_cache(maxsize=64)
def _coupling(a: int, b: int, c: int) -> np.ndarray:
    """Clebsch-Gordan coefficients (2a+1, 2b+1, 2c+1), of norm sqrt(2c+1)."""
    # Outside of whatever is being traced; jax.ensure_compile_time_eval does not hold
    # within Flax's lazy initialisation.
    with jax.core.eval_context():
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

    Args:
      a: Tensors of degree l_a, ``rows`` = 2 l_a + 1 components.
      b: Tensors of degree l_b.
      degree: From abs(l_a - l_b) to l_a + l_b.

    Returns:
      Tensors of that degree. Its sigma is that of ``a`` times that of ``b``, times
      (-1)^(l_a + l_b - l).

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.models.biases import couple
      >>> y, z = jnp.array([[1.0], [0], [0]]), jnp.array([[0.0], [1], [0]])
      >>> abs(couple(y, z, 1)[:, 0]).round(3).tolist()  # along x: y, z, x is the order
      [0.0, 0.0, 0.707]
    """
    degrees = (a.shape[-2] - 1) // 2, (b.shape[-2] - 1) // 2
    table = jnp.asarray(_coupling(*degrees, degree), a.dtype)
    return jnp.einsum("...ic,...jc,ijk->...kc", a, b, table, precision="highest")


def directions(
    vectors: Float[Array, "... 3"], distances: Float[Array, "..."]
) -> Float[Array, "... 3"]:
    """Directions of edges.

    Args:
      vectors: Edge vectors, 0 for padding.
      distances: Their lengths, not 0.

    Returns:
      Unit vectors, 0 for padding.

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.models.biases import directions
      >>> directions(jnp.array([[0.0, 3, 0], [0, 0, 0]]), jnp.array([3.0, 1])).tolist()
      [[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
    """
    return vectors / distances[..., None]


def harmonics(
    degree: int, units: Float[Array, "... 3"]
) -> list[Float[Array, "... components"]]:
    """Real spherical harmonics of directions, with components of mean square 1.

    Args:
      degree: Largest degree.
      units: Unit vectors, or 0.

    Returns:
      One array for each degree from 0 on; those of l > 0 are 0 at a zero vector.

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.models.biases import harmonics
      >>> [y.shape for y in harmonics(2, jnp.eye(3))]
      [(3, 1), (3, 3), (3, 5)]
    """
    flat = solid_harmonics(degree, units, normalization="4pi")
    return [flat[..., degree_slice(order)] for order in range(degree + 1)]


def radial_functions(
    distances: Float[Array, "..."], cutoff: float, number: int
) -> Float[Array, "... number"]:
    """Smooth radial functions: the Bernstein polynomials of e3x on [0, cutoff].

    Args:
      distances: In angstrom.
      cutoff: In angstrom.
      number: How many.

    Returns:
      Their values.

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.models.biases import radial_functions
      >>> radial_functions(jnp.array(2.25), 4.5, 3).round(3).tolist()
      [0.25, 0.5, 0.25]
    """
    return e3x.nn.basic_bernstein(distances, number, cutoff)


class HarmonicEmbedding(nn.Module):
    """Directions of edges in real spherical harmonics, for the tokens of a layer.

    Feature k of edge ij is sum_lm W_lm,k Y_lm(r_ij) times sum_n V_nk R_n(r_ij), with
    1 <= l <= L.

    Attributes:
      features: Width of the tokens.
      degree: L.

    Example:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> from symjax.models.biases import HarmonicEmbedding, harmonics
      >>> module, angles = HarmonicEmbedding(8, 2), harmonics(2, jnp.ones((4, 3)))
      >>> out, _ = module.init_with_output(jax.random.key(0), angles, jnp.ones((4, 5)))
      >>> out.shape
      (4, 8)
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
        shape = nn.Dense(self.features, use_bias=False, name="angular")(angular)
        # Ones at first: every feature sees all distances alike.
        flat = nn.initializers.ones
        return shape * nn.Dense(
            self.features, use_bias=False, kernel_init=flat, name="radial"
        )(radial)


class AtomVectors(nn.Module):
    """Vectors of each atom, sums over its edges of directions times invariants.

    Channel c of atom i is
    ``V_ic = sum_j f(r_ij) sum_n T_nc(species of j) R_n(r_ij) r_ij / |r_ij|`` with f the
    cutoff.

    Attributes:
      num_species: Species that the model knows.
      channels: Vectors of each atom.

    Example:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> from symjax.models.biases import AtomVectors
      >>> module, one = AtomVectors(2, 4), jnp.ones((3, 2))
      >>> vectors, _ = module.init_with_output(
      ...     jax.random.key(0), jnp.ones((3, 2, 3)), jnp.ones((3, 2, 5)), one,
      ...     jnp.zeros((3, 2), int))
      >>> vectors.shape
      (3, 3, 4)
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
            nn.initializers.normal(1.0),
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
    Y_l(r_ij) with V_c to l.

    Args:
      degree: Largest degree.
      angles: From :func:`harmonics`, to degree 1 or ``degree`` if that is larger.
      vectors: From :class:`AtomVectors`, in the order (y, z, x).

    Returns:
      One array for each degree, all with sigma = -1.

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.models.biases import harmonics, pseudotensors
      >>> angles = harmonics(1, jnp.ones((2, 4, 3)))
      >>> [x.shape for x in pseudotensors(1, angles, jnp.ones((2, 3, 6)))]
      [(2, 4, 1, 6), (2, 4, 3, 6)]
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
