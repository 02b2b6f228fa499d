"""From points to tokens: which points a token holds, and their coordinates in it.

The two halves are separate, because they break symmetry for different reasons.
:func:`assign_groups` takes discrete decisions (which points are centres, which points
lie in a ball), which flip at ties and boundaries; :func:`gather_groups` is linear in
the positions and commutes with rotations exactly.
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
      centers: Point at the centre of each token, ``(tokens,)``; -1 for padding.
      members: Points of each token, ``(tokens, group_points)``; -1 for padding.
      mask: True where a token is used.
      neighbors: Tokens from which each point's features are interpolated, nearest
        first, ``(points, neighbors)``; -1 for padding.
      num_found: Number of centres that were found; more than there are slots if the
        context is too short, in which case the last ones are missing.
    """

    centers: Int[Array, "tokens"]
    members: Int[Array, "tokens group_points"]
    mask: Bool[Array, "tokens"]
    neighbors: Int[Array, "points neighbors"]
    num_found: Int[Array, ""]


class Groups(NamedTuple):
    """Tokens as the network reads them.

    Attributes:
      points: Members relative to the centre, coordinates over the radius, and
        energy, ``(tokens, group_points, 4)``; padding repeats the first member.
      point_mask: True for members, ``(tokens, group_points)``.
      centers: Centres in normalised coordinates, ``(tokens, 3)``.
      mask: True where a token is used.
    """

    points: Float[Array, "tokens group_points 4"]
    point_mask: Bool[Array, "tokens group_points"]
    centers: Float[Array, "tokens 3"]
    mask: Bool[Array, "tokens"]


def first_true(mask: Bool[Array, "... n"], num: int) -> Int[Array, "... num"]:
    """Indices of the first ``num`` True entries along the last axis; -1 beyond them."""
    size = mask.shape[-1]
    # Running counts, as products with a triangle: they read the mask once. A compiler
    # may compute it anew for every reader, each with its own round-off, and counts of
    # points on the surface of a ball would contradict each other.
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
    """The first ``num`` points, by index, that are closer to a centre than a radius.

    Ascending indices; -1 where there are no more. Source: Qi et al., PointNet++,
    arXiv:1706.02413, Sec. 3.2.
    """
    squares = squared_distances(centers, points, quantum)
    # In the type of the points, as their distances: on a lattice points lie on the
    # surface, where the last digit decides.
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
    """The nearest points of each query, nearest first, ties by index.

    Indices; -1 where there are no more real points.
    """
    squares = squared_distances(queries, points, quantum)
    distances = jnp.where(mask, squares, jnp.inf)
    if points.shape[0] < num:
        missing = num - points.shape[0]
        distances = jnp.pad(distances, ((0, 0), (0, missing)), constant_values=jnp.inf)
    slots = jnp.arange(distances.shape[1])

    # A few passes over the distances: for the handful of neighbours that a model
    # asks for, faster than sorting them all.
    def body(
        rest: Float[Array, "queries points"], _: None
    ) -> tuple[Float[Array, "queries points"], Int[Array, "queries"]]:
        index = first_maximum(-rest, slots)
        found = jnp.take_along_axis(rest, index[:, None], axis=1)[:, 0] < jnp.inf
        rest = jnp.where(slots == index[:, None], jnp.inf, rest)
        return rest, jnp.where(found, index, -1)

    if num <= 16:
        _, order = jax.lax.scan(body, distances, None, length=num)
        return order.T
    values, index = jax.lax.top_k(-distances, num)
    return jnp.where(values > -jnp.inf, index, -1)


def _reduce_by_energy(
    members: Int[Array, "tokens candidates"], energies: Float[Array, "points"], num: int
) -> Int[Array, "tokens num"]:
    """The members of the largest energies, largest first."""
    values = jnp.where(members >= 0, energies[members], -jnp.inf)
    best, index = jax.lax.top_k(values, num)
    return jnp.where(best > -jnp.inf, jnp.take_along_axis(members, index, axis=1), -1)


def _reduce_by_distance(
    members: Int[Array, "tokens candidates"],
    positions: Float[Array, "points 3"],
    num: int,
    quantum: float | None,
) -> Int[Array, "tokens num"]:
    """Farthest points among the members, from the first one on; some twice."""
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
    """Chooses centres and members of the tokens of one event.

    Centres are the points that centrality-based suppression leaves (or farthest
    points without it); members lie in a ball about the centre (or are the nearest
    points without a radius), reduced to ``group_points``. Every token with a point is
    used. Distances are in float32, as in the released implementation, in any
    precision of the network. Source: arXiv:2502.02558, Sec. 3.1.

    Positions and energies are normalised; rotating the positions changes the decisions
    only at ties.
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


def gather_groups(
    config: PointMAEConfig,
    assignment: Assignment,
    positions: Float[Array, "points 3"],
    energies: Float[Array, "points"],
) -> Groups:
    """Coordinates and energies of the members of every token; unused ones are 0.

    Linear in the positions: g commutes with it for every orthogonal g.
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
