"""A penalty on the content of features in chosen irreps."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from symjax.data.graph import Graph
from symjax.so3.irreps import Irrep


def content_penalty(
    features: Float[Array, "elements atoms ..."],
    graph: Graph,
    elements: Float[Array, "structures elements 3 3"],
    sectors: Sequence[Irrep] = (),
) -> Float[Array, ""]:
    """Estimates the content of features in some sectors, summed over structures.

    The features h_k of one structure at K elements g_k have the content

        B_l,sigma = (2l + 1) / (K (K - 1)) sum_{k != k'} chi(g_k^-1 g_k') <h_k, h_k'>
                    / (1 / K sum_k <h_k, h_k>),

    chi being the character of the irrep. The numerator is an unbiased estimate of
    ||P_l,sigma h||^2 (Domina et al., arXiv:2603.24638), and may be negative.

    Args:
      features: Features of atoms or edges at K elements.
      graph: The structures.
      elements: The elements of O(3) for each structure.
      sectors: Irreps whose B are added up; if empty, all but 0+, which is 1 - B_0+.

    Returns:
      The sum over structures; those whose features vanish count as 0.
    """
    mask = jnp.asarray(graph.atom_mask if features.ndim == 3 else graph.edge_mask)
    rows = jnp.where(mask[..., None], features, 0)
    rows = rows.reshape(*rows.shape[:2], -1)
    products = jnp.einsum("kaf,naf->akn", rows, rows, precision="highest")
    gram = jax.ops.segment_sum(
        products, jnp.asarray(graph.structure), num_segments=len(graph.cells)
    )
    number = gram.shape[-1]
    size = jnp.trace(gram, axis1=-2, axis2=-1) / number
    apart = gram * (1 - jnp.eye(number)) / (number * (number - 1))
    if sectors:
        between = jnp.swapaxes(elements, -1, -2)[:, :, None] @ elements[:, None]
        weights = sum(
            (irrep.dimension * _character(irrep, between) for irrep in sectors),
            jnp.zeros_like(gram),
        )
        found = jnp.sum(weights * apart, axis=(-2, -1))
    else:
        found = size - jnp.sum(apart, axis=(-2, -1))
    there = jnp.asarray(graph.structure_mask) & (size > 0)
    return jnp.sum(jnp.where(there, found / jnp.where(there, size, 1), 0))


def _character(irrep: Irrep, elements: Array) -> Array:
    """Character of elements of O(3), by the Chebyshev recurrence of cos(m theta)."""
    sign = jnp.sign(jnp.linalg.det(elements))
    cosine = (sign * jnp.trace(elements, axis1=-2, axis2=-1) - 1) / 2
    before, current = jnp.ones_like(cosine), cosine
    total = jnp.ones_like(cosine)
    for _ in range(irrep.degree):
        total = total + 2 * current
        before, current = current, 2 * cosine * current - before
    return total * jnp.where(sign > 0, 1, irrep.parity)
