"""Evaluates a PET on the input of the network, without derivatives."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from symjax.data.graph import Graph
from symjax.data.quantities import Block, Target
from symjax.models.pet.config import PETConfig
from symjax.models.pet.energies import takes_repulsion
from symjax.models.pet.evaluation import Evaluation
from symjax.models.pet.inputs import PETInputs
from symjax.models.pet.layers import layer_of, stage_names
from symjax.models.pet.modules import FEATURES, READ, SHIFTS, STAGES
from symjax.models.pet.moved import Evaluated, apply_moved
from symjax.models.pet.network import PET
from symjax.models.pet.uncertainty import evaluate_uncertainty, uncertain_outputs
from symjax.models.precision import full_precision


def _finish(
    target: Target,
    block: Block,
    parameters: Any,
    raw: Float[Array, "atoms *block"],
    graph: Graph,
    inputs: PETInputs,
    baseline: bool,
    repels: bool,
) -> Float[Array, "samples *block"]:
    """Scales atomic predictions, adds baseline and repulsion, sums over atoms."""
    centers = inputs.centers
    components = len(block.shape) - 1
    scale = jnp.asarray(parameters["scale"][target.name][block.key])[centers]
    values = raw * scale.reshape(-1, *(1,) * components, block.properties)
    if baseline and block.is_invariant:
        offset = jnp.asarray(parameters["baseline"][target.name][block.key])[centers]
        values = values + offset.reshape(values.shape)
    if repels:
        values = values + inputs.repulsion.reshape(values.shape)
    structure = jnp.asarray(graph.structure)
    if target.name == "non_conservative_stress":
        # metatrain's convention: symmetrised, per volume, and 0 without a cell.
        volume = jnp.abs(jnp.linalg.det(graph.cells))[structure]
        inverse = jnp.where(volume > 0, 1 / jnp.where(volume > 0, volume, 1), 0)
        values = values * inverse.reshape(-1, *(1,) * len(block.shape))
        values = 0.5 * (values + jnp.swapaxes(values, 1, 2))
    values = _of_samples(target, values, graph)
    return values[..., 0] if block.properties == 1 else values


def _of_samples(
    target: Target, values: Float[Array, "atoms ..."], graph: Graph
) -> Float[Array, "samples ..."]:
    """Masked values of atoms, summed over atoms for per-structure targets."""
    mask = jnp.asarray(graph.atom_mask).reshape(-1, *(1,) * (values.ndim - 1))
    values = jnp.where(mask, values, 0)
    if target.per_atom:
        return values
    structure = jnp.asarray(graph.structure)
    return jax.ops.segment_sum(values, structure, num_segments=len(graph.cells))


def evaluate_inputs(
    evaluation: Evaluation,
    parameters: Any,
    graph: Graph,
    inputs: PETInputs,
    shifts: Mapping[str, Array] | None = None,
) -> dict[str, Array]:
    """:func:`evaluate` without derivatives, of inputs that may have rotated vectors.

    Of the graph, masks, structure indices and cells are read.
    """
    config, targets, layers = evaluation.config, evaluation.chosen, evaluation.layers
    dtype = evaluation.network_dtype
    uncertain = {
        own for name, own in uncertain_outputs(config).items() if name in targets
    }
    collections = [FEATURES] * bool(layers) + [READ] * bool(uncertain)
    collections += [] if shifts is None else [STAGES]
    network = parameters["network"]
    if dtype is not None:
        network = jax.tree.map(lambda leaf: leaf.astype(dtype), network)

    def apply(cast: PETInputs) -> Evaluated:
        if dtype is not None:
            cast = cast.replace(
                **{
                    name: getattr(cast, name).astype(dtype)
                    for name in ("vectors", "distances", "cutoff_factors")
                }
            )
        with full_precision():
            raw, state = PET(config).apply(
                {"params": network, SHIFTS: shifts or {}}, cast, mutable=collections
            )
        read = state.get(READ, {})
        if dtype is not None:
            wide = inputs.vectors.dtype
            raw, read = jax.tree.map(lambda leaf: leaf.astype(wide), (raw, read))
        return raw, {**state, READ: read}

    raw, state = apply_moved(config, apply, inputs, bool(layers))
    outputs: dict[str, Array] = {}
    for number, target in enumerate(config.targets):
        own = next((own for own in uncertain if own.target == target.name), None)
        if target.name not in targets and own is None:
            continue
        for name, block in target.outputs:
            outputs[name] = _finish(
                target,
                block,
                parameters,
                raw[target.name][block.key],
                graph,
                inputs,
                evaluation.baseline,
                repels=config.zbl and takes_repulsion(target),
            )
        if own is not None:
            (read,) = state[READ][f"targets_{number}"]["features"]
            prediction = outputs[target.name].reshape(-1, *target.blocks[0].shape)
            if target.name not in targets:
                del outputs[target.name]
            extra = evaluate_uncertainty(
                own,
                parameters["uncertainty"][target.name],
                _of_samples(target, read, graph),
                prediction,
            )
            outputs |= {n: extra[n] for n in extra if n in targets}
    features = _named_features(config, state[FEATURES]) if layers else {}
    outputs |= {name: features[name] for name in layers}
    if shifts is not None:
        outputs |= {name: state[STAGES][name][0] for name in stage_names(config)}
    return outputs


def _named_features(config: PETConfig, tree: Any) -> dict[str, Array]:
    """Sown features by metatrain's module path."""
    # Sown entries are tuples of length 1; the last part of the path is the index 0.
    return {
        layer_of(config, [str(entry.key) for entry in path[:-1]]): value
        for path, value in jax.tree_util.tree_flatten_with_path(tree)[0]
    }
