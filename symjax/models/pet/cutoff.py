"""Cutoff functions and adaptive cutoffs of PET.

The formulas, with their margins and clamps, are those of metatrain, so that imported
checkpoints reproduce its predictions.
"""

from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from symjax.models.pet.config import PETConfig

# So close to the ends of the bump, where cot diverges, it is constant to round-off.
_MARGIN = 1e-6
# Smallest probe radius in angstrom, and smallest radius as a fraction of the cutoff.
_SMALLEST_PROBE = 0.5
_SMALLEST_FRACTION = 1 / 16
_NEWTON_STEPS = 10
_SMALLEST_SLOPE = 1e-6


def bump(
    distances: Float[Array, "..."], cutoff: Float[Array, "..."], width: float
) -> Float[Array, "..."]:
    """Smooth cutoff (1 + tanh(cot(pi s))) / 2 with s = (d - cutoff + width) / width.

    All derivatives vanish at both ends, s = 0 (value 1) and s = 1 (value 0).
    """
    s = jnp.clip((distances - (cutoff - width)) / width, _MARGIN, 1 - _MARGIN)
    # As the logistic function of 2 cot(pi s), whose derivative is accurate: 1 - tanh^2
    # would cancel, and the error be multiplied by 1 / sin^2.
    return jax.nn.sigmoid(2 / jnp.tan(jnp.pi * s))


def cosine(
    distances: Float[Array, "..."], cutoff: Float[Array, "..."], width: float
) -> Float[Array, "..."]:
    """Smooth cutoff (1 + cos(pi s)) / 2 with s = (d - cutoff + width) / width."""
    s = jnp.clip((distances - (cutoff - width)) / width, 0.0, 1.0)
    return 0.5 * (1 + jnp.cos(jnp.pi * s))


def _count(
    radius: Float[Array, "atoms"],
    distances: Float[Array, "atoms neighbors"],
    mask: Bool[Array, "atoms neighbors"],
    config: PETConfig,
) -> Float[Array, "atoms"]:
    """Smooth number of neighbors within a radius, plus a cubic baseline."""
    assert config.num_neighbors_adaptive is not None
    inside = bump(distances, radius[:, None], config.cutoff_width_adaptive)
    count = jnp.sum(jnp.where(mask, inside, 0), axis=1)
    return count + config.num_neighbors_adaptive * (radius / config.cutoff) ** 3


def _solve(
    distances: Float[Array, "atoms neighbors"],
    mask: Bool[Array, "atoms neighbors"],
    config: PETConfig,
) -> Float[Array, "atoms"]:
    """Radius at which the count reaches its target, by bracketed Newton steps."""
    target = config.num_neighbors_adaptive
    assert target is not None
    fixed = jax.lax.stop_gradient(distances)

    def count_and_slope(radius: Array) -> tuple[Array, Array]:
        # Each count depends on its own radius alone.
        return jax.jvp(
            lambda radius: _count(radius, fixed, mask, config),
            (radius,),
            (jnp.ones_like(radius),),
        )

    def step(_: int, state: tuple[Array, ...]) -> tuple[Array, ...]:
        low, high, radius = state
        count, slope = count_and_slope(radius)
        below = count <= target
        low, high = jnp.where(below, radius, low), jnp.where(below, high, radius)
        newton = radius - (count - target) / jnp.maximum(slope, _SMALLEST_SLOPE)
        inside = (newton >= low) & (newton <= high)
        return low, high, jnp.where(inside, newton, 0.5 * (low + high))

    high = jnp.full(distances.shape[:1], config.cutoff, distances.dtype)
    state = (jnp.zeros_like(high), high, 0.5 * high)
    _, _, radius = jax.lax.fori_loop(0, _NEWTON_STEPS, step, state)
    radius = jax.lax.stop_gradient(radius)
    _, slope = count_and_slope(radius)
    # One Newton step outside stop_gradient: the implicit function theorem.
    residual = _count(radius, distances, mask, config) - target
    radius = radius - residual / jnp.maximum(slope, _SMALLEST_SLOPE)
    return jnp.clip(radius, config.cutoff * _SMALLEST_FRACTION, config.cutoff)


def _probe(
    distances: Float[Array, "atoms neighbors"],
    mask: Bool[Array, "atoms neighbors"],
    config: PETConfig,
    atom_mask: Bool[Array, "atoms"],
) -> Float[Array, "atoms"]:
    """Average of probe radii, weighted by how close their counts are to the target."""
    target = config.num_neighbors_adaptive
    assert target is not None
    width = config.cutoff_width_adaptive
    probes = np.arange(_SMALLEST_PROBE, config.cutoff, width / 4)
    radii = jnp.asarray(probes, distances.dtype)
    inside = bump(distances[:, None, :], radii[:, None], width)
    counts = jnp.sum(jnp.where(mask[:, None, :], inside, 0), axis=2)
    baseline = jnp.linspace(0, 1, len(probes), dtype=distances.dtype) ** 3
    excess = counts - target + target * baseline
    if len(probes) == 1:
        spread = jnp.abs(excess) * 0.5 + 1e-12
    else:
        # Along one axis, gradient returns an array and not a list.
        slope = cast(Array, jnp.gradient(excess, axis=1))
        spread = jnp.maximum(jnp.abs(slope), 1e-12)
    logits = -0.5 * (excess / spread) ** 2
    # The maximum over the whole batch is subtracted, as in metatrain, so that rows far
    # below it underflow in the same way.
    weights = jnp.exp(logits - jnp.max(jnp.where(atom_mask[:, None], logits, -jnp.inf)))
    weights = jnp.where(atom_mask[:, None], weights, 1)
    weights = weights / jnp.sum(weights, axis=1, keepdims=True)
    return jnp.matmul(weights, radii, precision="highest")


def adaptive_radii(
    config: PETConfig,
    distances: Float[Array, "atoms pairs"],
    mask: Bool[Array, "atoms pairs"],
    atom_mask: Bool[Array, "atoms"],
) -> Float[Array, "atoms"]:
    """Adaptive cutoff radius of every atom.

    It encloses about ``config.num_neighbors_adaptive`` neighbors, and is a
    differentiable function of the distances.

    Args:
      config: Hyperparameters with an adaptive cutoff.
      distances: Distances in angstrom of all pairs within ``config.cutoff``; positive
        for padding.
      mask: True for pairs.
      atom_mask: True for atoms.

    Returns:
      Radii in angstrom.
    """
    if config.adaptive_cutoff_method == "solver":
        return _solve(distances, mask, config)
    return _probe(distances, mask, config, atom_mask)


def cutoff_factors(
    config: PETConfig,
    distances: Float[Array, "atoms neighbors"],
    cutoffs: Float[Array, "atoms neighbors"] | float,
) -> Float[Array, "atoms neighbors"]:
    """Cutoff factor of every edge, in [0, 1].

    The cutoff of an edge is ``config.cutoff``, or the mean of the radii of both atoms
    if the cutoff is adaptive; all lengths are in angstrom.
    """
    function = bump if config.cutoff_function == "Bump" else cosine
    return function(distances, jnp.asarray(cutoffs), config.cutoff_width)
