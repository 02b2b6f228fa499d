"""Voxelisation with static shapes: round to a lattice and merge coinciding points."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


class Voxelised(NamedTuple):
    """Result of :func:`voxelise`, with one entry per original point.

    Attributes:
      positions: Lattice coordinates of the voxel of each point, ``(points, 3)``.
      energies: Total energy of the voxel at its first point; 0 elsewhere.
      mask: True at the first point of each voxel.
      representative: For each point the index of the first point of its voxel.

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.data.point_clouds import voxelise
      >>> x = jnp.array([[0.2, 0.0, 0.0], [1.0, 0.0, 0.0], [-0.2, 0.0, 0.0]])
      >>> voxelise(x, jnp.array([1.0, 2.0, 4.0]), jnp.ones(3, bool)).energies.tolist()
      [5.0, 2.0, 0.0]
    """

    positions: Float[Array, "points 3"]
    energies: Float[Array, "points"]
    mask: Bool[Array, "points"]
    representative: Int[Array, "points"]


def voxelise(
    positions: Float[Array, "points 3"],
    energies: Float[Array, "points"],
    mask: Bool[Array, "points"],
) -> Voxelised:
    """Rounds positions to the integer lattice and merges the points of each voxel.

    The energies of a voxel are summed, so that the total is conserved. All pairs of
    points are compared: time and memory are quadratic in the number of points.

    Args:
      positions: Coordinates in voxels; voxel i extends from i - 1/2 to i + 1/2.
      energies: Energies in MeV.
      mask: True where a point is real.

    Returns:
      The voxels; padding is its own representative.

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.data.point_clouds import voxelise
      >>> x = jnp.array([[0.2, 0.0, 0.0], [1.0, 0.0, 0.0], [-0.2, 0.0, 0.0]])
      >>> out = voxelise(x, jnp.ones(3), jnp.ones(3, bool))
      >>> out.mask.tolist(), out.representative.tolist()
      ([True, True, False], [0, 1, 0])
    """
    lattice = jnp.round(positions)
    same = jnp.all(lattice[:, None] == lattice[None], axis=-1)
    same = same & mask[:, None] & mask[None]
    slots = jnp.arange(len(mask))
    first = jnp.min(jnp.where(same, slots, len(mask)), axis=1)
    representative = jnp.where(mask, first, slots)
    keep = mask & (representative == slots)
    total = jnp.sum(jnp.where(same, energies[None], 0), axis=1)
    return Voxelised(lattice, jnp.where(keep, total, 0), keep, representative)
