"""Symmetry biases inside the forward pass of a PET.

Sources add terms to the hidden features of edge tokens; readers compute a block of a
target from the features of the heads. PET itself has no source, and one reader: a
linear layer. Biases that rotate the input are in :mod:`symjax.models.pet.moved`.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from symjax.data.quantities import Block
from symjax.models._parameters import Dense
from symjax.models.biases.config import Biases
from symjax.models.biases.readout import EquivariantReadout
from symjax.models.biases.tensors import (
    AtomVectors,
    HarmonicEmbedding,
    directions,
    harmonics,
    pseudotensors,
    radial_functions,
)
from symjax.models.pet.config import PETConfig
from symjax.models.pet.inputs import PETInputs
from symjax.models.pet.modules import Affine


class Tensors(NamedTuple):
    """Geometric features for biases, computed once for all layers.

    Attributes:
      angles: Real spherical harmonics of each edge, by degree.
      radial: Radial functions of each edge.
      pseudo: Pseudotensors of each edge, concatenated; None without them.
    """

    angles: list[Float[Array, "atoms neighbors components"]]
    radial: Float[Array, "atoms neighbors number"]
    pseudo: Float[Array, "atoms neighbors features"] | None


class GeometricTensors(nn.Module):
    """Computes the :class:`Tensors` that the biases of a model need."""

    config: PETConfig

    @nn.compact
    def __call__(self, inputs: PETInputs) -> Tensors | None:
        """Returns the tensors, or None if no bias needs them."""
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
            tensors = pseudotensors(biases.pseudotensors, angles, vectors)
            flat = [part.reshape(*part.shape[:2], -1) for part in tensors]
            pseudo = jnp.concatenate(flat, axis=-1)
        return Tensors(angles=angles, radial=radial, pseudo=pseudo)


class Heads(NamedTuple):
    """Input of the readers of a target.

    Attributes:
      node: Features of the node head.
      edge: Features of the edge head.
      summed: Features of the edge head, summed over neighbors with the cutoff factors.
      total: Sum of the cutoff factors over neighbors.
      factors: Cutoff factors.
      tensors: Geometric features, if a bias needs them.
    """

    node: Float[Array, "atoms d_head"]
    edge: Float[Array, "atoms neighbors d_head"]
    summed: Float[Array, "atoms d_head"]
    total: Float[Array, "atoms 1"]
    factors: Float[Array, "atoms neighbors"]
    tensors: Tensors | None


Source = Callable[[int, Tensors], Float[Array, "atoms neighbors width"]]
Reader = Callable[[Block, str, Heads], Float[Array, "atoms *block"]]


def token_sources(biases: Biases, is_first: bool) -> tuple[Source, ...]:
    """Terms that biases add to the hidden features of the tokens of a GNN layer.

    Returns:
      Functions of the width and the tensors, to be called within a compact module, to
      which their parameters then belong; none without such a bias.
    """
    sources: list[Source] = []
    if not is_first and biases.token_layers != "every":
        return ()
    if biases.edge_harmonics is not None:
        sources.append(functools.partial(_embed_harmonics, biases.edge_harmonics))
    if biases.pseudotensors is not None:
        sources.append(_embed_pseudotensors)
    return tuple(sources)


def _embed_harmonics(degree: int, width: int, tensors: Tensors) -> Array:
    embedding = HarmonicEmbedding(width, degree, name="harmonic_embedding")
    return embedding(tensors.angles, tensors.radial)


def _embed_pseudotensors(width: int, tensors: Tensors) -> Array:
    return Dense(width, use_bias=False, name="pseudo_embedding")(tensors.pseudo)


def readers(biases: Biases, block: Block) -> tuple[Reader, ...]:
    """How a block of a target is read; the block is the sum over all readers.

    Returns:
      Functions of the block, the name of the last layers and the features of the heads,
      to be called within a compact module, to which their parameters then belong.
    """
    if biases.readout == "linear" or block.is_invariant:
        return (_read_linearly,)
    equivariant = functools.partial(_read_equivariantly, biases.channels)
    return (_read_linearly, equivariant) if biases.readout == "sum" else (equivariant,)


def _read_linearly(block: Block, last: str, heads: Heads) -> Array:
    """Applies the linear last layer once, to features summed over neighbors.

    The bias for edges is multiplied by the sum of the cutoff factors.
    """
    size = math.prod(block.shape)
    kernel, bias = Affine(heads.node.shape[-1], size, name=f"edge_{last}")()
    value = Dense(size, name=f"node_{last}")(heads.node)
    value = value + heads.summed @ kernel + heads.total * bias
    return value.reshape(-1, *block.shape)


def _read_equivariantly(channels: int, block: Block, last: str, heads: Heads) -> Array:
    assert heads.tensors is not None
    readout = EquivariantReadout(
        block.with_channels, block.properties, channels, name=f"equivariant_{last}"
    )
    return readout(heads.node, heads.edge, heads.factors, heads.tensors.angles)
