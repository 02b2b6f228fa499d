"""Frames that turn with a structure, from the vectors of its edges."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

# Below this, a vector has no direction.
_SMALLEST = 1e-9
# Length over which short edges are preferred as axes of frames, in angstrom.
_DECAY = 0.5


def _direction(vectors: Float[Array, "... 3"]) -> Float[Array, "... 3"]:
    """Unit vectors, 0 where there is no direction; derivatives stay finite."""
    square = jnp.sum(vectors**2, axis=-1, keepdims=True)
    good = square > _SMALLEST**2
    return jnp.where(good, vectors * jax.lax.rsqrt(jnp.where(good, square, 1)), 0)


def _frame(a: Float[Array, "... 3"], b: Float[Array, "... 3"]) -> Array:
    """Rows of a right-handed frame with x along a, and y in the plane of a and b."""
    x = _direction(a)
    z = _direction(jnp.cross(x, b))
    return jnp.stack([x, jnp.cross(z, x), z], axis=-2)


def canonical_frames(
    vectors: Float[Array, "atoms neighbors 3"],
    weights: Float[Array, "atoms neighbors"],
    numbers: Float[Array, "atoms"],
    structure: Int[Array, "atoms"],
    num_structures: int,
) -> Float[Array, "structures 3 3"]:
    """One frame for each structure, which turns with it under all of O(3).

    With u_i the sum of an atom's edges' directions under the cutoff's weights, the
    axes follow, by Gram and Schmidt, from ``sum_i |u_i|^2 u_i`` and ``sum_i Z_i u_i``;
    the third points to the side of ``sum_i Z_i |u_i| u_i``. A frame jumps where these
    fall into a line, or a plane, and does not exist where symmetry demands that: its
    axis is 0 there, and the network sees a projection of the structure.

    Args:
      vectors: Edge vectors in angstrom, 0 for padding.
      weights: Cutoff factors, 0 for padding.
      numbers: A number for each species; 0 for padding.
      structure: Structure of each atom.
      num_structures: Number of structures.

    Returns:
      Frames Q, rows being axes: Q(g x) = Q(x) g^T. Q v are a vector's coordinates.
    """
    summed = jnp.sum(_direction(vectors) * weights[..., None], axis=1)
    square = jnp.sum(summed**2, axis=-1, keepdims=True)
    length = jnp.sqrt(jnp.where(square > 0, square, 1)) * (square > 0)
    z = numbers[:, None]
    a, b, side = (
        jax.ops.segment_sum(factor * summed, structure, num_structures)
        for factor in (square * (z > 0), z, z * length)
    )
    frame = _frame(a, b)
    hand = jnp.where(jnp.sum(frame[:, 2] * side, axis=-1) < 0, -1, 1)
    return frame.at[:, 2].multiply(hand[:, None])


def weighted_frames(
    vectors: Float[Array, "atoms neighbors 3"],
    distances: Float[Array, "atoms neighbors"],
    weights: Float[Array, "atoms neighbors"],
    mask: Bool[Array, "atoms neighbors"],
    structure: Int[Array, "atoms"],
    num_structures: int,
    num_frames: int,
) -> tuple[Float[Array, "frames structures 3 3"], Float[Array, "frames structures"]]:
    """Frames of pairs of edges, with weights that make an average continuous.

    A pair of edges of one atom, with x along the first, has the weight
    ``c_ij^2 c_ik |r_ij x r_ik|^2 / (r_ij r_ik)^2 exp(-(2 r_ij + r_ik) / a)`` with c the
    cutoff's factors and a = 0.5 angstrom: none where its frame is not defined. Of each
    structure the largest are kept, each minus the largest that is left out and squared,
    so that a frame that enters or leaves has no weight then (the idea of Pozdnyakov and
    Ceriotti, arXiv:2305.19302, and of Dym et al., arXiv:2402.16077). An average over K
    frames jumps only where K + 1 pairs tie.

    Args:
      vectors: Edge vectors in angstrom.
      distances: Their lengths.
      weights: Cutoff factors, 0 for padding.
      mask: True for edges.
      structure: Structure of each atom.
      num_structures: Number of structures.
      num_frames: Frames to keep; with mirror images, twice as many elements result.

    Returns:
      Elements, proper ones and their mirror images, and weights, whose sum over
      elements is 1. Weights are NaN where there is no such average: all edges
      of a structure lie on one line, or all pairs that are kept tie with one that is
      left out (ask for more frames, at least as many as the structure has equal pairs).
      A structure without edges has the identity.
    """
    neighbors = vectors.shape[1]
    unit = _direction(vectors)
    shortest = jax.ops.segment_min(
        jnp.min(jnp.where(mask, distances, jnp.inf), axis=1), structure, num_structures
    )
    # Relative to the shortest edge, so that no structure's weights underflow.
    beyond = distances - jnp.where(jnp.isfinite(shortest), shortest, 0)[structure, None]
    single = jnp.where(mask, weights * jnp.exp(-beyond / _DECAY), 0)
    cosine = jnp.einsum("ajx,akx->ajk", unit, unit, precision="highest")
    pair = single[:, :, None] ** 2 * single[:, None, :] * jnp.clip(1 - cosine**2, 0)
    owned = structure[None] == jnp.arange(num_structures)[:, None]
    pair = jnp.where(owned[:, :, None, None], pair[None], 0)
    flat = pair.reshape(num_structures, -1)
    kept = min(num_frames, flat.shape[1])
    best, index = jax.lax.top_k(flat, min(kept + 1, flat.shape[1]))
    cut = best[:, -1:] if best.shape[1] > kept else 0
    best, index = best[:, :kept], index[:, :kept]
    strength = jnp.square(jnp.maximum(best - cut, 0))
    center, first = index // neighbors**2, index // neighbors % neighbors
    frames = _frame(unit[center, first], unit[center, index % neighbors])
    # Without edges the network sees no orientation; padding must stay finite.
    empty = ~jnp.isfinite(shortest)[:, None]
    frames = jnp.where(empty[..., None, None], jnp.eye(3, dtype=frames.dtype), frames)
    strength = jnp.where(empty, 1, strength)
    share = strength / jnp.sum(strength, axis=1, keepdims=True)
    frames, share = jnp.swapaxes(frames, 0, 1), jnp.swapaxes(share, 0, 1)
    # The third axis is a cross product, and keeps its sign under reflections.
    mirrored = frames.at[..., 2, :].multiply(-1)
    return jnp.concatenate([frames, mirrored]), jnp.concatenate([share, share]) / 2
