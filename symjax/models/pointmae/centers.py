"""Which points become centres of tokens: farthest points, and the most central ones.

Every function has static shapes, runs under `jit` and `vmap`, and reads positions
only through distances, so it commutes with rotations up to ties and round-off.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from symjax.errors import ArgumentError

_LARGE = 1e38


def snap(squares: Float[Array, "..."], quantum: float | None) -> Float[Array, "..."]:
    """Rounds squared distances to multiples of a quantum, if there is one.

    Points of a lattice have many equal distances, and radii of whole voxels have
    points exactly on the sphere. In normalised coordinates round-off decides such
    ties, differently at every orientation; rounding makes them ties again. The quantum
    is well below that of the lattice and above round-off.
    """
    return squares if quantum is None else jnp.round(squares / quantum) * quantum


def rounded_square(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """x^2, rounded before anything is added to it.

    A compiler may fuse a product and a sum into one operation that rounds once, and
    does or does not from one reader to the next. On a lattice, where round-off decides
    between points at equal distances, tokens would then depend on what is compiled
    together. Rounded apart, as the CPU build of the released implementation does, they
    do not.
    """
    square = jnp.square(x)
    # No compiler can know that this changes nothing.
    return jnp.where(square > _LARGE, jnp.inf, square)


def squared_distances(
    a: Float[Array, "n 3"], b: Float[Array, "m 3"], quantum: float | None = None
) -> Float[Array, "n m"]:
    """||a_i - b_j||^2, from differences: exact for integer coordinates."""
    # Coordinate by coordinate, so that no array of all differences is made.
    total = jnp.zeros((a.shape[0], b.shape[0]), a.dtype)
    for axis in range(a.shape[-1]):
        total = total + rounded_square(a[:, None, axis] - b[None, :, axis])
    return snap(total, quantum)


@functools.partial(jax.jit, static_argnames=("num", "quantum"))
def farthest_point_sampling(
    points: Float[Array, "n 3"],
    mask: Bool[Array, "n"],
    num: int,
    start: int | Int[Array, ""] = 0,
    quantum: float | None = None,
) -> Int[Array, "num"]:
    """Picks points one after another, each the farthest from those picked before.

      i_{k+1} = argmax_i min_{j <= k} ||x_i - x_{i_j}||

    The first is ``start``, which must be real. Ties go to the smallest index. Points
    that were picked have distance 0, so that once every position is taken, what is left
    are copies of the first point. Source: Qi et al., PointNet++, arXiv:1706.02413,
    Sec. 3.2, and kernels of PyTorch3D.

    Returns:
      Indices in the order of picking, as many as there are real points at most; -1
      beyond.
    """
    slots = jnp.arange(points.shape[0])
    columns = points.T

    def step(
        nearest: Float[Array, "n"], picked: Int[Array, ""]
    ) -> tuple[Float[Array, "n"], Int[Array, ""]]:
        squares = rounded_square(columns - columns[:, picked, None])
        distance = snap(squares[0] + squares[1] + squares[2], quantum)
        # Padding has -1, below every distance.
        nearest = jnp.minimum(nearest, distance)
        return nearest, first_maximum(nearest, slots)

    def body(
        carry: tuple[Float[Array, "n"], Int[Array, ""]], _: None
    ) -> tuple[tuple[Float[Array, "n"], Int[Array, ""]], Int[Array, ""]]:
        nearest, picked = carry
        new, following = step(nearest, picked)
        return (new, following), picked

    first = jnp.asarray(start, slots.dtype)
    nearest = jnp.where(mask, jnp.inf, -1.0).astype(points.dtype)
    _, order = jax.lax.scan(body, (nearest, first), None, length=num)
    return jnp.where(jnp.arange(num) < jnp.sum(mask), order, -1)


def first_maximum(
    values: Float[Array, "... n"], slots: Int[Array, "n"]
) -> Int[Array, "..."]:
    """Index of the maximum, the smallest one in a tie.

    Two plain reductions, which vectorise; `argmax` reduces pairs, which on a CPU does
    not.
    """
    largest = jnp.max(values, axis=-1, keepdims=True)
    return jnp.min(jnp.where(values == largest, slots, slots.shape[0]), axis=-1)


@functools.partial(jax.jit, static_argnames=("max_neighbors", "quantum"))
def centrality_nms(
    points: Float[Array, "n 3"],
    mask: Bool[Array, "n"],
    radius: float | Float[Array, ""],
    max_neighbors: int | None = None,
    quantum: float | None = None,
) -> Bool[Array, "n"]:
    """Centrality-based non-maximum suppression: True for spheres that overlap little.

    Points are visited by descending number of neighbors closer than ``radius``, ties
    by ascending index; a point that is still there removes all its neighbors.
    Source: arXiv:2502.02558, Sec. 3.1; spheres of radius r with overlap factor f
    have ``radius = 2 r f``.

    Args:
      points: Coordinates.
      mask: True where a point is real.
      radius: Distance below which two points are neighbours.
      max_neighbors: Of each point's neighbours only the first by index count, itself
        included, as in the original implementation; None for all.
      quantum: See :func:`~symjax.models.pointmae.centers.snap`.

    Raises:
      ArgumentError: ``max_neighbors`` is less than 1.
    """
    size = len(mask)
    limit = size if max_neighbors is None else max_neighbors
    if limit < 1:
        raise ArgumentError(
            "max_neighbors", max_neighbors, "is not a count", "Pass 1 or more"
        )

    surface = snap(jnp.square(jnp.asarray(radius, points.dtype)), quantum)

    def near(rows: Float[Array, "rows 3"]) -> Bool[Array, "rows n"]:
        squares = squared_distances(rows, points, quantum)
        return (squares < surface) & mask

    def truncate(near: Bool[Array, "rows n"]) -> Bool[Array, "rows n"]:
        if limit >= size:
            return near
        # The running count costs more than all the rest, and rarely truncates.
        return jax.lax.cond(
            jnp.any(jnp.sum(near, axis=1) > limit),
            lambda near: near & (jnp.cumsum(near, axis=1) <= limit),
            lambda near: near,
            near,
        )

    def in_turn() -> Bool[Array, "n"]:
        # In blocks, so that no array of all pairs is made.
        counts = jax.lax.map(
            lambda point: jnp.sum(near(point[None])), points, batch_size=256
        )
        order = jnp.argsort(-jnp.minimum(counts, limit), stable=True)
        return _visit_in_turn(
            order, mask, lambda index: truncate(near(points[index][None]))[0]
        )

    # One point at a time is a chain of small operations, which suits a CPU; rounds are
    # a few large ones.
    return jax.lax.platform_dependent(
        cpu=in_turn,
        default=lambda: _visit_in_rounds(truncate(near(points)) & mask[:, None], mask),
    )


def _visit_in_turn(
    order: Int[Array, "n"],
    mask: Bool[Array, "n"],
    neighbors: Callable[[Int[Array, ""]], Bool[Array, "n"]],
) -> Bool[Array, "n"]:
    """The visit as published; points that have been removed cost nothing."""
    size = len(mask)
    slots = jnp.arange(size)
    removed, kept = size, size + 1

    def visit(
        state: tuple[Int[Array, "n"], Int[Array, ""]],
    ) -> tuple[Int[Array, "n"], Int[Array, ""]]:
        ranks, first = state
        index = order[first]
        # A later point may remove one that stays: with truncated lists, the earlier
        # one need not have seen it.
        ranks = jnp.where(neighbors(index), removed, ranks)
        ranks = jnp.where(slots == index, kept, ranks)
        return ranks, jnp.min(ranks)

    ranks = jnp.where(mask, jnp.zeros_like(order).at[order].set(slots), removed)
    ranks, _ = jax.lax.while_loop(
        lambda state: state[1] < size, visit, (ranks, jnp.min(ranks))
    )
    return ranks == kept


def _visit_in_rounds(
    near: Bool[Array, "n n"], mask: Bool[Array, "n"]
) -> Bool[Array, "n"]:
    """The same result: whoever has no undecided neighbour ahead of it stays."""
    slots = jnp.arange(len(mask))
    counts = jnp.sum(near, axis=1)
    # The larger count goes first; among equals, the smaller index.
    ahead = (counts[:, None] > counts[None]) | (
        (counts[:, None] == counts[None]) & (slots[:, None] < slots[None])
    )
    removes = near & (slots[:, None] != slots[None])
    blocks = removes & ahead

    def reached(
        matrix: Bool[Array, "n n"], sources: Bool[Array, "n"]
    ) -> Bool[Array, "n"]:
        return jnp.any(matrix & sources[:, None], axis=0)

    def round_of_decisions(
        state: tuple[Bool[Array, "n"], Bool[Array, "n"]],
    ) -> tuple[Bool[Array, "n"], Bool[Array, "n"]]:
        undecided, kept = state
        new = undecided & ~reached(blocks, undecided)
        undecided = undecided & ~new
        return undecided & ~reached(blocks, new), kept | new

    _, kept = jax.lax.while_loop(
        lambda state: jnp.any(state[0]),
        round_of_decisions,
        (mask, jnp.zeros_like(mask)),
    )
    # With truncated lists a point may be removed by a later one that it did not see.
    return kept & ~reached(removes & ~ahead, kept)
