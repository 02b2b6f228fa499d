"""The layers of PET as Flax Linen modules.

Submodules have metatrain's names (``gnn_layers_0/trans/layers_1`` is
``gnn_layers.0.trans.layers.1`` there). Arrays are padded: atoms by neighbors by
features. Features are sown into the collection ``features``; unless that collection
is mutable, sowing costs nothing.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from symjax.data.mesh import Mesh
from symjax.models.biases.readout import EquivariantReadout
from symjax.models.biases.tensors import (
    AtomVectors,
    HarmonicEmbedding,
    directions,
    harmonics,
    pseudotensors,
    radial_functions,
)
from symjax.models.pet.config import Block, PETConfig, Target
from symjax.models.pet.layers import layer_of, symmetrized_layers
from symjax.models.pet.long_range import LongRangeFeatures, potential_kernel
from symjax.so3.irreps import Irrep
from symjax.so3.representations import Representation

FEATURES = "features"
# What the last layers of a target read, summed over neighbors.
READ = "read"
# What one GNN layer hands to the next, and what the caller adds to it.
STAGES, SHIFTS = "stages", "shifts"
# Axis of the group elements over which features are averaged, where a model asks.
GROUP_AXIS = "group"
# A neighbor at its cutoff keeps this share of attention, so that the logarithm of its
# factor exists (metatrain's epsilon).
_SMALLEST_FACTOR = 1e-15


@flax.struct.dataclass
class PETInputs:
    """What the network reads.

    Only ``vectors`` change under rotations, and positions and cells of
    ``long_range``. A ``vmap`` over rotations that maps
    ``vectors`` alone computes everything that reads only the other fields once.

    Attributes:
      vectors: Edge vectors in angstrom, 0 for padding.
      distances: Edge lengths as the tokens see them, in angstrom.
      cutoff_factors: Cutoff factors, 0 for padding.
      edge_mask: True for edges.
      reverse: Flat slot of the reverse edge; the edge's own slot for padding.
      centers: Index of each atom's species in the model's list.
      neighbors: Index of each neighbor's species.
      structure: Structure of each atom.
      charge: Total charge of each structure, in elementary charges.
      spin_multiplicity: 2S+1 of each structure.
      repulsion: Nuclear repulsion of each atom in eV, 0 unless the model has it. The
        network does not read it.
      long_range: What long-range features read; None without them.

    Example:
      >>> import ase.build
      >>> import numpy as np
      >>> from symjax.models.pet import PETConfig, pet_graph, pet_inputs
      >>> config = PETConfig(species=(1, 8))
      >>> graph = pet_graph(config, ase.build.molecule("H2O"))
      >>> inputs = pet_inputs(PETConfig(species=(1, 8)), graph)
      >>> np.asarray(inputs.centers).tolist()  # O is the second of the model's species
      [1, 0, 0]
    """

    vectors: Float[Array, "atoms neighbors 3"]
    distances: Float[Array, "atoms neighbors"]
    cutoff_factors: Float[Array, "atoms neighbors"]
    edge_mask: Bool[Array, "atoms neighbors"]
    reverse: Int[Array, "atoms neighbors"]
    centers: Int[Array, "atoms"]
    neighbors: Int[Array, "atoms neighbors"]
    structure: Int[Array, "atoms"]
    charge: Int[Array, "structures"]
    spin_multiplicity: Int[Array, "structures"]
    repulsion: Float[Array, "atoms"]
    long_range: Mesh | None = None

    if TYPE_CHECKING:
        # Added by flax, out of sight of type checkers.
        def __init__(self, **fields: Any) -> None: ...
        def replace(self, **changes: Any) -> "PETInputs":
            """Returns a copy with some fields changed."""


def is_invariant(block: Block) -> bool:
    """Whether a block is a proper scalar, to which a baseline can be added."""
    return block.representation.irreps == (Irrep(0, 1),)


def with_channels(block: Block) -> Representation:
    """The representation of a block whose last axis always holds its copies."""
    return dataclasses.replace(block.representation, has_channels=True)


def _sow(module: nn.Module, name: str, value: Array) -> None:
    # Linen forbids one name for a submodule and a sown value.
    module.sow(FEATURES, f"={name}", value)


def _at_stage(module: nn.Module, name: str, value: Array) -> Array:
    """What one GNN layer hands to the next: shown, and shifted if the caller asks."""
    module.sow(STAGES, name, value)
    if module.has_variable(SHIFTS, name):
        value = value + module.get_variable(SHIFTS, name)
    return value


def _release(config: PETConfig, module: nn.Module, name: str, value: Array) -> Array:
    """Features of a layer, averaged over a group where the model asks for it."""
    # There is no group while parameters are made.
    chosen = () if module.is_initializing() else symmetrized_layers(config)
    if chosen and layer_of(config, (*module.path, name)) in chosen:
        number = math.ceil(config.biases.symmetrized_share * value.shape[-1])
        mean = jax.lax.pmean(value[..., :number], GROUP_AXIS)
        value = jnp.concatenate([mean, value[..., number:]], axis=-1)
    _sow(module, name, value)
    return value


class Affine(nn.Module):
    """Kernel and bias of a linear layer, for callers that fuse products."""

    inputs: int
    outputs: int

    @nn.compact
    def __call__(
        self,
    ) -> tuple[Float[Array, "inputs outputs"], Float[Array, "outputs"]]:
        """Returns the kernel and the bias."""
        kernel = self.param(
            "kernel", nn.initializers.lecun_normal(), (self.inputs, self.outputs)
        )
        return kernel, self.param("bias", nn.initializers.zeros, (self.outputs,))


class Table(nn.Module):
    """A table with one row of features for each species."""

    rows: int
    features: int

    @nn.compact
    def __call__(self) -> Float[Array, "rows features"]:
        """Returns the table."""
        table = self.param(
            "embedding", nn.initializers.normal(1.0), (self.rows, self.features)
        )
        # Parameters may be NumPy arrays, which traced indices cannot read.
        return jnp.asarray(table)


class RMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + epsilon) * scale, epsilon being that of x's dtype."""

    @nn.compact
    def __call__(self, x: Float[Array, "... features"]) -> Float[Array, "... features"]:
        """Normalises the last axis."""
        scale = self.param("scale", nn.initializers.ones, x.shape[-1:])
        # Narrower types have too few bits for the sum, and another epsilon.
        wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        square = jnp.mean(wide * wide, axis=-1, keepdims=True)
        normed = wide * jax.lax.rsqrt(square + jnp.finfo(wide.dtype).eps)
        return normed.astype(x.dtype) * scale


def _norm(kind: str, name: str) -> Callable[[Array], Array]:
    if kind == "RMSNorm":
        return RMSNorm(name=name)
    return nn.LayerNorm(epsilon=1e-5, use_fast_variance=False, name=name)


class FeedForward(nn.Module):
    """Two linear layers; SwiGLU gates its values with a sigmoid."""

    width: int
    activation: str

    @nn.compact
    def __call__(self, x: Float[Array, "... features"]) -> Float[Array, "... features"]:
        """Applies the layers to the last axis."""
        if self.activation == "SwiGLU":
            value, gate = jnp.split(
                nn.Dense(2 * self.width, name="w_in")(x), 2, axis=-1
            )
            hidden = value * jax.nn.sigmoid(gate)
        else:
            hidden = jax.nn.silu(nn.Dense(self.width, name="w_in")(x))
        return nn.Dense(x.shape[-1], name="w_out")(hidden)


class SiluMLP(nn.Module):
    """Linear, SiLU, linear, named as the entries of a sequence."""

    hidden: int
    outputs: int

    @nn.compact
    def __call__(self, x: Float[Array, "... inputs"]) -> Float[Array, "... outputs"]:
        """Applies the layers to the last axis."""
        hidden = jax.nn.silu(nn.Dense(self.hidden, name="0")(x))
        return nn.Dense(self.outputs, name="2")(hidden)


class Head(nn.Module):
    """Linear, SiLU, linear, SiLU: the features of the last layer of a target."""

    config: PETConfig

    @nn.compact
    def __call__(self, x: Float[Array, "... inputs"]) -> Float[Array, "... features"]:
        """Applies the layers to the last axis."""
        width = self.config.d_head
        hidden = jax.nn.silu(nn.Dense(width, name="0")(x))
        out = jax.nn.silu(nn.Dense(width, name="2")(hidden))
        return _release(self.config, self, "out", out)


class Attention(nn.Module):
    """Multi-head attention whose weights are multiplied by the cutoff factors."""

    num_heads: int
    temperature: float

    @nn.compact
    def __call__(
        self, tokens: Float[Array, "atoms tokens features"], bias: Float[Array, "..."]
    ) -> Float[Array, "atoms tokens features"]:
        """Attention among the tokens of each atom; ``bias`` is added to the scores."""
        atoms, length, features = tokens.shape
        size = features // self.num_heads
        projected = nn.Dense(3 * features, name="input_linear")(tokens)
        projected = projected.reshape(atoms, length, 3, self.num_heads, size)
        query, key, value = (projected[:, :, part] for part in range(3))
        query = query * (1 / (size**0.5 * self.temperature))
        scores = jnp.einsum("aqhs,akhs->ahqk", query, key)
        scores = scores + bias[:, None, None, :]
        wide = jnp.promote_types(scores.dtype, jnp.float32)
        weights = jax.nn.softmax(scores.astype(wide), axis=-1).astype(scores.dtype)
        out = jnp.einsum("ahqk,akhs->aqhs", weights, value)
        return nn.Dense(features, name="output_linear")(out.reshape(tokens.shape))


class TransformerLayer(nn.Module):
    """Attention and MLPs on one node token and the edge tokens of each atom."""

    config: PETConfig

    @nn.compact
    def __call__(
        self,
        node: Float[Array, "atoms 1 d_node"],
        edges: Float[Array, "atoms neighbors d_pet"],
        bias: Float[Array, "atoms tokens"],
    ) -> tuple[Float[Array, "atoms 1 d_node"], Float[Array, "atoms neighbors d_pet"]]:
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
            nn.Dense(config.d_pet, name="center_contraction")(node)
            if expanded
            else node
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
            # Widths differ, so the residual connection of the node is its own; with
            # equal widths the node has none in the PreLN variant.
            center = node + nn.Dense(config.d_node, name="center_expansion")(center)
            center_mlp = FeedForward(
                2 * config.d_node, config.activation, name="center_mlp"
            )
            norm = _norm(config.normalization, "norm_center_features")
            center = center + center_mlp(norm(center))
        center = _release(config, self, "node", center[:, 0])[:, None]
        return center, _release(config, self, "edge", edges)


class Transformer(nn.Module):
    """A stack of layers."""

    config: PETConfig

    @nn.compact
    def __call__(
        self,
        node: Float[Array, "atoms 1 d_node"],
        edges: Float[Array, "atoms neighbors d_pet"],
        bias: Float[Array, "atoms tokens"],
    ) -> tuple[Float[Array, "atoms 1 d_node"], Float[Array, "atoms neighbors d_pet"]]:
        """Returns the new node and edge features."""
        for index in range(self.config.num_attention_layers):
            layer = TransformerLayer(self.config, name=f"layers_{index}")
            node, edges = layer(node, edges, bias)
        return node, edges


class CartesianTransformer(nn.Module):
    """One GNN layer: tokens from geometry, species and messages; then attention."""

    config: PETConfig
    is_first: bool

    @nn.compact
    def __call__(
        self,
        node: Float[Array, "atoms d_node"],
        messages: Float[Array, "atoms neighbors d_pet"],
        inputs: PETInputs,
        tensors: "Tensors | None" = None,
    ) -> tuple[Float[Array, "atoms d_node"], Float[Array, "atoms neighbors d_pet"]]:
        """Returns the new node features and edge messages."""
        config, width = self.config, self.config.d_pet
        biases = config.biases
        geometry = jnp.concatenate(
            [inputs.vectors, inputs.distances[..., None]], axis=-1
        )
        embed, shift = Affine(4, width, name="edge_embedder")()
        _sow(self, "edge_embedder", geometry @ embed + shift)

        # The first linear map of the concatenated parts is the sum of its blocks. The
        # block of the geometry is multiplied with its embedding before either meets
        # an edge, and the species' block becomes a table: a third of the products
        # remain.
        parts = 2 if self.is_first else 3
        compress = SiluMLPParts(parts, width, name="compress")
        first, bias, second, second_bias = compress()
        hidden = geometry @ (embed @ first[0]) + (shift @ first[0] + bias)
        if not self.is_first:
            table = Table(len(config.species), width, name="neighbor_embedder")()
            _sow(self, "neighbor_embedder", table[inputs.neighbors])
            hidden = hidden + (table @ first[1])[inputs.neighbors]
        hidden = hidden + messages @ first[-1]
        if tensors is not None and (self.is_first or biases.token_layers == "every"):
            if biases.edge_harmonics is not None:
                embedding = HarmonicEmbedding(
                    width, biases.edge_harmonics, name="harmonic_embedding"
                )
                hidden = hidden + embedding(tensors.angles, tensors.radial)
            if biases.pseudotensors is not None:
                pseudo = nn.Dense(width, use_bias=False, name="pseudo_embedding")
                hidden = hidden + pseudo(tensors.pseudo)
        tokens = jax.nn.silu(hidden) @ second + second_bias
        tokens = _release(config, self, "compress", tokens)

        factors = jnp.maximum(inputs.cutoff_factors, _SMALLEST_FACTOR)
        scores = jnp.where(inputs.edge_mask, jnp.log(factors), -jnp.inf)
        scores = jnp.concatenate([jnp.zeros_like(scores[:, :1]), scores], axis=1)
        out_node, out_edges = Transformer(config, name="trans")(
            node[:, None, :], tokens, scores
        )
        return out_node[:, 0], out_edges


class Tensors(NamedTuple):
    """What biases compute of the geometry, once for all layers.

    Attributes:
      angles: Real spherical harmonics of each edge, by degree.
      radial: Radial functions of each edge.
      pseudo: Pseudotensors of each edge, one after another.
    """

    angles: list[Float[Array, "atoms neighbors components"]]
    radial: Float[Array, "atoms neighbors number"]
    pseudo: Float[Array, "atoms neighbors features"] | None


class GeometricTensors(nn.Module):
    """Makes the :class:`Tensors` that a model's biases ask for."""

    config: PETConfig

    @nn.compact
    def __call__(self, inputs: PETInputs) -> Tensors | None:
        """Returns them, or None where there is no such bias."""
        biases = self.config.biases
        degrees = [biases.edge_harmonics or 0]
        if biases.pseudotensors is not None:
            degrees.append(max(biases.pseudotensors, 1))
        if biases.readout != "linear":
            degrees += [
                irrep.degree if irrep.degree or irrep.sigma == 1 else 1
                for target in self.config.targets
                for block in target.blocks
                for irrep in block.representation.irreps
            ]
            if max(degrees) > 0:
                degrees.append(1)
        if max(degrees) == 0:
            return None
        angles = harmonics(max(degrees), directions(inputs.vectors, inputs.distances))
        radial = radial_functions(inputs.distances, self.config.cutoff, biases.radial)
        pseudo = None
        if biases.pseudotensors is not None:
            vectors = AtomVectors(
                len(self.config.species), biases.channels, name="atom_vectors"
            )(angles[1], radial, inputs.cutoff_factors, inputs.neighbors)
            found = pseudotensors(biases.pseudotensors, angles, vectors)
            flat = [part.reshape(*part.shape[:2], -1) for part in found]
            pseudo = jnp.concatenate(flat, axis=-1)
        return Tensors(angles=angles, radial=radial, pseudo=pseudo)


class SiluMLPParts(nn.Module):
    """Weights of a :class:`SiluMLP` on concatenated parts of one width each."""

    parts: int
    width: int

    @nn.compact
    def __call__(
        self,
    ) -> tuple[
        Float[Array, "parts width width"],
        Float[Array, "width"],
        Float[Array, "width width"],
        Float[Array, "width"],
    ]:
        """Returns the first kernel in blocks, its bias, and the second layer."""
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
        """Returns what is added to the node features of every atom."""
        width, largest = self.config.d_node, self.config.max_charge
        charges = Table(2 * largest + 1, width, name="charge_embedding")()
        spins = Table(
            self.config.max_spin_multiplicity, width, name="spin_multiplicity_embedding"
        )()
        both = [charges[charge + largest], spins[spin_multiplicity - 1]]
        hidden = nn.Dense(width, name="project_0")(jnp.concatenate(both, axis=-1))
        # Zero at first: the conditioning grows from nothing as training goes on.
        zeros = nn.initializers.zeros
        gate = nn.Dense(width, kernel_init=zeros, name="project_2")
        return gate(jax.nn.silu(hidden))[structure]


class TargetHeads(nn.Module):
    """Heads and last layers of one target: predictions of each atom."""

    config: PETConfig
    target: Target

    @nn.compact
    def __call__(
        self,
        nodes: list[Float[Array, "atoms d_node"]],
        edges: list[Float[Array, "atoms neighbors d_pet"]],
        inputs: PETInputs,
        tensors: Tensors | None = None,
    ) -> dict[str, Float[Array, "atoms *block"]]:
        """Returns one array for each block, of shape ``(atoms, *block.shape)``."""
        out: dict[str, Array] = {}
        read: list[Array] = []
        width = self.config.d_head
        weights = inputs.cutoff_factors[..., None]
        for layer, (node, edge) in enumerate(zip(nodes, edges, strict=True)):
            node = Head(self.config, name=f"node_heads_{layer}")(node)
            edge = Head(self.config, name=f"edge_heads_{layer}")(edge)
            # Fused into the sum over neighbors, the head's products run one at a
            # time on a CPU.
            edge = jax.lax.optimization_barrier(edge)
            # The last layer is linear: sum the features over neighbors, then apply
            # it once to each atom. Its bias counts every neighbor's weight.
            summed = jnp.sum(edge * weights, axis=1)
            total = jnp.sum(weights, axis=1)
            read += [node, summed]
            for number, block in enumerate(self.target.blocks):
                size = 1
                for length in block.shape:
                    size *= length
                last = f"last_layers_{layer}_{number}"
                value: Array | None = None
                if self.config.biases.readout != "equivariant" or is_invariant(block):
                    kernel, bias = Affine(width, size, name=f"edge_{last}")()
                    value = nn.Dense(size, name=f"node_{last}")(node)
                    value = value + summed @ kernel + total * bias
                    value = value.reshape(-1, *block.shape)
                if self.config.biases.readout != "linear" and not is_invariant(block):
                    assert tensors is not None
                    readout = EquivariantReadout(
                        with_channels(block),
                        block.properties,
                        self.config.biases.channels,
                        name=f"equivariant_{last}",
                    )
                    more = readout(node, edge, inputs.cutoff_factors, tensors.angles)
                    value = more if value is None else value + more
                assert value is not None
                out[block.key] = out[block.key] + value if block.key in out else value
        self.sow(READ, "features", jnp.concatenate(read, axis=-1))
        return out


class PET(nn.Module):
    """Point Edge Transformer (Pozdnyakov and Ceriotti, NeurIPS 2023).

    A graph neural network whose messages are transformers over the neighborhoods of
    atoms. Nothing in it is equivariant by construction. The variants are those of
    metatrain's PET.

    Attributes:
      config: Hyperparameters and targets.

    Example:
      >>> import ase.build
      >>> import jax
      >>> from symjax.models.pet import PET, PETConfig, pet_graph, pet_inputs
      >>> config = PETConfig(species=(1, 8), d_pet=8, d_node=8, d_head=8,
      ...                    d_feedforward=8, num_heads=2, num_gnn_layers=1)
      >>> graph = pet_graph(config, ase.build.molecule("H2O"), dtype="float32")
      >>> inputs, key = pet_inputs(config, graph), jax.random.key(0)
      >>> raw, _ = jax.eval_shape(lambda: PET(config).init_with_output(key, inputs))
      >>> raw["energy"]["scalar"].shape
      (3, 1)
    """

    config: PETConfig

    @nn.compact
    def __call__(
        self, inputs: PETInputs
    ) -> dict[str, dict[str, Float[Array, "atoms *block"]]]:
        """Raw predictions of every atom, by target and block.

        Args:
          inputs: Geometry and species, see :func:`symjax.models.pet.pet_inputs`.

        Returns:
          For each target and block an array of shape ``(atoms, *block.shape)``,
          before scaling and without the baseline of each species. Rows of padding
          atoms are meaningless.
        """
        config = self.config
        num_species = len(config.species)
        residual = config.featurizer_type == "residual"
        condition: Float[Array, "atoms d_node"] | float = 0.0
        if config.system_conditioning:
            condition = SystemConditioning(config, name="system_conditioning")(
                inputs.charge, inputs.spin_multiplicity, inputs.structure
            )
        embedders = [
            Table(num_species, config.d_node, name=f"node_embedders_{index}")
            for index in range(config.num_readout_layers)
        ]
        node = embedders[0]()[inputs.centers]
        _sow(self, "node_embedders_0", node)
        table = Table(num_species, config.d_pet, name="edge_embedder")()
        edges = table[inputs.neighbors]
        _sow(self, "edge_embedder", edges)

        tensors = GeometricTensors(config, name="tensors")(inputs)

        nodes_read, edges_read = [], []
        for index in range(config.num_gnn_layers):
            layer = CartesianTransformer(config, index == 0, name=f"gnn_layers_{index}")
            if residual and index:
                node = embedders[index]()[inputs.centers]
                _sow(self, f"node_embedders_{index}", node)
            node, out = layer(node, edges, inputs, tensors)
            node = node + condition
            if residual:
                node = _at_stage(self, f"node_{index}", node)
                out = _at_stage(self, f"edge_{index}", out)
                reversed_ = out.reshape(-1, out.shape[-1])[inputs.reverse]
                nodes_read.append(node)
                edges_read.append(out)
                edges = 0.5 * (edges + reversed_)
                continue
            reversed_ = out.reshape(-1, out.shape[-1])[inputs.reverse]
            both = jnp.concatenate([out, reversed_], axis=-1)
            norm = nn.LayerNorm(
                epsilon=1e-5, use_fast_variance=False, name=f"combination_norms_{index}"
            )
            mlp = SiluMLP(
                2 * config.d_pet, config.d_pet, name=f"combination_mlps_{index}"
            )
            mixed = mlp(norm(both))
            mixed = _release(config, self, f"combination_mlps_{index}", mixed)
            edges = edges + out + mixed
            post = "gnn_layers_post_mp"
            node = _release(config, self, f"{post}_node_{index}", node)
            edges = _release(config, self, f"{post}_edge_{index}", edges)
            node = _at_stage(self, f"node_{index}", node)
            edges = _at_stage(self, f"edge_{index}", edges)
        if not residual:
            nodes_read, edges_read = [node], [edges]
        for index, (node, edge) in enumerate(zip(nodes_read, edges_read, strict=True)):
            _sow(self, f"node_backbone_{index}", node)
            _sow(self, f"edge_backbone_{index}", edge)
        if config.long_range is not None:
            nodes_read = self._with_long_range(nodes_read, inputs)
        return {
            target.name: TargetHeads(config, target, name=f"targets_{number}")(
                nodes_read, edges_read, inputs, tensors
            )
            for number, target in enumerate(config.targets)
        }

    def _with_long_range(
        self, nodes: list[Float[Array, "atoms d_node"]], inputs: PETInputs
    ) -> list[Float[Array, "atoms d_node"]]:
        """Node features with what potentials of distant charges add to them."""
        config, mesh = self.config, inputs.long_range
        assert config.long_range is not None
        assert mesh is not None
        # The reverse edge starts where the edge ends.
        neighbors = inputs.reverse // inputs.reverse.shape[1]
        kernel = potential_kernel(
            config.long_range,
            config.cutoff,
            mesh,
            inputs.distances.astype(mesh.cells.dtype),
            neighbors,
            inputs.edge_mask,
        )
        module = LongRangeFeatures(config.d_node, name="long_range_featurizer")
        mean = sum(nodes[1:], nodes[0]) / math.sqrt(len(nodes))
        added = _release(config, self, "long_range_featurizer", module(mean, kernel))
        return [(node + added) * math.sqrt(0.5) for node in nodes]
