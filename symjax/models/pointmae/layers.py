"""Norms, the masked mini-PointNet and position encodings, as Flax Linen modules.

Arrays belong to one event: tokens by features, or tokens by points by features.
Parameters have the names of the released implementation, with ``_`` for the dots of
its sequences (``first_conv_0`` is ``first_conv.0`` there).
"""

import dataclasses
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from symjax.models._parameters import (
    Dense,
    Module,
    lecun_normal,
    ones,
    truncated_normal,
    zeros,
)
from symjax.models.biases.tensors import (
    HarmonicEmbedding,
    directions,
    harmonics,
    radial_functions,
)

FEATURES = "features"


@dataclasses.dataclass(frozen=True)
class Mode:
    """How a network is applied, the same for all of its modules.

    Attributes:
      training: Whether batch norms use and update the statistics of the points at hand,
        and dropout is drawn.
      axis_name: Axis of the events of a batch, over which these statistics are taken;
        None for those of one event.
    """

    training: bool = False
    axis_name: str | None = None


APPLIED = Mode()
"""Statistics as they were learnt, and nothing dropped."""

# The original's guard against division by zero.
_TINY = 1e-13
_SMALL = truncated_normal(0.02)
# Radial functions of edge harmonics, as many as PET's by default.
_RADIAL = 8


def sow(module: nn.Module, name: str, value: Array) -> None:
    """Records features in the collection ``features``, free if it is not asked for."""
    # Linen forbids one name for a submodule and a sown value.
    module.sow(FEATURES, f"={name}", value)


def masked_norm(
    x: Float[Array, "tokens features"], mask: Bool[Array, "tokens"]
) -> Float[Array, "tokens features"]:
    """(x - mean) / std with statistics over all features of all real tokens.

    One mean and one deviation for an event, not for a token. In the released
    implementation they run over the batch too, so that there an event's output
    depends on the events beside it; for a batch of one the two agree.
    """
    weights = mask[:, None].astype(x.dtype)
    count = jnp.maximum(jnp.sum(weights) * x.shape[-1], 1)
    mean = jnp.sum(x * weights) / count
    variance = jnp.sum(jnp.square((x - mean) * weights)) / count
    return (x - mean) / (jnp.sqrt(variance + _TINY) + _TINY)


class MaskedNorm(Module):
    """:func:`masked_norm` with a learned scale and shift of each feature."""

    @nn.compact
    def __call__(
        self, x: Float[Array, "tokens features"], mask: Bool[Array, "tokens"]
    ) -> Float[Array, "tokens features"]:
        """Normalises the tokens of one event."""
        gamma = self.param("gamma", ones, x.shape[-1:])
        beta = self.param("beta", zeros, x.shape[-1:])
        return masked_norm(x, mask) * gamma + beta


class MaskedBatchNorm(Module):
    """Batch norm over real points; padding becomes the shift, as in the original.

    Statistics are running averages, or in training those of the points at hand, of
    all events along the axis of ``mode``.
    """

    mode: Mode = APPLIED
    momentum: float = 0.1
    epsilon: float = 1e-5

    @nn.compact
    def __call__(
        self, x: Float[Array, "*points features"], mask: Bool[Array, "*points"]
    ) -> Float[Array, "*points features"]:
        """Normalises the last axis."""
        width = x.shape[-1:]
        scale = self.param("scale", ones, width)
        bias = self.param("bias", zeros, width)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, width)
        running_var = self.variable("batch_stats", "var", jnp.ones, width)
        weights = mask[..., None].astype(x.dtype)
        mean, variance = running_mean.value, running_var.value
        if self.mode.training and not self.is_initializing():
            axes = tuple(range(x.ndim - 1))
            count = jnp.maximum(self._total(jnp.sum(weights)), 1)
            mean = self._total(jnp.sum(x * weights, axes)) / count
            variance = (
                self._total(jnp.sum(jnp.square((x - mean) * weights), axes)) / count
            )
            running_mean.value = self._follow(running_mean.value, mean)
            running_var.value = self._follow(running_var.value, variance)
        # Folded into one product and one sum.
        factor = scale * jax.lax.rsqrt(variance + self.epsilon)
        return (x - mean) * factor * weights + bias

    def _total(self, value: Array) -> Array:
        axis = self.mode.axis_name
        return value if axis is None else jax.lax.psum(value, axis)

    def _follow(self, old: Array, new: Array) -> Array:
        return (1 - self.momentum) * old + self.momentum * new


class MiniPointNet(Module):
    """Features of a token from the points in it, invariant under their permutation.

    Two layers for each point, a maximum over points, its concatenation with each
    point's features, two more layers, and a maximum (Pang et al., Point-MAE,
    arXiv:2203.06604, Sec. 3.1, after PointNet, with padding masked).

    Attributes:
      features: Width of the output.
      widths: Widths of the three hidden layers.
      pool_padding: Whether padding takes part in the maxima.
      order_encoding: Whether each point's number is embedded too, so that the energy
        decoder can tell the points apart; the output is no longer invariant.
      edge_harmonics: Largest degree of the spherical harmonics that the first layer
        sees (``biases.tensors.HarmonicEmbedding``); None for none.
      reach: Largest length of a point's coordinates, which the radial functions of
        the harmonics span.
      mode: How the network is applied.
    """

    features: int
    widths: tuple[int, int, int] = (128, 256, 512)
    pool_padding: bool = False
    order_encoding: bool = False
    edge_harmonics: int | None = None
    reach: float = 1.0
    mode: Mode = APPLIED

    @nn.compact
    def __call__(
        self,
        points: Float[Array, "tokens points channels"],
        mask: Bool[Array, "tokens points"],
    ) -> Float[Array, "tokens features"]:
        """Returns the features of each token."""
        first, second, third = self.widths
        x = Dense(first, use_bias=False, name="first_conv_0")(points)
        if self.edge_harmonics is not None:
            x = x + self._harmonics(points[..., :3], self.edge_harmonics)
        x = jax.nn.relu(MaskedBatchNorm(self.mode, name="first_conv_1")(x, mask))
        x = Dense(second, name="first_conv_3")(x)
        if self.order_encoding:
            order = order_embedding(points.shape[-2], second).astype(x.dtype)
            encoder = Dense(second, name="position_encoder_time_embed_1")
            x = x + jax.nn.relu(encoder(order))
        pooled = self._pool(x, mask)
        # The product with the concatenation is the sum of the products with its
        # parts, of which that of the maximum is the same for all points.
        kernel = self.param("second_conv_0", lecun_normal, (2 * second, third))
        x = (pooled @ kernel[:second])[..., None, :] + x @ kernel[second:]
        x = jax.nn.relu(MaskedBatchNorm(self.mode, name="second_conv_1")(x, mask))
        x = Dense(self.features, name="second_conv_3")(x)
        return self._pool(x, mask)

    def _harmonics(
        self, vectors: Float[Array, "tokens points 3"], degree: int
    ) -> Float[Array, "tokens points features"]:
        squares = jnp.sum(jnp.square(vectors), axis=-1)
        # The centre itself is a member, and has no direction.
        distances = jnp.sqrt(jnp.where(squares > 0, squares, 1))
        angles = harmonics(degree, directions(vectors, distances))
        distances = jnp.where(squares > 0, distances, 0)
        radial = radial_functions(distances, self.reach, _RADIAL)
        embedding = HarmonicEmbedding(self.widths[0], degree, name="harmonic_embedding")
        return embedding(angles, radial)

    def _pool(
        self, x: Float[Array, "tokens points features"], mask: Bool[Array, "t p"]
    ) -> Float[Array, "tokens features"]:
        if self.pool_padding:
            return jnp.max(x, axis=-2)
        lowest = jnp.finfo(x.dtype).min
        best = jnp.max(jnp.where(mask[..., None], x, lowest), axis=-2)
        return jnp.where(jnp.any(mask, axis=-1, keepdims=True), best, 0)


def order_embedding(num: int, width: int) -> Float[Array, "num width"]:
    """Sinusoids of the numbers 0, 1, ...: sin(n w_k), then cos(n w_k).

    w_k = 10000^(-k / (width / 2 - 1)), k = 0, ..., width / 2 - 1.
    """
    half = width // 2
    rates = jnp.exp(-math.log(10000) / max(half - 1, 1) * jnp.arange(half))
    angles = jnp.arange(num)[:, None] * rates
    both = jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)
    return jnp.pad(both, ((0, 0), (0, width - 2 * half)))


class PositionEncoder(nn.Module):
    """Linear, GELU, linear: the learned embedding of a token's centre."""

    features: int
    hidden: int = 128

    @nn.compact
    def __call__(
        self, centers: Float[Array, "tokens 3"]
    ) -> Float[Array, "tokens features"]:
        """Embeds normalised coordinates."""
        x = Dense(self.hidden, name="pos_enc_0")(centers)
        x = jax.nn.gelu(x, approximate=False)
        return Dense(self.features, name="pos_enc_2")(x)
