"""Losses of pretraining and segmentation, and random masking of tokens."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from symjax.errors import ArgumentError


@functools.partial(jax.jit, static_argnames=("ratio",))
def random_hidden(
    key: PRNGKeyArray, mask: Bool[Array, "tokens"], ratio: float
) -> Bool[Array, "tokens"]:
    """Chooses tokens to hide, uniformly at random.

    Exactly floor(ratio * number of tokens) are hidden. Source: Pang et al., Point-MAE,
    arXiv:2203.06604, Sec. 3.1.

    Args:
      key: Random key.
      mask: True for tokens, False for padding.
      ratio: Fraction of tokens to hide.

    Returns:
      True for hidden tokens.

    Raises:
      ArgumentError: ``ratio`` is not in [0, 1].
    """
    if not 0 <= ratio <= 1:
        raise ArgumentError("ratio", ratio, "is not in [0, 1]", "Use for instance 0.6")
    scores = jnp.where(mask, jax.random.uniform(key, mask.shape), jnp.inf)
    rank = jnp.argsort(jnp.argsort(scores))
    # The offset protects floor from round-off: 5 * 0.6 must give 3 and not 2.
    number = jnp.floor(ratio * jnp.sum(mask) + 1e-4)
    return mask & (rank < number)


def chamfer_distance(
    predicted: Float[Array, "points channels"],
    target: Float[Array, "points channels"],
    mask: Bool[Array, "points"],
) -> Float[Array, ""]:
    """Chamfer distance between two sets of n points.

      1/n sum_i min_j ||p_i - t_j||^2 + 1/n sum_j min_i ||p_i - t_j||^2

    Source: Pang et al., Point-MAE, arXiv:2203.06604, Eq. 6.

    Args:
      predicted: Points p.
      target: Points t.
      mask: True for the n points that count, in both sets.

    Returns:
      The distance; 0 if no points count.
    """
    squares = jnp.sum(jnp.square(predicted[:, None] - target[None]), axis=-1)
    pairs = mask[:, None] & mask[None]
    # Finite, so that gradients without points are 0 and not NaN.
    far = jnp.finfo(squares.dtype).max
    squares = jnp.where(pairs, squares, far)
    nearest = jnp.min(squares, axis=1) + jnp.min(squares.T, axis=1)
    return jnp.sum(jnp.where(mask, nearest, 0)) / jnp.maximum(jnp.sum(mask), 1)


def chamfer_loss(
    predicted: Float[Array, "tokens points channels"],
    target: Float[Array, "tokens points channels"],
    point_mask: Bool[Array, "tokens points"],
    hidden: Bool[Array, "tokens"],
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Sum of :func:`chamfer_distance` over hidden tokens with points; their number."""
    each = jax.vmap(chamfer_distance)(predicted, target, point_mask)
    used = hidden & jnp.any(point_mask, axis=1)
    return jnp.sum(jnp.where(used, each, 0)), jnp.sum(used).astype(each.dtype)


def energy_infilling_loss(
    predicted: Float[Array, "tokens points"],
    target: Float[Array, "tokens points"],
    point_mask: Bool[Array, "tokens points"],
    hidden: Bool[Array, "tokens"],
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Sum of squared energy errors over the points of hidden tokens; their number.

    Source: arXiv:2502.02558, Sec. 3.3.
    """
    used = point_mask & hidden[:, None]
    squares = jnp.square(predicted - target)
    return jnp.sum(jnp.where(used, squares, 0)), jnp.sum(used).astype(squares.dtype)


def focal_loss(
    logits: Float[Array, "points classes"],
    labels: Int[Array, "points"],
    weights: Float[Array, "classes"] | None = None,
    gamma: float = 2.0,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Sum of -w (1 - p)^gamma log p over labelled points; their number.

    p is the probability of the true class. Source: Lin et al., arXiv:1708.02002, Eq. 5.

    Args:
      logits: Logits of the classes.
      labels: Index of the true class; points with a negative label are ignored.
      weights: Weight w of each class; 1 by default.
      gamma: Focusing exponent; 0 for the cross entropy.

    Returns:
      The sum, and the number of labelled points.
    """
    known = labels >= 0
    index = jnp.maximum(labels, 0)
    logarithms = jax.nn.log_softmax(logits, axis=-1)
    log_p = jnp.take_along_axis(logarithms, index[:, None], axis=-1)[:, 0]
    weight = jnp.ones_like(log_p)
    if weights is not None:
        weight = jnp.asarray(weights, log_p.dtype)[index]
    # 1 - p = -expm1(log p) without cancellation
    each = -weight * (-jnp.expm1(log_p)) ** gamma * log_p
    return jnp.sum(jnp.where(known, each, 0)), jnp.sum(known).astype(each.dtype)
