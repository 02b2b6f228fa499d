"""Biases that rotate the input: canonical frames and averages."""

import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from symjax.data.mesh import rotate_mesh
from symjax.data.quantities import Block, Target
from symjax.models.biases.average import Average, batch_size
from symjax.models.biases.frames import canonical_frames, weighted_frames
from symjax.models.pet.config import PETConfig
from symjax.models.pet.inputs import PETInputs
from symjax.models.pet.layers import layer_of, symmetrized_layers
from symjax.models.pet.modules import Shown
from symjax.so3.action import act_on_samples

# Predictions of atoms by target and block, and sown features by module.
Evaluated = tuple[dict[str, dict[str, Array]], Any]

# Name of the vmapped axis of group elements.
_AXIS = "group"


def move(inputs: PETInputs, elements: Float[Array, "structures 3 3"]) -> PETInputs:
    """Applies one element of O(3) to each structure."""
    own = elements[inputs.structure]
    vectors = jnp.einsum("anx,ayx->any", inputs.vectors, own, precision="highest")
    mesh = inputs.long_range
    return inputs.replace(
        vectors=vectors, long_range=None if mesh is None else rotate_mesh(mesh, own)
    )


def _move_back(
    config: PETConfig,
    raw: dict[str, dict[str, Array]],
    inputs: PETInputs,
    elements: Float[Array, "structures 3 3"],
) -> dict[str, dict[str, Array]]:
    own = jnp.swapaxes(elements, -1, -2)[inputs.structure]

    def back(target: Target, block: Block) -> Array:
        values = raw[target.name][block.key]
        return act_on_samples(block.with_channels, own, values)

    return config.by_block(back)


def apply_moved(
    config: PETConfig,
    network: Callable[[PETInputs], Evaluated],
    inputs: PETInputs,
    features: bool,
) -> Evaluated:
    """Evaluates a network under the biases that rotate its input.

    Returns:
      Predictions, rotated back and averaged; and features, in the canonical frame if
      there is one, otherwise in the given orientation.
    """
    biases, num_structures = config.biases, len(inputs.charge)
    if biases.canonical_frame:
        numbers = jnp.asarray(np.array(config.species), inputs.vectors.dtype)
        frames = canonical_frames(
            inputs.vectors,
            inputs.cutoff_factors,
            numbers[inputs.centers],
            inputs.structure,
            num_structures,
        )
        raw, tree = network(move(inputs, frames))
        return _move_back(config, raw, inputs, frames), tree
    if biases.symmetrized_layers:
        elements, _ = Average.parse(biases.symmetrized_group).fixed()
        every = jnp.asarray(elements, inputs.vectors.dtype)[:, None]
        every = jnp.broadcast_to(every, (len(every), num_structures, 3, 3))
        each = jax.vmap(lambda own: network(move(inputs, own)), axis_name=_AXIS)
        with nn.intercept_methods(_averaging_layers(config)):
            evaluated = each(every)
        # The identity comes first: the given orientation.
        return jax.tree.map(lambda leaf: leaf[0], evaluated)
    if biases.output_average:
        raw = _average(config, lambda moved: network(moved)[0], inputs)
        return raw, network(inputs)[1] if features else {}
    return network(inputs)


def _averaging_layers(config: PETConfig) -> Callable[..., Any]:
    """Interceptor of ``show`` that replaces features by their mean over the group."""
    chosen, share = symmetrized_layers(config), config.biases.symmetrized_share

    def show(
        shown: Callable[..., Any],
        given: Any,
        named: Any,
        context: nn.module.InterceptorContext,
    ) -> Any:
        module = context.module
        if context.method_name != Shown.show.__name__:
            return shown(*given, **named)
        name, value = given
        if layer_of(config, (*module.path, name)) in chosen:
            number = math.ceil(share * value.shape[-1])
            mean = jax.lax.pmean(value[..., :number], _AXIS)
            value = jnp.concatenate([mean, value[..., number:]], axis=-1)
        return shown(name, value)

    return show


def _average(
    config: PETConfig,
    network: Callable[[PETInputs], dict[str, dict[str, Array]]],
    inputs: PETInputs,
) -> dict[str, dict[str, Array]]:
    average = Average.parse(config.biases.output_average)
    num_structures, dtype = len(inputs.charge), inputs.vectors.dtype
    if average.kind == "frames":
        elements, weights = weighted_frames(
            inputs.vectors,
            inputs.distances,
            inputs.cutoff_factors,
            inputs.edge_mask,
            inputs.structure,
            num_structures,
            average.number,
        )
    else:
        fixed, shares = (jnp.asarray(part, dtype) for part in average.fixed())
        elements = jnp.broadcast_to(fixed[:, None], (len(fixed), num_structures, 3, 3))
        weights = jnp.broadcast_to(shares[:, None], (len(shares), num_structures))

    # Derivatives recompute each batch: memory does not grow with their number.
    @jax.checkpoint
    def term(pair: tuple[Array, Array]) -> dict[str, dict[str, Array]]:
        element, share = pair
        back = _move_back(config, network(move(inputs, element)), inputs, element)
        own = share[inputs.structure]
        return jax.tree.map(
            lambda leaf: leaf * own.reshape(-1, *(1,) * (leaf.ndim - 1)), back
        )

    at_once = batch_size(len(elements))
    terms = jax.lax.map(term, (elements, weights), batch_size=at_once)
    return jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), terms)
