"""PET as a Flax Linen module: GNN layers, heads and the whole network.

Submodules have the names of metatrain: ``gnn_layers_0/trans/layers_1`` is
``gnn_layers.0.trans.layers.1`` there.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from symjax.data.quantities import Target
from symjax.models._parameters import LayerNorm
from symjax.models.pet.built_in import (
    GeometricTensors,
    Heads,
    Tensors,
    readers,
    token_sources,
)
from symjax.models.pet.config import PETConfig
from symjax.models.pet.inputs import PETInputs
from symjax.models.pet.long_range import LongRangeFeatures, potential_kernel
from symjax.models.pet.modules import (
    READ,
    Affine,
    Edges,
    Head,
    Shown,
    SiluMLP,
    SiluMLPParts,
    SystemConditioning,
    Table,
    Transformer,
    at_stage,
)

Nodes = Float[Array, "atoms d_node"]

# Lower limit of cutoff factors in the attention, so that their logarithms exist; the
# same as in metatrain.
_SMALLEST_FACTOR = 1e-15


class CartesianTransformer(Shown):
    """One GNN layer: tokens from geometry, species and messages; then attention."""

    config: PETConfig
    is_first: bool

    @nn.compact
    def __call__(
        self, node: Nodes, messages: Edges, inputs: PETInputs, tensors: Tensors | None
    ) -> tuple[Nodes, Edges]:
        """Returns the new node features and edge messages."""
        config, width = self.config, self.config.d_pet
        geometry = jnp.concatenate(
            [inputs.vectors, inputs.distances[..., None]], axis=-1
        )
        embed, shift = Affine(4, width, name="edge_embedder")()
        self.show("edge_embedder", geometry @ embed + shift)

        # The first layer of `compress` acts on concatenated parts, so it is a sum over
        # blocks of its kernel. The block of the geometry is multiplied with its
        # embedding, and that of the species with the table, before they are applied to
        # edges: a third of the products remain.
        parts = 2 if self.is_first else 3
        compress = SiluMLPParts(parts, width, name="compress")
        first, bias, second, second_bias = compress()
        hidden = geometry @ (embed @ first[0]) + (shift @ first[0] + bias)
        if not self.is_first:
            table = Table(len(config.species), width, name="neighbor_embedder")()
            self.show("neighbor_embedder", table[inputs.neighbors])
            hidden = hidden + (table @ first[1])[inputs.neighbors]
        hidden = hidden + messages @ first[-1]
        for source in token_sources(config.biases, self.is_first):
            assert tensors is not None
            hidden = hidden + source(width, tensors)
        tokens = jax.nn.silu(hidden) @ second + second_bias
        tokens = self.show("compress", tokens)

        factors = jnp.maximum(inputs.cutoff_factors, _SMALLEST_FACTOR)
        scores = jnp.where(inputs.edge_mask, jnp.log(factors), -jnp.inf)
        scores = jnp.concatenate([jnp.zeros_like(scores[:, :1]), scores], axis=1)
        out_node, out_edges = Transformer(config, name="trans")(
            node[:, None, :], tokens, scores
        )
        return out_node[:, 0], out_edges


class TargetHeads(nn.Module):
    """Heads and last layers of one target."""

    config: PETConfig
    target: Target

    @nn.compact
    def __call__(
        self,
        nodes: list[Nodes],
        edges: list[Edges],
        inputs: PETInputs,
        tensors: Tensors | None,
    ) -> dict[str, Float[Array, "atoms *block"]]:
        """Returns predictions of each atom by block, ``(atoms, *block.shape)``."""
        out: dict[str, Array] = {}
        read: list[Array] = []
        weights = inputs.cutoff_factors[..., None]
        for layer, (node, edge) in enumerate(zip(nodes, edges, strict=True)):
            node = Head(self.config, name=f"node_heads_{layer}")(node)
            edge = Head(self.config, name=f"edge_heads_{layer}")(edge)
            # Otherwise XLA fuses the head into the sum over neighbors, and its products
            # are slow on a CPU.
            edge = jax.lax.optimization_barrier(edge)
            # The last layer is linear: it is applied once to each atom, after the sum
            # over neighbors, with its bias times the sum of the weights.
            summed = jnp.sum(edge * weights, axis=1)
            total = jnp.sum(weights, axis=1)
            read += [node, summed]
            heads = Heads(node, edge, summed, total, inputs.cutoff_factors, tensors)
            for number, block in enumerate(self.target.blocks):
                last = f"last_layers_{layer}_{number}"
                for reader in readers(self.config.biases, block):
                    value = reader(block, last, heads)
                    key = block.key
                    out[key] = out[key] + value if key in out else value
        self.sow(READ, "features", jnp.concatenate(read, axis=-1))
        return out


class PET(Shown):
    """Point Edge Transformer (Pozdnyakov and Ceriotti, NeurIPS 2023).

    A graph neural network whose messages come from transformers over the neighborhoods
    of atoms. It is not equivariant by construction. The variants are those of
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
        """Raw predictions of every atom by target and block, ``(atoms, *block.shape)``.

        They are not scaled and have no baseline. Rows of padding atoms are meaningless.
        """
        config = self.config
        num_species = len(config.species)
        residual = config.featurizer_type == "residual"
        condition: Nodes | float = 0.0
        if config.system_conditioning:
            condition = SystemConditioning(config, name="system_conditioning")(
                inputs.charge, inputs.spin_multiplicity, inputs.structure
            )
        embedders = [
            Table(num_species, config.d_node, name=f"node_embedders_{index}")
            for index in range(config.num_readout_layers)
        ]
        node = embedders[0]()[inputs.centers]
        self.show("node_embedders_0", node)
        table = Table(num_species, config.d_pet, name="edge_embedder")()
        edges = table[inputs.neighbors]
        self.show("edge_embedder", edges)

        tensors = GeometricTensors(config, name="tensors")(inputs)

        nodes_read, edges_read = [], []
        for index in range(config.num_gnn_layers):
            layer = CartesianTransformer(config, index == 0, name=f"gnn_layers_{index}")
            if residual and index:
                node = embedders[index]()[inputs.centers]
                self.show(f"node_embedders_{index}", node)
            node, out = layer(node, edges, inputs, tensors)
            node = node + condition
            if residual:
                node = at_stage(self, f"node_{index}", node)
                out = at_stage(self, f"edge_{index}", out)
                reversed_ = out.reshape(-1, out.shape[-1])[inputs.reverse]
                nodes_read.append(node)
                edges_read.append(out)
                edges = 0.5 * (edges + reversed_)
                continue
            reversed_ = out.reshape(-1, out.shape[-1])[inputs.reverse]
            both = jnp.concatenate([out, reversed_], axis=-1)
            norm = LayerNorm(
                epsilon=1e-5, use_fast_variance=False, name=f"combination_norms_{index}"
            )
            mlp = SiluMLP(
                2 * config.d_pet, config.d_pet, name=f"combination_mlps_{index}"
            )
            mixed = mlp(norm(both))
            mixed = self.show(f"combination_mlps_{index}", mixed)
            edges = edges + out + mixed
            post = "gnn_layers_post_mp"
            node = self.show(f"{post}_node_{index}", node)
            edges = self.show(f"{post}_edge_{index}", edges)
            node = at_stage(self, f"node_{index}", node)
            edges = at_stage(self, f"edge_{index}", edges)
        if not residual:
            nodes_read, edges_read = [node], [edges]
        for index, (node, edge) in enumerate(zip(nodes_read, edges_read, strict=True)):
            self.show(f"node_backbone_{index}", node)
            self.show(f"edge_backbone_{index}", edge)
        if config.long_range is not None:
            nodes_read = self._with_long_range(nodes_read, inputs)
        return {
            target.name: TargetHeads(config, target, name=f"targets_{number}")(
                nodes_read, edges_read, inputs, tensors
            )
            for number, target in enumerate(config.targets)
        }

    def _with_long_range(self, nodes: list[Nodes], inputs: PETInputs) -> list[Nodes]:
        """Mixes long-range features into the node features that the heads read."""
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
        added = self.show("long_range_featurizer", module(mean, kernel))
        return [(node + added) * math.sqrt(0.5) for node in nodes]
