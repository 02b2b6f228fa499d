"""Layers of a PET whose features can be measured, named by metatrain's paths."""

import functools
import re
from collections.abc import Sequence
from typing import NamedTuple

from symjax.errors import ModelError
from symjax.models._layers import match_layers
from symjax.models.pet.config import PETConfig

_KINDS = ("node", "edge")


def layer_of(config: PETConfig, path: Sequence[str]) -> str:
    """Metatrain's module path of a sown value, from its path in the Flax modules."""
    *modules, last = (part.removeprefix("=") for part in path)
    if last in _KINDS:
        return f"{module_of(config, modules)}_{last}"
    return module_of(config, modules if last == "out" else [*modules, last])


def module_of(config: PETConfig, path: Sequence[str]) -> str:
    """Metatrain's module path of a Flax module, from its path.

    The heads of a target have its name in their path; the module that contains all
    heads of a target has no counterpart in metatrain, and an empty path.
    """
    words: list[str] = []
    target = ""
    for part in path:
        match = re.fullmatch(r"(.*?)((?:_\d+)+)", part)
        if match is None:
            words.append(part)
        elif match[1] == "targets":
            target = config.targets[int(match[2][1:])].name
        else:
            inner = [target] if target and not words else []
            words += [match[1], *inner, *match[2][1:].split("_")]
    return ".".join(words)


class Layer(NamedTuple):
    """A layer whose features can be measured.

    Attributes:
      name: Metatrain's module path; for modules that return both node and edge
        features, followed by ``_node`` or ``_edge``.
      kind: ``"node"`` or ``"edge"``.
      target: Target whose head it is; empty for layers that all targets share.
      varies: Whether its features depend on the orientation, unlike embeddings of
        species.
      repeats: Whether its features are identical to those of another layer.
      beside: Whether it is off the main path, as an embedding of the input or a side
        branch: information that it lacks is not lost to later layers.
      averaged: Whether it can be averaged over a group, which needs its features to be
        computed explicitly and to be used by later layers.
    """

    name: str
    kind: str
    target: str = ""
    varies: bool = True
    repeats: bool = False
    beside: bool = False
    averaged: bool = True


@functools.lru_cache(maxsize=64)
def describe_layers(config: PETConfig) -> tuple[Layer, ...]:
    """All layers whose features can be measured, in network order."""
    residual = config.featurizer_type == "residual"
    conditioned = config.system_conditioning

    def embedding(name: str, kind: str) -> Layer:
        return Layer(name, kind, varies=False, beside=True, averaged=False)

    found = [
        embedding("node_embedders.0", "node"),
        embedding("edge_embedder", "edge"),
    ]
    for index in range(config.num_gnn_layers):
        layer = f"gnn_layers.{index}"
        if residual and index:
            found.append(embedding(f"node_embedders.{index}", "node"))
        # Fused with the next layer: later layers do not read its features.
        found.append(
            Layer(f"{layer}.edge_embedder", "edge", beside=True, averaged=False)
        )
        if index:
            found.append(embedding(f"{layer}.neighbor_embedder", "edge"))
        found.append(Layer(f"{layer}.compress", "edge"))
        for attention in range(config.num_attention_layers):
            for kind in _KINDS:
                found.append(Layer(f"{layer}.trans.layers.{attention}_{kind}", kind))
        if not residual:
            found.append(Layer(f"combination_mlps.{index}", "edge", beside=True))
            for kind in _KINDS:
                # Equal to the last attention layer unless the conditioning is added.
                same = kind == "node" and not conditioned
                name = f"gnn_layers_post_mp_{kind}.{index}"
                found.append(Layer(name, kind, repeats=same))
    for index in range(config.num_readout_layers):
        for kind in _KINDS:
            same = kind == "edge" or not (residual and conditioned)
            name = f"{kind}_backbone.{index}"
            found.append(Layer(name, kind, repeats=same, averaged=False))
    if config.long_range is not None:
        found.append(Layer("long_range_featurizer", "node"))
    for target in config.targets:
        for index in range(config.num_readout_layers):
            for kind in _KINDS:
                name = f"{kind}_heads.{target.name}.{index}"
                found.append(Layer(name, kind, target.name))
    return tuple(found)


def layer_names(config: PETConfig) -> tuple[str, ...]:
    """Names of all layers whose features can be measured, in network order.

    They are the module paths of metatrain, so that results can be compared.

    Args:
      config: Hyperparameters and targets.

    Returns:
      The names.

    Example:
      >>> from symjax.models.pet import PETConfig, layer_names
      >>> names = layer_names(PETConfig(species=(1,), num_gnn_layers=1))
      >>> names[4:6]
      ('gnn_layers.0.trans.layers.0_node', 'gnn_layers.0.trans.layers.0_edge')
    """
    return tuple(layer.name for layer in describe_layers(config))


def distinct_layers(config: PETConfig) -> tuple[str, ...]:
    """Names of layers with orientation-dependent features, without repeats."""
    layers = describe_layers(config)
    return tuple(layer.name for layer in layers if layer.varies and not layer.repeats)


def stage_names(config: PETConfig) -> tuple[str, ...]:
    """Names of the outputs of GNN layers: ``node_0``, ``edge_0``, ``node_1``, ..."""
    numbers = range(config.num_gnn_layers)
    return tuple(f"{kind}_{n}" for n in numbers for kind in _KINDS)


@functools.lru_cache(maxsize=64)
def symmetrized_layers(config: PETConfig) -> tuple[str, ...]:
    """Names of the layers whose features are averaged over a finite group.

    Raises:
      ModelError: A pattern matches no layer, or a layer that cannot be averaged because
        later layers do not read its features, or these do not depend on the
        orientation.
    """
    if not config.biases.symmetrized_layers:
        return ()
    chosen = match_layers(config.biases.symmetrized_layers, layer_names(config))
    for layer in describe_layers(config):
        if layer.name in chosen and not layer.averaged:
            raise ModelError(
                "biases.symmetrized_layers",
                layer.name,
                "cannot be averaged",
                "Name an attention layer, a message, a compress layer or a head",
            )
    return chosen
