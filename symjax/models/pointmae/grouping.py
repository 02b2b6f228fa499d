"""Tokenisation: the points of each token and their coordinates.

There are two steps. :func:`assign_groups` makes discrete decisions (which points are
centres, which points are in a ball) that can flip under rotations, at ties and
boundaries. :func:`gather_groups` is linear in the positions and exactly equivariant.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from symjax.models.pointmae.centers import (
    centrality_nms,
    farthest_point_sampling,
    first_maximum,
    snap,
    squared_distances,
)
from symjax.models.pointmae.config import PointMAEConfig

_BLOCK = 32


class Assignment(NamedTuple):
    """The discrete decisions of a tokenisation.

    Attributes:
      centers: Index of the point at the centre of each token, ``(tokens,)``; -1 for
        padding.
      members: Indices of the points of each token, ``(tokens, group_points)``; -1 for
        padding.
      mask: True for tokens, False for padding.
      neighbors: Indices of the tokens from which each point's features are
        interpolated, nearest first, ``(points, neighbors)``; -1 for padding.
      num_found: Number of centres found. If it exceeds the number of slots, the context
        is too short and the last tokens are missing.
    """

    centers: Int[Array, "tokens"]
    members: Int[Array, "tokens group_points"]
    mask: Bool[Array, "tokens"]
    neighbors: Int[Array, "points neighbors"]
    num_found: Int[Array, ""]


class Groups(NamedTuple):
    """Tokens as the network reads them.

    Attributes:
      points: Coordinates of the points relative to the centre, in radii, and their
        energies, ``(tokens, group_points, 4)``; padding repeats the first point.
      point_mask: True for points, False for padding, ``(tokens, group_points)``.
      centers: Centres in normalised coordinates, ``(tokens, 3)``.
      mask: True for tokens, False for padding.
    """

    points: Float[Array, "tokens group_points 4"]
    point_mask: Bool[Array, "tokens group_points"]
    centers: Float[Array, "tokens 3"]
    mask: Bool[Array, "tokens"]


def first_true(mask: Bool[Array, "... n"], num: int) -> Int[Array, "... num"]:
    """Indices of the first ``num`` True entries along the last axis; -1 beyond them."""
    size = mask.shape[-1]
    # Running counts as products with a triangular matrix, which read the mask once. A
    # compiler may recompute it for every use, each time with other round-off, and
    # counts of points on the surface of a ball would then be inconsistent.
    rows = jnp.pad(mask.reshape(-1, size), ((0, 0), (0, -size % _BLOCK)))
    blocks = rows.reshape(len(rows), -1, _BLOCK).astype(jnp.float32)
    ones = jnp.triu(jnp.ones((_BLOCK, _BLOCK), jnp.float32))
    inside = jnp.matmul(blocks, ones, precision="highest")
    totals = inside[..., -1]
    before = jnp.cumsum(totals, axis=-1) - totals
    counts = (inside + before[..., None]).reshape(rows.shape)
    wanted = jnp.arange(1, num + 1, dtype=jnp.float32)
    found = jax.vmap(lambda row: jnp.searchsorted(row, wanted))(counts)
    found = jnp.where(found < size, found, -1)
    return found.reshape(*mask.shape[:-1], num)


@functools.partial(jax.jit, static_argnames=("num", "quantum"))
def ball_query(
    centers: Float[Array, "tokens 3"],
    points: Float[Array, "points 3"],
    mask: Bool[Array, "points"],
    radius: float | Float[Array, ""],
    num: int,
    quantum: float | None = None,
) -> Int[Array, "tokens num"]:
    """Points within a ball about each centre, the first ``num`` in order of index.

    Source: Qi et al., PointNet++, arXiv:1706.02413, Sec. 3.2.

    Args:
      centers: Centres of the balls.
      points: Coordinates.
      mask: True for real points.
      radius: Radius, which points must be closer than.
      num: Largest number of points in a ball.
      quantum: See :func:`~symjax.models.pointmae.centers.snap`.

    Returns:
      Ascending indices; -1 for padding.
    """
    squares = squared_distances(centers, points, quantum)
    # In the dtype of the distances: points of a lattice can lie on the surface, where
    # the last digit decides.
    near = squares < snap(jnp.square(jnp.asarray(radius, points.dtype)), quantum)
    return first_true(near & mask, num)


@functools.partial(jax.jit, static_argnames=("num", "quantum"))
def nearest_neighbors(
    queries: Float[Array, "queries 3"],
    points: Float[Array, "points 3"],
    mask: Bool[Array, "points"],
    num: int,
    quantum: float | None = None,
) -> Int[Array, "queries num"]:
    """The ``num`` nearest real points of each query.

    Args:
      queries: Coordinates of the queries.
      points: Coordinates of the points.
      mask: True for real points.
      num: Number of points.
      quantum: See :func:`~symjax.models.pointmae.centers.snap`.

    Returns:
      Indices, nearest first and ties in order of index; -1 for padding.
    """
    squares = squared_distances(queries, points, quantum)
    distances = jnp.where(mask, squares, jnp.inf)
    if points.shape[0] < num:
        missing = num - points.shape[0]
        distances = jnp.pad(distances, ((0, 0), (0, missing)), constant_values=jnp.inf)
    slots = jnp.arange(distances.shape[1])

    # One pass over the distances for each neighbor, faster than sorting for a few.
    def body(remaining: Array, _: None) -> tuple[Array, Array]:
        index = first_maximum(-remaining, slots)
        found = jnp.take_along_axis(remaining, index[:, None], axis=1)[:, 0] < jnp.inf
        remaining = jnp.where(slots == index[:, None], jnp.inf, remaining)
        return remaining, jnp.where(found, index, -1)

    if num <= 16:
        _, order = jax.lax.scan(body, distances, None, length=num)
        return order.T
    values, index = jax.lax.top_k(-distances, num)
    return jnp.where(values > -jnp.inf, index, -1)


def _reduce_by_energy(
    members: Int[Array, "tokens candidates"], energies: Float[Array, "points"], num: int
) -> Int[Array, "tokens num"]:
    """The members with the largest energies, largest first."""
    values = jnp.where(members >= 0, energies[members], -jnp.inf)
    best, index = jax.lax.top_k(values, num)
    return jnp.where(best > -jnp.inf, jnp.take_along_axis(members, index, axis=1), -1)


def _reduce_by_distance(
    members: Int[Array, "tokens candidates"],
    positions: Float[Array, "points 3"],
    num: int,
    quantum: float | None,
) -> Int[Array, "tokens num"]:
    """Farthest points among the members, starting from the first one."""
    picked = jax.vmap(
        lambda index: farthest_point_sampling(
            positions[index], index >= 0, num, quantum=quantum
        )
    )(members)
    chosen = jnp.take_along_axis(members, jnp.maximum(picked, 0), axis=1)
    return jnp.where(picked >= 0, chosen, -1)


@functools.partial(jax.jit, static_argnames=("config",))
def assign_groups(
    config: PointMAEConfig,
    positions: Float[Array, "points 3"],
    energies: Float[Array, "points"],
    mask: Bool[Array, "points"],
) -> Assignment:
    """Chooses the centres and members of the tokens of one event.

    Centres are the points that remain after centrality-based suppression, or without it
    the farthest points. Members are the points in a ball about the centre, or without
    a radius the nearest points, reduced to ``group_points``. Distances are computed in
    float32 in any precision of the network, as in the released implementation. Source:
    arXiv:2502.02558, Sec. 3.1.

    Args:
      config: Hyperparameters.
      positions: Normalised coordinates.
      energies: Normalised energies.
      mask: True for real points.

    Returns:
      The assignment, which rotations change only at ties and by round-off.
    """
    tokens, size = config.context_length, config.group_points
    quantum = config.quantum
    count = positions.shape[0]
    positions = positions.astype(jnp.float32)
    candidates = jnp.arange(count)
    candidate_mask = mask
    # The first real point: after voxelisation padding may come before it.
    start = jnp.maximum(first_true(mask, 1)[0], 0)
    if config.num_seeds is not None:
        candidates = farthest_point_sampling(
            positions, mask, config.num_seeds, start, quantum
        )
        candidate_mask = candidates >= 0
    if config.overlap_factor is not None:
        candidate_mask = centrality_nms(
            positions[candidates],
            candidate_mask,
            config.suppression_radius,
            config.max_neighbors,
            quantum,
        )
    elif config.repeat_first:
        candidates = jnp.where(candidate_mask, candidates, start)
        candidate_mask = jnp.full_like(candidate_mask, jnp.any(mask))
    chosen = first_true(candidate_mask, tokens)
    centers = jnp.where(chosen >= 0, candidates[chosen], -1)
    where = positions[centers]
    if config.group_radius is None:
        wide = config.upscale_points or size
        members = nearest_neighbors(where, positions, mask, wide, quantum)
        if config.repeat_first:
            members = jnp.where(members >= 0, members, start)
    else:
        wide = min(config.upscale_points or count, count)
        members = ball_query(where, positions, mask, config.group_radius, wide, quantum)
    members = jnp.where(centers[:, None] >= 0, members, -1)
    if wide < size:
        members = jnp.pad(members, ((0, 0), (0, size - wide)), constant_values=-1)
    if config.reduction == "energy":
        members = _reduce_by_energy(members, energies, size)
    else:
        members = _reduce_by_distance(members, positions, size, quantum)
    used = jnp.any(members >= 0, axis=1)
    middle = _centers(config, positions, centers, members)
    neighbors = nearest_neighbors(
        positions, middle, used, config.num_upsampling_neighbors, quantum
    )
    return Assignment(centers, members, used, neighbors, jnp.sum(candidate_mask))


def _centers(
    config: PointMAEConfig,
    positions: Float[Array, "points 3"],
    centers: Int[Array, "tokens"],
    members: Int[Array, "tokens group_points"],
) -> Float[Array, "tokens 3"]:
    if not config.mean_centers:
        return positions[centers]
    weights = (members >= 0)[..., None].astype(positions.dtype)
    total = jnp.sum(positions[members] * weights, axis=1)
    return total / jnp.maximum(jnp.sum(weights, axis=1), 1)


@functools.partial(jax.jit, static_argnames=("config",))
def gather_groups(
    config: PointMAEConfig,
    assignment: Assignment,
    positions: Float[Array, "points 3"],
    energies: Float[Array, "points"],
) -> Groups:
    """Gathers the coordinates and energies of the members of every token.

    Linear in the positions, and so exactly equivariant under O(3). Padded tokens are 0.
    """
    members, mask = assignment.members, assignment.mask
    point_mask = members >= 0
    filled = jnp.where(point_mask, members, jnp.maximum(members[:, :1], 0))
    centers = _centers(config, positions, assignment.centers, members)
    relative = positions[filled] - centers[:, None]
    if config.group_radius is not None:
        relative = relative / config.group_radius
    points = jnp.concatenate([relative, energies[filled][..., None]], axis=-1)
    return Groups(
        jnp.where(mask[:, None, None], points, 0),
        point_mask,
        jnp.where(mask[:, None], centers, 0),
        mask,
    )
