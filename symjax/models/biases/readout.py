"""Equivariant readout: learned coefficients times tensors of the geometry."""

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from symjax.models._parameters import Dense
from symjax.models.biases.tensors import couple
from symjax.so3.irreps import Irrep
from symjax.so3.representations import Representation, from_spherical


class EquivariantReadout(nn.Module):
    """Reads a tensor of each atom; exactly equivariant if the heads are invariant.

    The head features h_ij of edges and h_i of atoms give coefficients
    c_ij = C h_ij + D h_i + b. With S_l[c]_i = sum_j f(r_ij) c_ij Y_l(r_ij) for each
    channel, where f is the cutoff, the irreps of the tensor are

      (0, +)          A h_i + a + sum_j f(r_ij) (B h_ij + b), PET's linear readout,
      (1, +)          S_1[c],
      (l, +), l > 1   S_l[c] + M (S_l-1[c'] x S_1[c''])_l,
      (l, -), l > 0   M (S_l[c] x S_1[c'])_l,
      (0, -)          M ((S_1[c] x S_1[c'])_1 . S_1[c'']),

    where (a x b)_l is the coupling to degree l and M mixes products into copies. The
    second term of (l, +) gives atoms with few neighbors access to every component.

    Attributes:
      representation: Representation of the tensor, with a trailing axis of copies.
      copies: Number of independent copies of the tensor.
      channels: Number of products for each irrep.

    Example:
      >>> import dataclasses
      >>> import jax
      >>> import jax.numpy as jnp
      >>> from symjax.models.biases.readout import EquivariantReadout
      >>> from symjax.models.biases.tensors import harmonics
      >>> from symjax.so3 import VECTOR
      >>> vectors = dataclasses.replace(VECTOR, has_channels=True)
      >>> module = EquivariantReadout(vectors, copies=2)
      >>> node, edge, weights = jnp.ones((3, 4)), jnp.ones((3, 5, 4)), jnp.ones((3, 5))
      >>> angles = harmonics(1, jnp.ones((3, 5, 3)))
      >>> out, _ = module.init_with_output(
      ...     jax.random.key(0), node, edge, weights, angles)
      >>> out.shape
      (3, 3, 2)
    """

    representation: Representation
    copies: int
    channels: int = 4

    @nn.compact
    def __call__(
        self,
        node: Float[Array, "atoms features"],
        edge: Float[Array, "atoms neighbors features"],
        weights: Float[Array, "atoms neighbors"],
        angles: Sequence[Float[Array, "atoms neighbors components"]],
    ) -> Float[Array, "atoms *shape copies"]:
        """Reads the tensor; ``weights`` are the cutoff factors."""

        def coefficients(name: str, number: int) -> Float[Array, "atoms neighbors n"]:
            own = Dense(number, use_bias=False, name=f"{name}_node")(node)
            return Dense(number, name=f"{name}_edge")(edge) + own[:, None]

        def summed(values: Array, degree: int) -> Float[Array, "atoms m n"]:
            return jnp.einsum(
                "ajm,ajn->amn",
                angles[degree],
                values * weights[..., None],
                precision="highest",
            )

        def irrep_part(irrep: Irrep, name: str) -> Float[Array, "atoms m copies"]:
            degree, sigma, channels = irrep.degree, irrep.sigma, self.channels
            if irrep == Irrep(0, 1):
                # The bias of the edges is multiplied by the sum of their weights.
                part = Dense(self.copies, name=f"{name}_node")(node)
                edges = Dense(self.copies, name=f"{name}_edge")(edge)
                return (part + jnp.sum(edges * weights[..., None], axis=1))[:, None]
            direct = None
            if sigma == 1:
                direct = summed(coefficients(f"{name}_direct", self.copies), degree)
                if degree == 1:
                    return direct
            factors = 3 if degree == 0 else 2
            split = jnp.split(
                coefficients(f"{name}_factors", factors * channels), factors, axis=-1
            )
            # (l-1) x 1 -> l keeps sigma, l x 1 -> l changes it.
            first = 1 if degree == 0 else degree - (sigma == 1)
            second = summed(split[1], 1)
            if degree == 0:
                axial = couple(summed(split[0], 1), second, 1)
                product = couple(axial, summed(split[2], 1), 0)
            else:
                product = couple(summed(split[0], first), second, degree)
            mixed = Dense(self.copies, use_bias=False, name=f"{name}_mix")(product)
            return mixed if direct is None else direct + mixed

        parts = [
            irrep_part(irrep, f"{number}_{irrep.degree}{'pm'[irrep.sigma < 0]}")
            for number, irrep in enumerate(self.representation.irreps)
        ]
        return from_spherical(self.representation, jnp.concatenate(parts, axis=1))
