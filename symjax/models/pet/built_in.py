"""Symmetry that a PET has built in, beside its forward pass.

Sources add to what the first linear map makes of an edge's token; readers turn the
features of heads into a block of a target. PET itself has no source, and one reader: a
linear layer. Biases that move the input are wrappers, :mod:`symjax.models.pet.moved`.
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


class Heads(NamedTuple):
    """What a block of a target is read from.

    Attributes:
      node: Features of the node head.
      edge: Features of the edge head.
      summed: The same, summed over neighbors with the cutoff factors.
      total: Sum of the cutoff factors.
      factors: Cutoff factors.
      tensors: Tensors of the geometry, where a bias asks for them.
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
    """What is added to the hidden features of tokens, by functions of the geometry.

    Functions of the width and the tensors; none without such a bias. They are called
    within a layer, whose parameters then hold theirs.
    """
    found: list[Source] = []
    if not is_first and biases.token_layers != "every":
        return ()
    if biases.edge_harmonics is not None:
        found.append(functools.partial(_embed_harmonics, biases.edge_harmonics))
    if biases.pseudotensors is not None:
        found.append(_embed_pseudotensors)
    return tuple(found)


def _embed_harmonics(degree: int, width: int, tensors: Tensors) -> Array:
    embedding = HarmonicEmbedding(width, degree, name="harmonic_embedding")
    return embedding(tensors.angles, tensors.radial)


def _embed_pseudotensors(width: int, tensors: Tensors) -> Array:
    return Dense(width, use_bias=False, name="pseudo_embedding")(tensors.pseudo)


def readers(biases: Biases, block: Block) -> tuple[Reader, ...]:
    """How a block is read; what several readers give is added.

    Functions of the block, the name of the last layers, and the features of heads. They
    are called within the heads of a target, whose parameters then hold theirs.
    """
    if biases.readout == "linear" or block.is_invariant:
        return (_read_linearly,)
    equivariant = functools.partial(_read_equivariantly, biases.channels)
    return (_read_linearly, equivariant) if biases.readout == "sum" else (equivariant,)


def _read_linearly(block: Block, last: str, heads: Heads) -> Array:
    """The last layer is linear: features are summed over neighbors, then it is applied.

    Its bias counts every neighbor's weight.
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
