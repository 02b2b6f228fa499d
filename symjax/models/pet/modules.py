"""Building blocks of PET as Flax Linen modules.

Submodules have the names of metatrain: ``gnn_layers_0/trans/layers_1`` is
``gnn_layers.0.trans.layers.1`` there. Arrays are padded, with axes atoms, neighbors and
features. Features are sown into the collection ``features``, which costs nothing unless
it is mutable.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from symjax.models._parameters import (
    Dense,
    LayerNorm,
    Module,
    lecun_normal,
    normal,
    ones,
    zeros,
)
from symjax.models.pet.config import PETConfig

Node = Float[Array, "atoms 1 d_node"]
Edges = Float[Array, "atoms neighbors d_pet"]
Scores = Float[Array, "atoms tokens"]

FEATURES = "features"
# Collection of the features that the last layers of a target read.
READ = "read"
# Collections of the outputs of GNN layers, and of what the caller adds to them.
STAGES, SHIFTS = "stages", "shifts"


class Shown(nn.Module):
    """A module whose intermediate features can be measured."""

    def show(self, name: str, value: Array) -> Array:
        """Sows the features of a layer, and returns what the network continues with.

        This is ``value``, unless it is intercepted with Linen's ``intercept_methods``.
        """
        # Linen forbids one name for a submodule and a sown value.
        self.sow(FEATURES, f"={name}", value)
        return value


def at_stage(module: nn.Module, name: str, value: Array) -> Array:
    """Sows the output of a GNN layer, and returns it with the caller's shift."""
    module.sow(STAGES, name, value)
    if module.has_variable(SHIFTS, name):
        value = value + module.get_variable(SHIFTS, name)
    return value


class Affine(Module):
    """Kernel and bias of a linear layer, for callers that fuse its product."""

    inputs: int
    outputs: int

    @nn.compact
    def __call__(self) -> tuple[Array, Array]:
        """Returns the kernel ``(inputs, outputs)`` and the bias ``(outputs,)``."""
        kernel = self.param("kernel", lecun_normal, (self.inputs, self.outputs))
        return kernel, self.param("bias", zeros, (self.outputs,))


class Table(Module):
    """An embedding table with one row for each species."""

    rows: int
    features: int

    @nn.compact
    def __call__(self) -> Float[Array, "rows features"]:
        """Returns the table."""
        table = self.param("embedding", normal(1.0), (self.rows, self.features))
        # Parameters may be NumPy arrays, which tracers cannot index.
        return jnp.asarray(table)


class RMSNorm(Module):
    """RMS norm x / sqrt(mean(x^2) + epsilon) * scale.

    Epsilon is the machine epsilon of the dtype, or of float32 for shorter dtypes.
    """

    @nn.compact
    def __call__(self, x: Float[Array, "... features"]) -> Float[Array, "... features"]:
        """Normalises the last axis."""
        scale = self.param("scale", ones, x.shape[-1:])
        # Shorter dtypes are too inaccurate for the sum.
        wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        square = jnp.mean(wide * wide, axis=-1, keepdims=True)
        normed = wide * jax.lax.rsqrt(square + jnp.finfo(wide.dtype).eps)
        return normed.astype(x.dtype) * scale


def _norm(kind: str, name: str) -> Callable[[Array], Array]:
    if kind == "RMSNorm":
        return RMSNorm(name=name)
    return LayerNorm(epsilon=1e-5, use_fast_variance=False, name=name)


class FeedForward(nn.Module):
    """Two linear layers with a nonlinearity.

    Attributes:
      width: Hidden width.
      activation: ``"SiLU"``, or ``"SwiGLU"`` for value * sigmoid(gate) as in metatrain.
    """

    width: int
    activation: str

    @nn.compact
    def __call__(self, x: Float[Array, "... features"]) -> Float[Array, "... features"]:
        """Applies the layers to the last axis."""
        if self.activation == "SwiGLU":
            value, gate = jnp.split(Dense(2 * self.width, name="w_in")(x), 2, axis=-1)
            hidden = value * jax.nn.sigmoid(gate)
        else:
            hidden = jax.nn.silu(Dense(self.width, name="w_in")(x))
        return Dense(x.shape[-1], name="w_out")(hidden)


class SiluMLP(nn.Module):
    """Linear, SiLU, linear."""

    hidden: int
    outputs: int

    @nn.compact
    def __call__(self, x: Float[Array, "... inputs"]) -> Float[Array, "... outputs"]:
        """Applies the layers to the last axis."""
        hidden = jax.nn.silu(Dense(self.hidden, name="0")(x))
        return Dense(self.outputs, name="2")(hidden)


class Head(Shown):
    """Head of a target: linear, SiLU, linear, SiLU."""

    config: PETConfig

    @nn.compact
    def __call__(self, x: Float[Array, "... inputs"]) -> Float[Array, "... features"]:
        """Applies the layers to the last axis."""
        width = self.config.d_head
        hidden = jax.nn.silu(Dense(width, name="0")(x))
        out = jax.nn.silu(Dense(width, name="2")(hidden))
        return self.show("out", out)


class Attention(nn.Module):
    """Multi-head attention whose weights are multiplied by the cutoff factors."""

    num_heads: int
    temperature: float

    @nn.compact
    def __call__(
        self, tokens: Float[Array, "atoms tokens features"], bias: Scores
    ) -> Float[Array, "atoms tokens features"]:
        """Attends among the tokens of each atom; ``bias`` is added to the scores."""
        atoms, length, features = tokens.shape
        size = features // self.num_heads
        projected = Dense(3 * features, name="input_linear")(tokens)
        projected = projected.reshape(atoms, length, 3, self.num_heads, size)
        query, key, value = (projected[:, :, part] for part in range(3))
        query = query * (1 / (size**0.5 * self.temperature))
        scores = jnp.einsum("aqhs,akhs->ahqk", query, key)
        scores = scores + bias[:, None, None, :]
        wide = jnp.promote_types(scores.dtype, jnp.float32)
        weights = jax.nn.softmax(scores.astype(wide), axis=-1).astype(scores.dtype)
        out = jnp.einsum("ahqk,akhs->aqhs", weights, value)
        return Dense(features, name="output_linear")(out.reshape(tokens.shape))


class TransformerLayer(Shown):
    """Attention and MLPs on one node token and the edge tokens of each atom."""

    config: PETConfig

    @nn.compact
    def __call__(self, node: Node, edges: Edges, bias: Scores) -> tuple[Node, Edges]:
        """Returns the new node and edge features."""
        config = self.config
        expanded = config.d_node != config.d_pet
        attention = Attention(
            config.num_heads, config.attention_temperature, name="attention"
        )
        norm_attention = _norm(config.normalization, "norm_attention")
        norm_mlp = _norm(config.normalization, "norm_mlp")
        mlp = FeedForward(config.d_feedforward, config.activation, name="mlp")

        center = (
            Dense(config.d_pet, name="center_contraction")(node) if expanded else node
        )
        tokens = jnp.concatenate([center, edges], axis=1)
        if config.transformer_type == "PreLN":
            new = attention(norm_attention(tokens), bias)
            center, edges = new[:, :1], edges + new[:, 1:]
            edges = edges + mlp(norm_mlp(edges))
        else:
            tokens = norm_attention(tokens + attention(tokens, bias))
            tokens = norm_mlp(tokens + mlp(tokens))
            center, edges = tokens[:, :1], tokens[:, 1:]
        if expanded:
            # The residual connection of the node, at its own width. With equal widths
            # the PreLN variant has none.
            center = node + Dense(config.d_node, name="center_expansion")(center)
            center_mlp = FeedForward(
                2 * config.d_node, config.activation, name="center_mlp"
            )
            norm = _norm(config.normalization, "norm_center_features")
            center = center + center_mlp(norm(center))
        center = self.show("node", center[:, 0])[:, None]
        return center, self.show("edge", edges)


class Transformer(nn.Module):
    """A stack of transformer layers."""

    config: PETConfig

    @nn.compact
    def __call__(self, node: Node, edges: Edges, bias: Scores) -> tuple[Node, Edges]:
        """Returns the new node and edge features."""
        for index in range(self.config.num_attention_layers):
            layer = TransformerLayer(self.config, name=f"layers_{index}")
            node, edges = layer(node, edges, bias)
        return node, edges


class SiluMLPParts(nn.Module):
    """Parameters of a :class:`SiluMLP` whose input is a concatenation of parts."""

    parts: int
    width: int

    @nn.compact
    def __call__(self) -> tuple[Array, Array, Array, Array]:
        """Returns the blocks of the first kernel, its bias, second kernel and bias."""
        first, bias = Affine(self.parts * self.width, self.width, name="0")()
        second, second_bias = Affine(self.width, self.width, name="2")()
        blocks = first.reshape(self.parts, self.width, self.width)
        return blocks, bias, second, second_bias


class SystemConditioning(nn.Module):
    """Embeds total charge and spin multiplicity of each structure."""

    config: PETConfig

    @nn.compact
    def __call__(
        self,
        charge: Int[Array, "structures"],
        spin_multiplicity: Int[Array, "structures"],
        structure: Int[Array, "atoms"],
    ) -> Float[Array, "atoms d_node"]:
        """Returns the additional node features of every atom."""
        width, largest = self.config.d_node, self.config.max_charge
        charges = Table(2 * largest + 1, width, name="charge_embedding")()
        spins = Table(
            self.config.max_spin_multiplicity, width, name="spin_multiplicity_embedding"
        )()
        both = [charges[charge + largest], spins[spin_multiplicity - 1]]
        hidden = Dense(width, name="project_0")(jnp.concatenate(both, axis=-1))
        # Zero at initialisation, as in metatrain.
        gate = Dense(width, kernel_init=zeros, name="project_2")
        return gate(jax.nn.silu(hidden))[structure]
