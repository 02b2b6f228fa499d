"""Projections onto outputs that the symmetry of an input allows, and forbids.

Let H be the stabiliser of an input x: for each h in H, h x is x with permuted samples.
The output y of an equivariant function obeys rho(h) y[s] = y[p_h(s)]. It is therefore
invariant under the projection

    (Q y)[s] = 1 / |H| sum_h rho(h)^-1 y[p_h(s)],

and its forbidden part (1 - Q) y vanishes.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from symjax.errors import ArgumentError
from symjax.so3.representations import (
    Representation,
    from_spherical,
    spherical_matrix_table,
    split_axes,
    to_spherical,
)


def forbidden_part(
    representation: Representation,
    values: Float[Array, "*samples_and_components"],
    elements: Float[np.ndarray, "order 3 3"],
    permutations: Int[np.ndarray, "order samples"],
) -> Float[Array, "*samples_and_components"]:
    """The part (1 - Q) y of an output that the symmetry of its input forbids.

    It vanishes for equivariant functions of an input that the elements map onto itself.

    Args:
      representation: The representation of the output.
      values: The output y, ``(*samples, *shape, *channels)``.
      elements: The stabiliser H of the input.
      permutations: For each element the index p_h(s) of the sample onto which it maps
        sample s, of flattened samples.

    Returns:
      Array of the shape of ``values``.

    Raises:
      ArgumentError: The permutations do not fit the samples.
      RepresentationError: The shape of ``values`` does not fit.

    Example:
      >>> import jax.numpy as jnp, numpy as np
      >>> from symjax.diagnose import forbidden_part
      >>> from symjax.so3 import VECTOR
      >>> mirror = np.stack([np.eye(3), np.diag([1.0, 1.0, -1.0])])
      >>> dipole = jnp.array([1.0, 2.0, 3.0])  # of a molecule in the plane z = 0
      >>> part = forbidden_part(VECTOR, dipole, mirror, np.zeros((2, 1), int))
      >>> abs(part).round(6).tolist()
      [0.0, 0.0, 3.0]
    """
    spherical = to_spherical(representation, values)
    samples, components, channels = split_axes(representation, jnp.shape(values))
    flat = spherical.reshape(-1, components, channels)
    permutations = np.asarray(permutations).reshape(len(elements), -1)
    if permutations.shape[1] != len(flat):
        raise ArgumentError(
            "permutations",
            permutations.shape,
            f"does not fit the {len(flat)} samples of the values",
            f"Pass integers of shape ({len(elements)}, {len(flat)})",
        )
    matrices = spherical_matrix_table(representation, elements).astype(flat.dtype)
    forbidden = without_allowed(matrices, permutations, flat)
    return from_spherical(
        representation, forbidden.reshape(*samples, components, channels)
    )


def without_allowed(
    matrices: Float[np.ndarray, "order components components"],
    permutations: Int[np.ndarray, "order samples"],
    values: Any,
) -> Any:
    """As :func:`forbidden_part`, of spherical components; NumPy stays on the host."""
    xp = values.__array_namespace__()
    with jax.default_matmul_precision("highest"):
        # rho(h)^-1 is the transpose.
        images = values[..., permutations, :, :]
        moved = xp.einsum("hij,...hsic->...sjc", matrices, images)
    return values - moved / len(matrices)


def allowed_dimension(
    representation: Representation,
    elements: Float[np.ndarray, "order 3 3"],
    permutations: Int[np.ndarray, "order samples"],
) -> int:
    """Dimension of the outputs that the symmetry of an input allows.

    It is the trace of Q: the mean over h of the trace of rho(h) times the number of
    samples that h maps onto themselves.

    Args:
      representation: The representation; its channels are not counted.
      elements: The stabiliser H of the input.
      permutations: For each element the index of the image of each sample.

    Returns:
      The dimension, at most samples times components.

    Example:
      >>> import numpy as np
      >>> from symjax.diagnose import allowed_dimension
      >>> from symjax.so3 import VECTOR
      >>> mirror = np.stack([np.eye(3), np.diag([1.0, 1.0, -1.0])])
      >>> allowed_dimension(VECTOR, mirror, np.zeros((2, 1), int))
      2
    """
    matrices = spherical_matrix_table(representation, elements)
    permutations = np.asarray(permutations).reshape(len(elements), -1)
    fixed = (permutations == np.arange(permutations.shape[1])).sum(axis=1)
    traces = np.einsum("hii->h", matrices)
    return round(float((traces * fixed).mean()))
