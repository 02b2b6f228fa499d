"""Voxelisation with static shapes: snapping to a lattice, merging what coincides."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


class Voxelised(NamedTuple):
    """Points after voxelisation, in the slots of the points before.

    Attributes:
      positions: Lattice coordinates of each point's voxel, ``(points, 3)``.
      energies: Sum over the voxel, at its first point; 0 elsewhere.
      mask: True at the first point of each voxel.
      representative: For each point the slot that holds its voxel.

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
    """Rounds positions to the integer lattice and merges points of one voxel.

    Energies of a voxel add up, so the total is conserved. All pairs are compared:
    time and memory grow with the square of the number of points.

    Args:
      positions: Coordinates in voxels, at which voxel i extends from i - 1/2 to
        i + 1/2.
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
