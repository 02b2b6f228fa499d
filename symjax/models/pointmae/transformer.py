"""The transformer of Point-MAE: pre-norm blocks on the tokens of one event."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from symjax.models.pointmae.layers import MaskedNorm, sow

# Released models add this to the scores of padding; the weights become exactly 0.
_MASKED = -1e9
_SMALL = nn.initializers.truncated_normal(0.02)


class Attention(nn.Module):
    """Multi-head self-attention among real tokens."""

    num_heads: int

    @nn.compact
    def __call__(
        self,
        tokens: Float[Array, "tokens features"],
        mask: Bool[Array, "tokens"],
        bias: Float[Array, "heads tokens tokens"] | None,
    ) -> Float[Array, "tokens features"]:
        """Returns the new tokens; ``bias`` is added to the scores."""
        length, features = tokens.shape
        size = features // self.num_heads
        projected = nn.Dense(3 * features, kernel_init=_SMALL, name="qkv")(tokens)
        projected = projected.reshape(length, 3, self.num_heads, size)
        query, key, value = (projected[:, part] for part in range(3))
        scores = jnp.einsum("qhs,khs->hqk", query * size**-0.5, key)
        if bias is not None:
            scores = scores + bias
        scores = scores + jnp.where(mask, 0, _MASKED).astype(scores.dtype)
        weights = jax.nn.softmax(scores, axis=-1)
        out = jnp.einsum("hqk,khs->qhs", weights, value).reshape(length, features)
        return nn.Dense(features, kernel_init=_SMALL, name="proj")(out)


class MLP(nn.Module):
    """Linear, GELU, linear."""

    hidden: int

    @nn.compact
    def __call__(
        self, x: Float[Array, "tokens features"]
    ) -> Float[Array, "tokens features"]:
        """Applies the layers to the last axis."""
        hidden = nn.Dense(self.hidden, kernel_init=_SMALL, name="fc1")(x)
        hidden = jax.nn.gelu(hidden, approximate=False)
        return nn.Dense(x.shape[-1], kernel_init=_SMALL, name="fc2")(hidden)


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    num_heads: int
    mlp_ratio: int

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "tokens features"],
        mask: Bool[Array, "tokens"],
        bias: Float[Array, "heads tokens tokens"] | None,
    ) -> Float[Array, "tokens features"]:
        """Returns the new tokens."""
        attention = Attention(self.num_heads, name="attn")
        new = attention(MaskedNorm(name="norm1")(x, mask), mask, bias)
        sow(self, "attn", new)
        x = x + new
        mlp = MLP(self.mlp_ratio * x.shape[-1], name="mlp")
        new = mlp(MaskedNorm(name="norm2")(x, mask)) * mask[:, None]
        sow(self, "mlp", new)
        x = x + new
        sow(self, "out", x)
        return x


class Transformer(nn.Module):
    """A stack of blocks.

    Attributes:
      depth: Number of blocks.
      num_heads: Attention heads.
      mlp_ratio: Hidden width of the MLPs over the tokens' width.
      position_at_every_layer: Whether positions are added before each block.
      final_norm: Whether the stack ends with a norm.
    """

    depth: int
    num_heads: int
    mlp_ratio: int
    position_at_every_layer: bool
    final_norm: bool

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "tokens features"],
        positions: Float[Array, "tokens features"],
        mask: Bool[Array, "tokens"],
        bias: Float[Array, "heads tokens tokens"] | None = None,
    ) -> tuple[Float[Array, "tokens features"], list[Float[Array, "tokens features"]]]:
        """Returns the last tokens, and those after each block."""
        if not self.position_at_every_layer:
            x = x + positions
        hidden = []
        for index in range(self.depth):
            if self.position_at_every_layer:
                x = x + positions
            x = Block(self.num_heads, self.mlp_ratio, name=f"blocks_{index}")(
                x, mask, bias
            )
            hidden.append(x)
        if self.final_norm:
            x = MaskedNorm(name="norm")(x, mask)
            sow(self, "norm", x)
        return x, hidden
