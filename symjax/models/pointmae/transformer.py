"""The transformer of Point-MAE: pre-norm blocks on the tokens of one event."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

from symjax.models._parameters import Dense, truncated_normal
from symjax.models.pointmae.layers import APPLIED, Mask, MaskedNorm, Mode, Tokens, sow

# Added to the scores of padding, as in released models; its weights become exactly 0.
_MASKED = -1e9
_SMALL = truncated_normal(0.02)


@dataclasses.dataclass(frozen=True)
class BlockOptions:
    """Options that all blocks of a stack share.

    Attributes:
      num_heads: Number of attention heads.
      mlp_ratio: Hidden width of the MLPs, divided by the width of the tokens.
      attention_scale: Factor of the scores; None for 1 / sqrt(width of a head).
      dropout: Dropout rate after attention and in MLPs, in training.
      attention_dropout: Dropout rate of attention weights, in training.
    """

    num_heads: int
    mlp_ratio: float = 4
    attention_scale: float | None = None
    dropout: float = 0.0
    attention_dropout: float = 0.0


class DropPath(nn.Module):
    """In training, sets tokens to 0 with probability ``rate`` and scales up others."""

    rate: float
    mode: Mode = APPLIED

    @nn.compact
    def __call__(self, x: Tokens) -> Tokens:
        """Returns the tokens."""
        if not (self.mode.training and self.rate):
            return x
        kept = jax.random.bernoulli(
            self.make_rng("dropout"), 1 - self.rate, (x.shape[0], 1)
        )
        return jnp.where(kept, x / (1 - self.rate), 0)


class Attention(nn.Module):
    """Multi-head self-attention among real tokens."""

    options: BlockOptions
    mode: Mode = APPLIED

    @nn.compact
    def __call__(self, tokens: Tokens, mask: Mask) -> Tokens:
        """Returns the new tokens."""
        length, features = tokens.shape
        options = self.options
        size = features // options.num_heads
        scale = options.attention_scale or size**-0.5
        projected = Dense(3 * features, kernel_init=_SMALL, name="qkv")(tokens)
        projected = projected.reshape(length, 3, options.num_heads, size)
        query, key, value = (projected[:, part] for part in range(3))
        scores = jnp.einsum("qhs,khs->hqk", query * scale, key)
        scores = scores + jnp.where(mask, 0, _MASKED).astype(scores.dtype)
        weights = jax.nn.softmax(scores, axis=-1)
        dropped = nn.Dropout(options.attention_dropout, name="attn_drop")
        weights = dropped(weights, deterministic=not self.mode.training)
        out = jnp.einsum("hqk,khs->qhs", weights, value).reshape(length, features)
        out = Dense(features, kernel_init=_SMALL, name="proj")(out)
        dropped = nn.Dropout(options.dropout, name="proj_drop")
        return dropped(out, deterministic=not self.mode.training)


class MLP(nn.Module):
    """Linear, GELU, linear."""

    hidden: int
    dropout: float = 0.0
    mode: Mode = APPLIED

    @nn.compact
    def __call__(self, x: Tokens) -> Tokens:
        """Applies the layers to the last axis."""
        hidden = Dense(self.hidden, kernel_init=_SMALL, name="fc1")(x)
        hidden = jax.nn.gelu(hidden, approximate=False)
        dropped = nn.Dropout(self.dropout, deterministic=not self.mode.training)
        out = Dense(x.shape[-1], kernel_init=_SMALL, name="fc2")(dropped(hidden))
        return dropped(out)


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    options: BlockOptions
    drop_path: float = 0.0
    mode: Mode = APPLIED

    @nn.compact
    def __call__(self, x: Tokens, mask: Mask) -> Tokens:
        """Returns the new tokens."""
        options, mode = self.options, self.mode
        path = DropPath(self.drop_path, mode, name="drop_path")
        attention = Attention(options, mode, name="attn")
        new = attention(MaskedNorm(name="norm1")(x, mask), mask)
        sow(self, "attn", new)
        x = x + path(new)
        hidden = int(options.mlp_ratio * x.shape[-1])
        mlp = MLP(hidden, options.dropout, mode, name="mlp")
        new = mlp(MaskedNorm(name="norm2")(x, mask)) * mask[:, None]
        sow(self, "mlp", new)
        x = x + path(new)
        sow(self, "out", x)
        return x


class Transformer(nn.Module):
    """A stack of blocks.

    Attributes:
      options: Options that all blocks share.
      drop_path: Drop path rate of each block.
      position_at_every_layer: Whether positions are added before each block, or once.
      final_norm: Whether the stack ends with a norm.
      mode: How the network is applied.
    """

    options: BlockOptions
    drop_path: tuple[float, ...]
    position_at_every_layer: bool
    final_norm: bool
    mode: Mode = APPLIED

    @nn.compact
    def __call__(
        self, x: Tokens, positions: Tokens, mask: Mask
    ) -> tuple[Tokens, list[Tokens]]:
        """Returns the output tokens, and those after each block."""
        if not self.position_at_every_layer:
            x = x + positions
        hidden = []
        for index, rate in enumerate(self.drop_path):
            if self.position_at_every_layer:
                x = x + positions
            block = Block(self.options, rate, self.mode, name=f"blocks_{index}")
            x = block(x, mask)
            hidden.append(x)
        if self.final_norm:
            x = MaskedNorm(name="norm")(x, mask)
            sow(self, "norm", x)
        return x, hidden
