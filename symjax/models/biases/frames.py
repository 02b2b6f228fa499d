"""Frames that rotate with a structure, built from its edge vectors."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

# Below this, a vector has no direction.
_SMALLEST = 1e-9
# Length over which short edges are preferred as axes of frames, in angstrom.
_DECAY = 0.5


def _direction(vectors: Float[Array, "... 3"]) -> Float[Array, "... 3"]:
    """Unit vectors, 0 for vectors shorter than 1e-9; derivatives stay finite."""
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
    """One frame for each structure, equivariant under O(3).

    With u_i the sum of the edge directions of atom i, weighted by the cutoff factors,
    the first two axes follow from ``sum_i |u_i|^2 u_i`` and ``sum_i Z_i u_i`` by
    Gram-Schmidt. The third is normal to both, on the side of ``sum_i Z_i |u_i| u_i``.
    The frame is discontinuous where the first two vectors are parallel, or the third
    lies in their plane. Where symmetry makes an axis undefined it is 0, and the network
    sees a projection of the structure.

    Args:
      vectors: Edge vectors in angstrom, 0 for padding.
      weights: Cutoff factors, 0 for padding.
      numbers: Atomic number Z of each atom, above 0.
      structure: Index of each atom's structure.
      num_structures: Number of structures.

    Returns:
      Frames Q, whose rows are the axes, so that Q v are the coordinates of a vector v
      in the frame. Under g in O(3), Q(g x) = Q(x) g^T.
    """
    summed = jnp.sum(_direction(vectors) * weights[..., None], axis=1)
    square = jnp.sum(summed**2, axis=-1, keepdims=True)
    length = jnp.sqrt(jnp.where(square > 0, square, 1)) * (square > 0)
    z = numbers[:, None]
    a, b, side = (
        jax.ops.segment_sum(factor * summed, structure, num_structures)
        for factor in (square, z, z * length)
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
    """Frames of pairs of edges, with weights that make an average over them continuous.

    A pair of edges ij and ik of one atom defines a frame with x along ij and y in the
    plane of both. It has the strength
    ``s = c_ij^2 c_ik |r_ij x r_ik|^2 / (r_ij r_ik)^2 exp(-(2 r_ij + r_ik) / a)`` with
    cutoff factors c and a = 0.5 angstrom, which vanishes where the frame is undefined.
    The K strongest pairs of each structure are kept, with weights in proportion to
    (s - s')^2, where s' is the largest strength that is left out: a frame has weight 0
    when it enters or leaves (after Pozdnyakov and Ceriotti, arXiv:2305.19302, and Dym
    et al., arXiv:2402.16077). An average over K frames is discontinuous only where
    K + 1 pairs tie.

    Args:
      vectors: Edge vectors in angstrom.
      distances: Edge lengths in angstrom.
      weights: Cutoff factors, 0 for padding.
      mask: True for edges.
      structure: Index of each atom's structure.
      num_structures: Number of structures.
      num_frames: Number K of frames to keep; fewer if there are fewer pairs.

    Returns:
      2 K elements, the frames and their mirror images, and weights, whose sum over the
      elements of a structure is 1. Weights are NaN where the average is undefined: if
      all edges of a structure are collinear, or if all kept pairs tie with one that is
      left out (use more frames, at least as many as there are equivalent pairs). A
      structure without edges gets the identity and its mirror image.
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
