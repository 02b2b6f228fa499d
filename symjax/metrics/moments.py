"""First and second moments of an orbit response, accumulated around a reference.

With z(g) = rho(g)^-1 f(g x) the back-rotated response and z_0 a reference,

    mean     = z_0 + E[z - z_0],
    variance = E||z - z_0||^2 - ||E[z - z_0]||^2,
    norm     = ||z_0||^2 + 2 z_0 . E[z - z_0] + E||z - z_0||^2.

Centring keeps both terms of the variance at the size of the variation itself, so a
variation of 1e-6 of the mean is still resolved in a float32 model. The state is
float64 whatever the dtype of the model.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from symjax.metrics.stabilizer import LeafSymmetry, average_scalars, average_tensors
from symjax.so3.representations import Representation


class MomentState(NamedTuple):
    """Running moments under several sets of weights at once.

    Attributes:
      first: E[z - z_0], in spherical components; none where it is not accumulated.
      second: E||z - z_0||^2 for each irrep of the representation, summed over its
        components and channels.
      absolute: The same with the absolute values of the weights: the size of the
        terms, which bounds their round-off where weights are negative.
    """

    first: Float[Array, "rules samples components channels"]
    second: Float[Array, "rules samples irreps"]
    absolute: Float[Array, " samples irreps"]


def init(
    num_rules: int, num_samples: int, components: int, channels: int, irreps: int
) -> MomentState:
    """The empty state, in float64 where JAX allows it.

    ``num_rules`` is the number of weight sets: the grid and the coarser ones nested in
    it.
    """
    return MomentState(
        jnp.zeros((num_rules, num_samples, components, channels)),
        jnp.zeros((num_rules, num_samples, irreps)),
        jnp.zeros((num_samples, irreps)),
    )


def irrep_starts(representation: Representation) -> np.ndarray:
    """First component of each irrep in the spherical basis."""
    sizes = [irrep.dimension for irrep in representation.irreps]
    return np.cumsum([0, *sizes[:-1]])


def sum_irreps(
    representation: Representation, values: Float[Array, "*batch components"]
) -> Float[Array, "*batch irreps"]:
    """Sums over the components of each irrep, on the last axis."""
    return jnp.add.reduceat(values, irrep_starts(representation), axis=-1)


def update(
    state: MomentState,
    representation: Representation,
    centred: Float[Array, "group samples components channels"],
    weights: Float[Array, "rules group"],
) -> MomentState:
    """Adds a batch of back-rotated responses z(g) - z_0, in spherical components."""
    # The product over a batch may run in the response's own precision: its terms
    # have the size of the variation. The sums over batches are float64.
    first = state.first
    # Without room for it: of a trivial representation it is known otherwise.
    if first.shape[2]:
        local = weights.astype(centred.dtype)
        first = first + jnp.einsum("wg,gsic->wsic", local, centred, precision="highest")
    squares = jnp.sum(jnp.square(centred), axis=-1)
    squares = sum_irreps(representation, squares).astype(weights.dtype)
    return MomentState(
        first,
        state.second + jnp.einsum("wg,gsi->wsi", weights, squares, precision="highest"),
        state.absolute
        + jnp.einsum("g,gsi->si", jnp.abs(weights[0]), squares, precision="highest"),
    )


class Moments(NamedTuple):
    """Finished moments, as NumPy float64 arrays.

    Attributes:
      mean: The mean in spherical components.
      variance: ||z - mean||^2 averaged, for each irrep; may be slightly negative.
      norm: E||z||^2 for each irrep; may be negative too where weights are.
      noise: Bound on the round-off of ``variance``.
    """

    mean: np.ndarray
    variance: np.ndarray
    norm: np.ndarray
    noise: np.ndarray


def finalize(
    state: MomentState,
    representation: Representation,
    reference: Float[Array, "samples components channels"],
    num_elements: int,
    epsilon: float,
    rule: int = 0,
    symmetry: LeafSymmetry | None = None,
) -> Moments:
    """Mean, variance and norm under one rule, from the sums.

    Args:
      state: The accumulated state.
      representation: Groups the components into irreps.
      reference: z_0 in spherical components.
      num_elements: Number of group elements that were added.
      epsilon: Machine epsilon of the responses.
      rule: Which set of weights.
      symmetry: Where the elements stand for their orbits under a group; the
        reference must have this symmetry.
    """
    # On the host: a slice of a JAX array is a program for each rule and shape.
    first = np.asarray(state.first, np.float64)[rule]
    second = np.asarray(state.second, np.float64)[rule]
    start = np.asarray(reference, np.float64)
    absolute = np.asarray(state.absolute, np.float64)
    starts = irrep_starts(representation)
    if symmetry is not None:
        permutations = symmetry.permutations
        first = average_tensors(representation, symmetry.elements, permutations, first)
        second = average_scalars(permutations, second)
        absolute = average_scalars(permutations, absolute)

    def per_irrep(values: np.ndarray) -> np.ndarray:
        return np.add.reduceat(values.sum(axis=-1), starts, axis=-1)

    shift = per_irrep(first**2)
    norm = per_irrep(start**2) + 2 * per_irrep(start * first) + second
    # Standard bound for a sum of n terms: n eps sum|terms|; pairwise summation in
    # the reductions makes sqrt(n) the realistic growth, 8 covers the squares.
    growth = 8 * np.sqrt(num_elements) * epsilon
    noise = growth * (absolute + shift)
    return Moments(start + first, second - shift, norm, noise)
