"""Selection of the centres of tokens: farthest points, and most central points.

All functions have static shapes, run under ``jit`` and ``vmap``, and depend on
positions only through distances: they are invariant under rotations up to ties and
round-off.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from symjax.errors import ArgumentError

_LARGE = 1e38


def snap(squares: Float[Array, "..."], quantum: float | None) -> Float[Array, "..."]:
    """Rounds squared distances to multiples of a quantum; None for no rounding.

    Points of a lattice have many equal distances, and points can lie exactly on a
    sphere whose radius is a whole number of voxels. In normalised coordinates round-off
    breaks these ties, differently in each orientation; rounding restores them. The
    quantum should be above round-off and well below the spacing of squared distances
    on the lattice.
    """
    return squares if quantum is None else jnp.round(squares / quantum) * quantum


def rounded_square(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """x^2, rounded before it is added to anything.

    A compiler may contract a product and a sum into a fused multiply-add, or not,
    depending on the program around it. Where points of a lattice have equal distances,
    tokens would then depend on what is compiled together. Rounding the square first, as
    the CPU build of the released implementation does, prevents this.
    """
    square = jnp.square(x)
    # Keeps the compiler from contracting: it cannot know that this has no effect.
    return jnp.where(square > _LARGE, jnp.inf, square)


def squared_distances(
    a: Float[Array, "n 3"], b: Float[Array, "m 3"], quantum: float | None = None
) -> Float[Array, "n m"]:
    """||a_i - b_j||^2 from differences, which is exact for integer coordinates.

    Rounded to multiples of ``quantum``, see :func:`snap`.
    """
    # One coordinate at a time, to avoid an array of all differences.
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
    """Farthest point sampling: each point is the farthest from those picked before.

      i_{k+1} = argmax_i min_{j <= k} ||x_i - x_{i_j}||

    Ties go to the smallest index. Once every distinct position has been picked, all
    distances are 0 and the real point of smallest index is repeated. Source: Qi et al.,
    PointNet++, arXiv:1706.02413, Sec. 3.2, and the kernels of PyTorch3D.

    Args:
      points: Coordinates.
      mask: True for real points.
      num: Number of points to pick.
      start: Index of the first point, which must be real.
      quantum: See :func:`snap`.

    Returns:
      Indices in the order of picking; -1 beyond the number of real points.
    """
    slots = jnp.arange(points.shape[0])
    columns = points.T

    def step(state: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], Array]:
        nearest, picked = state
        squares = rounded_square(columns - columns[:, picked, None])
        distance = snap(squares[0] + squares[1] + squares[2], quantum)
        # Padding has -1, below every distance.
        nearest = jnp.minimum(nearest, distance)
        return (nearest, first_maximum(nearest, slots)), picked

    first = jnp.asarray(start, slots.dtype)
    nearest = jnp.where(mask, jnp.inf, -1.0).astype(points.dtype)
    _, order = jax.lax.scan(step, (nearest, first), None, length=num)
    return jnp.where(jnp.arange(num) < jnp.sum(mask), order, -1)


def first_maximum(
    values: Float[Array, "... n"], slots: Int[Array, "n"]
) -> Int[Array, "..."]:
    """Index of the maximum along the last axis; the smallest index in a tie.

    ``slots`` is ``arange(n)``. Two plain reductions vectorise on a CPU, unlike
    ``argmax``, which reduces pairs.
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
    """Centrality-based non-maximum suppression: selects spheres that overlap little.

    Points are visited in descending order of their number of neighbors, ties in
    ascending order of index. A point that has not been removed yet removes its
    neighbors. Source: arXiv:2502.02558, Sec. 3.1; for spheres of radius r with overlap
    factor f, ``radius`` is 2 r f.

    Args:
      points: Coordinates.
      mask: True for real points.
      radius: Distance below which two points are neighbors.
      max_neighbors: Number of neighbors of each point, in order of index and with the
        point itself, that count, as in the original implementation; None for all.
      quantum: See :func:`~symjax.models.pointmae.centers.snap`.

    Returns:
      True for the points that remain.

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
        # The running count is expensive and rarely needed.
        return jax.lax.cond(
            jnp.any(jnp.sum(near, axis=1) > limit),
            lambda near: near & (jnp.cumsum(near, axis=1) <= limit),
            lambda near: near,
            near,
        )

    def in_turn() -> Bool[Array, "n"]:
        # In blocks, to avoid an array of all pairs.
        counts = jax.lax.map(
            lambda point: jnp.sum(near(point[None])), points, batch_size=256
        )
        order = jnp.argsort(-jnp.minimum(counts, limit), stable=True)
        return _visit_in_turn(
            order, mask, lambda index: truncate(near(points[index][None]))[0]
        )

    # Visits in turn are many small operations, fast on a CPU; rounds are a few large
    # ones, fast on an accelerator.
    return jax.lax.platform_dependent(
        cpu=in_turn,
        default=lambda: _visit_in_rounds(truncate(near(points)) & mask[:, None], mask),
    )


def _visit_in_turn(
    order: Int[Array, "n"],
    mask: Bool[Array, "n"],
    neighbors: Callable[[Int[Array, ""]], Bool[Array, "n"]],
) -> Bool[Array, "n"]:
    """The published algorithm, except that removed points are skipped."""
    size = len(mask)
    slots = jnp.arange(size)
    removed, kept = size, size + 1

    def visit(state: tuple[Array, Array]) -> tuple[Array, Array]:
        ranks, first = state
        index = order[first]
        # With truncated lists a point may remove one that was kept before, and that did
        # not have it among its neighbors.
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
    """The same in parallel rounds: points with no undecided neighbor ahead are kept."""
    slots = jnp.arange(len(mask))
    counts = jnp.sum(near, axis=1)
    # The larger count goes first; among equals, the smaller index.
    ahead = (counts[:, None] > counts[None]) | (
        (counts[:, None] == counts[None]) & (slots[:, None] < slots[None])
    )
    removes = near & (slots[:, None] != slots[None])
    blocks = removes & ahead

    def reached(matrix: Array, sources: Array) -> Array:
        return jnp.any(matrix & sources[:, None], axis=0)

    def round_of_decisions(state: tuple[Array, Array]) -> tuple[Array, Array]:
        undecided, kept = state
        new = undecided & ~reached(blocks, undecided)
        undecided = undecided & ~new
        return undecided & ~reached(blocks, new), kept | new

    _, kept = jax.lax.while_loop(
        lambda state: jnp.any(state[0]),
        round_of_decisions,
        (mask, jnp.zeros_like(mask)),
    )
    # With truncated lists a kept point may be removed by a later one.
    return kept & ~reached(removes & ~ahead, kept)
