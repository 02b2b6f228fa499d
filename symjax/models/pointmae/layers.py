"""Norms, the masked mini-PointNet and position encodings, as Flax Linen modules.

Arrays belong to one event, with axes tokens and features, or tokens, points and
features. Parameters have the names of the released implementation: ``first_conv_0`` is
``first_conv.0`` there.
"""

import dataclasses
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
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

Tokens = Float[Array, "tokens features"]
Mask = Bool[Array, "tokens"]

FEATURES = "features"


@dataclasses.dataclass(frozen=True)
class Mode:
    """How a network is applied, the same for all of its modules.

    Attributes:
      training: Whether dropout is active, and batch norms use the statistics of the
        batch and update their running averages.
      axis_name: Name of the vmapped axis of events over which these statistics are
        taken; None for those of one event.
    """

    training: bool = False
    axis_name: str | None = None


APPLIED = Mode()
"""Inference: running averages, and no dropout."""

# The original's guard against division by zero.
_TINY = 1e-13
_SMALL = truncated_normal(0.02)
# Number of radial functions of edge harmonics, PET's default.
_RADIAL = 8


def sow(module: nn.Module, name: str, value: Array) -> None:
    """Sows features into the collection ``features``; free unless it is mutable."""
    # Linen forbids one name for a submodule and a sown value.
    module.sow(FEATURES, f"={name}", value)


def masked_norm(x: Tokens, mask: Mask) -> Tokens:
    """(x - mean) / std with statistics over all features of all real tokens.

    There is one mean and one standard deviation for an event, not for a token. In the
    released implementation the statistics are over the whole batch, so that outputs
    depend on the other events; for a batch of one event the two agree.
    """
    weights = mask[:, None].astype(x.dtype)
    count = jnp.maximum(jnp.sum(weights) * x.shape[-1], 1)
    mean = jnp.sum(x * weights) / count
    variance = jnp.sum(jnp.square((x - mean) * weights)) / count
    return (x - mean) / (jnp.sqrt(variance + _TINY) + _TINY)


class MaskedNorm(Module):
    """:func:`masked_norm` with a learned scale and shift of each feature."""

    @nn.compact
    def __call__(self, x: Tokens, mask: Mask) -> Tokens:
        """Normalises the tokens of one event."""
        gamma = self.param("gamma", ones, x.shape[-1:])
        beta = self.param("beta", zeros, x.shape[-1:])
        return masked_norm(x, mask) * gamma + beta


class MaskedBatchNorm(Module):
    """Batch norm over real points; padding is mapped to the bias, as in the original.

    Statistics are running averages, or in training those of the real points of all
    events along ``mode.axis_name``.
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
        running_mean = self.variable("batch_stats", "mean", np.zeros, width, "f4")
        running_var = self.variable("batch_stats", "var", np.ones, width, "f4")
        weights = mask[..., None].astype(x.dtype)
        mean, variance = running_mean.value, running_var.value
        if self.mode.training and not self.is_initializing():
            axes = tuple(range(x.ndim - 1))
            count = jnp.maximum(self._total(jnp.sum(weights)), 1)
            mean = self._total(jnp.sum(x * weights, axes)) / count
            squares = jnp.square((x - mean) * weights)
            variance = self._total(jnp.sum(squares, axes)) / count
            running_mean.value = self._follow(running_mean.value, mean)
            running_var.value = self._follow(running_var.value, variance)
        factor = scale * jax.lax.rsqrt(variance + self.epsilon)
        return (x - mean) * factor * weights + bias

    def _total(self, value: Array) -> Array:
        axis = self.mode.axis_name
        return value if axis is None else jax.lax.psum(value, axis)

    def _follow(self, old: Array, new: Array) -> Array:
        return (1 - self.momentum) * old + self.momentum * new


class MiniPointNet(Module):
    """Features of a token from its points, invariant under permutations.

    Two layers act on each point. Their maximum over points is concatenated with the
    features of each point, and two more layers and a maximum follow (Pang et al.,
    Point-MAE, arXiv:2203.06604, Sec. 3.1, after PointNet; here padding is masked).

    Attributes:
      features: Width of the output.
      widths: Widths of the three hidden layers.
      pool_padding: Whether padding takes part in the maxima.
      order_encoding: Whether the index of each point is embedded, so that the energy
        decoder can distinguish points; the output is then not permutation invariant.
      edge_harmonics: Largest degree of the spherical harmonics that enter the first
        layer (``biases.tensors.HarmonicEmbedding``); None for none.
      reach: Largest norm of a point's coordinates, the cutoff of the radial functions.
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
    ) -> Tokens:
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
        # The layer on the concatenation is a sum of two layers; that on the maximum is
        # the same for all points.
        kernel = self.param("second_conv_0", lecun_normal, (2 * second, third))
        x = (pooled @ kernel[:second])[..., None, :] + x @ kernel[second:]
        x = jax.nn.relu(MaskedBatchNorm(self.mode, name="second_conv_1")(x, mask))
        x = Dense(self.features, name="second_conv_3")(x)
        return self._pool(x, mask)

    def _harmonics(
        self, vectors: Float[Array, "tokens points 3"], degree: int
    ) -> Float[Array, "tokens points features"]:
        squares = jnp.sum(jnp.square(vectors), axis=-1)
        # The centre itself is a point of the token, without direction.
        distances = jnp.sqrt(jnp.where(squares > 0, squares, 1))
        angles = harmonics(degree, directions(vectors, distances))
        distances = jnp.where(squares > 0, distances, 0)
        radial = radial_functions(distances, self.reach, _RADIAL)
        embedding = HarmonicEmbedding(self.widths[0], degree, name="harmonic_embedding")
        return embedding(angles, radial)

    def _pool(
        self, x: Float[Array, "tokens points features"], mask: Bool[Array, "t p"]
    ) -> Tokens:
        if self.pool_padding:
            return jnp.max(x, axis=-2)
        lowest = jnp.finfo(x.dtype).min
        best = jnp.max(jnp.where(mask[..., None], x, lowest), axis=-2)
        return jnp.where(jnp.any(mask, axis=-1, keepdims=True), best, 0)


def order_embedding(num: int, width: int) -> Float[Array, "num width"]:
    """Sinusoidal embedding of the indices n = 0, 1, ...: sin(n w_k), then cos(n w_k).

    w_k = 10000^(-k / (width / 2 - 1)) for k = 0, ..., width / 2 - 1.
    """
    half = width // 2
    rates = jnp.exp(-math.log(10000) / max(half - 1, 1) * jnp.arange(half))
    angles = jnp.arange(num)[:, None] * rates
    both = jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)
    return jnp.pad(both, ((0, 0), (0, width - 2 * half)))


class PositionEncoder(nn.Module):
    """Learned embedding of a token's centre: linear, GELU, linear."""

    features: int
    hidden: int = 128

    @nn.compact
    def __call__(self, centers: Float[Array, "tokens 3"]) -> Tokens:
        """Embeds normalised coordinates."""
        x = Dense(self.hidden, name="pos_enc_0")(centers)
        x = jax.nn.gelu(x, approximate=False)
        return Dense(self.features, name="pos_enc_2")(x)
