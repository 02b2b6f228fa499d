"""What PET's layers are, and their names: metatrain's module paths."""

import functools
import re
from collections.abc import Sequence
from typing import NamedTuple

from symjax.errors import ModelError
from symjax.models._layers import match_layers
from symjax.models.pet.config import PETConfig

_LISTS = (
    "gnn_layers",
    "layers",
    "node_embedders",
    "combination_mlps",
    "gnn_layers_post_mp_node",
    "gnn_layers_post_mp_edge",
    "node_backbone",
    "edge_backbone",
    "node_heads",
    "edge_heads",
)


_KINDS = ("node", "edge")


def layer_of(config: PETConfig, path: Sequence[str]) -> str:
    """Metatrain's module path of a sown value, from the path of modules to it."""
    words: list[str] = []
    name = ""
    for part in (entry.removeprefix("=") for entry in path):
        match = re.fullmatch(r"(.*)_(\d+)", part)
        if match and match[1] == "targets":
            name = config.targets[int(match[2])].name
        elif match and match[1] in _LISTS:
            inner = [name] if match[1] in ("node_heads", "edge_heads") else []
            words += [match[1], *inner, match[2]]
        elif part in ("node", "edge"):
            words[-1] += f"_{part}"
        elif part != "out":
            words.append(part)
    return ".".join(words)


def module_of(config: PETConfig, path: Sequence[str]) -> str:
    """Metatrain's module path of parameters, with the target's name in its heads.

    Empty for what holds all heads of a target.
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
            own = [target] if target and len(words) == 0 else []
            words += [match[1], *own, *match[2][1:].split("_")]
    return ".".join(words)


class Layer(NamedTuple):
    """What a layer is.

    Attributes:
      name: Metatrain's module path; ``_node`` and ``_edge`` tell the outputs of modules
        that return both.
      kind: ``"node"`` or ``"edge"``, what it has features of.
      target: The target whose head it is; empty for layers that all targets share.
      varies: Whether its features depend on the orientation. Embeddings of species do
        not.
      repeats: Whether it has the numbers of another layer.
      beside: Whether it is an input that is embedded anew, or a branch beside the main
        path: what is absent there is not lost.
      averaged: Whether it can be averaged over a group: it is computed by itself.
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
    """All layers whose features can be measured, in the order of the network."""
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
        # Fused with what follows, it is never computed by itself.
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
                # The conditioning is added after the last attention layer.
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
    """Names of all layers whose features can be measured, in the order of the network.

    They are metatrain's module paths, so that results can be laid side by side.

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
    """Layers whose features depend on the orientation, each set of numbers once."""
    layers = describe_layers(config)
    return tuple(one.name for one in layers if one.varies and not one.repeats)


def stage_names(config: PETConfig) -> tuple[str, ...]:
    """What every GNN layer hands on: ``node_0``, ``edge_0``, ``node_1``, ..."""
    numbers = range(config.num_gnn_layers)
    return tuple(f"{kind}_{n}" for n in numbers for kind in _KINDS)


@functools.lru_cache(maxsize=64)
def symmetrized_layers(config: PETConfig) -> tuple[str, ...]:
    """Layers whose features are averaged over a finite group.

    Raises:
      ModelError: A pattern matches no layer, or one that cannot be averaged because
        it is never computed by itself, or does not depend on the orientation.
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
                "Name a layer of attention, a message, compress or a head",
            )
    return chosen


def check_layers(config: PETConfig, layers: tuple[str, ...]) -> None:
    """Raises a ModelError unless all layers exist."""
    known = layer_names(config)
    for name in layers:
        if name not in known:
            raise ModelError(
                "layers",
                name,
                "the model has no such layer",
                f"Use names from {', '.join(known)}",
            )
