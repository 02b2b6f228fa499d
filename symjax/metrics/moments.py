"""First and second moments of an orbit response, accumulated around a reference.

With z(g) = rho(g)^-1 f(g x) the back-rotated response and z_0 a reference,

    mean     = z_0 + E[z - z_0],
    variance = E||z - z_0||^2 - ||E[z - z_0]||^2,
    norm     = ||z_0||^2 + 2 z_0 . E[z - z_0] + E||z - z_0||^2.

Subtracting the reference keeps both terms of the variance at the size of the variation
itself, so that a variation of 1e-6 of the mean is resolved even in a float32 model. The
state is float64 for any dtype of the model.

Arrays may be those of JAX or NumPy: a stream accumulates on its device, an average of a
few predictions on the host.
"""

from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from symjax.metrics.stabilizer import LeafSymmetry, average_scalars, average_tensors
from symjax.so3.representations import Representation


class MomentState(NamedTuple):
    """Running moments under several sets of weights at once.

    Attributes:
      first: E[z - z_0], in spherical components; without components if it is not
        accumulated.
      second: E||z - z_0||^2 for each irrep of the representation, summed over its
        components and channels.
      absolute: The same with absolute values of the weights: the size of the terms,
        which bounds their round-off if weights are negative.
    """

    first: Float[Array | np.ndarray, "rules samples components channels"]
    second: Float[Array | np.ndarray, "rules samples irreps"]
    absolute: Float[Array | np.ndarray, " samples irreps"]


def init(
    num_rules: int,
    num_samples: int,
    components: int,
    channels: int,
    irreps: int,
    xp: ModuleType = jnp,
) -> MomentState:
    """The empty state for several sets of weights; ``xp`` is NumPy or jax.numpy.

    It is in float64 if JAX has x64 enabled.
    """
    return MomentState(
        xp.zeros((num_rules, num_samples, components, channels)),
        xp.zeros((num_rules, num_samples, irreps)),
        xp.zeros((num_samples, irreps)),
    )


def irrep_starts(representation: Representation) -> np.ndarray:
    """First component of each irrep in the spherical basis."""
    sizes = [irrep.dimension for irrep in representation.irreps]
    return np.cumsum([0, *sizes[:-1]])


def _sum_irreps(
    representation: Representation,
    values: Float[Array | np.ndarray, "*batch components channels"],
) -> Any:
    """Sums over channels and over the components of each irrep: (..., irreps)."""
    xp = values.__array_namespace__()
    return xp.add.reduceat(values.sum(axis=-1), irrep_starts(representation), axis=-1)


def update(
    state: MomentState,
    representation: Representation,
    centred: Float[Array | np.ndarray, "group samples components channels"],
    weights: Float[Array | np.ndarray, "rules group"],
) -> MomentState:
    """Adds a batch of back-rotated responses z(g) - z_0, in spherical components.

    To average the entries of an array one by one, treat each as a sample of a scalar.

    Example:
      >>> import numpy as np
      >>> from symjax.metrics import moments
      >>> from symjax.so3 import SCALAR
      >>> values = np.array([[1.0, 2.0], [3.0, 2.0]])  # of two entries, two elements
      >>> state = moments.init(1, 2, 1, 1, 1, xp=np)
      >>> centred = (values - values[0])[:, :, None, None]
      >>> state = moments.update(state, SCALAR, centred, np.full((1, 2), 0.5))
      >>> start = values[0].reshape(2, 1, 1)
      >>> found = moments.finalize(state, SCALAR, start, num_elements=2, epsilon=1e-16)
      >>> found.mean.ravel().tolist(), found.variance.ravel().tolist()
      ([2.0, 2.0], [1.0, 0.0])
    """
    xp = centred.__array_namespace__()
    # The product over a batch may run in the precision of the response, because its
    # terms have the size of the variation. The sums over batches are float64.
    first = state.first
    squares = _sum_irreps(representation, xp.square(centred)).astype(weights.dtype)
    with jax.default_matmul_precision("highest"):
        # Empty for trivial representations, whose first moment is known otherwise.
        if first.shape[2]:
            local = weights.astype(centred.dtype)
            first = first + xp.tensordot(local, centred, 1)
        return MomentState(
            first,
            state.second + xp.tensordot(weights, squares, 1),
            state.absolute + xp.tensordot(xp.abs(weights[0]), squares, 1),
        )


class Moments(NamedTuple):
    """Finished moments, as NumPy float64 arrays.

    Attributes:
      mean: The mean in spherical components.
      variance: E||z - mean||^2 for each irrep; may be slightly negative.
      norm: E||z||^2 for each irrep; may be negative if weights are.
      noise: Bound on the round-off of ``variance``.
    """

    mean: np.ndarray
    variance: np.ndarray
    norm: np.ndarray
    noise: np.ndarray


def finalize(
    state: MomentState,
    representation: Representation,
    reference: Float[Array | np.ndarray, "samples components channels"],
    num_elements: int,
    epsilon: float,
    rule: int = 0,
    symmetry: LeafSymmetry | None = None,
) -> Moments:
    """Mean, variance and norm under one rule, the index of a set of weights.

    If one element of each orbit under a symmetry of the input was added, the reference
    must have this symmetry.
    """
    # On the host: slicing a JAX array compiles a program for each rule and shape.
    first = np.asarray(state.first, np.float64)[rule]
    second = np.asarray(state.second, np.float64)[rule]
    start = np.asarray(reference, np.float64)
    absolute = np.asarray(state.absolute, np.float64)
    if symmetry is not None:
        permutations = symmetry.permutations
        first = average_tensors(representation, symmetry.elements, permutations, first)
        second = average_scalars(permutations, second)
        absolute = average_scalars(permutations, absolute)

    terms = first**2, start**2, start * first
    shift, own, crossed = (_sum_irreps(representation, part) for part in terms)
    norm = own + 2 * crossed + second
    # Standard bound for a sum of n terms: n eps sum|terms|; pairwise summation in
    # the reductions makes sqrt(n) the realistic growth, 8 covers the squares.
    growth = 8 * np.sqrt(num_elements) * epsilon
    noise = growth * (absolute + shift)
    return Moments(start + first, second - shift, norm, noise)
