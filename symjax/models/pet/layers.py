"""Names of PET's layers: metatrain's module paths."""

import re
from collections.abc import Sequence

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


def layer_of(config: PETConfig, path: Sequence[str]) -> str:
    """Metatrain's module path of a sown value.

    Args:
      config: Hyperparameters and targets.
      path: Names of the modules that hold it, and its own.

    Returns:
      The name.

    Example:
      >>> from symjax.models.pet import PETConfig
      >>> from symjax.models.pet.layers import layer_of
      >>> path = ("gnn_layers_0", "trans", "layers_1", "=node")
      >>> layer_of(PETConfig(species=(1,)), path)
      'gnn_layers.0.trans.layers.1_node'
    """
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

    Args:
      config: Hyperparameters and targets.
      path: Keys of the parameter tree.

    Returns:
      The name; empty for what holds all heads of a target.

    Example:
      >>> from symjax.models.pet import PETConfig
      >>> from symjax.models.pet.layers import module_of
      >>> config = PETConfig(species=(1,))
      >>> module_of(config, ("gnn_layers_0", "trans", "layers_1", "mlp"))
      'gnn_layers.0.trans.layers.1.mlp'
      >>> module_of(config, ("targets_0", "node_last_layers_0_1", "kernel"))
      'node_last_layers.energy.0.1.kernel'
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


def layer_names(config: PETConfig) -> tuple[str, ...]:
    """Names of all layers whose features can be measured, in the order of the network.

    They are metatrain's module paths, so that results can be laid side by side;
    ``_node`` and ``_edge`` tell the outputs of modules that return both.

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
    names = ["node_embedders.0", "edge_embedder"]
    residual = config.featurizer_type == "residual"
    for index in range(config.num_gnn_layers):
        layer = f"gnn_layers.{index}"
        if residual and index:
            names.append(f"node_embedders.{index}")
        names.append(f"{layer}.edge_embedder")
        if index:
            names.append(f"{layer}.neighbor_embedder")
        names.append(f"{layer}.compress")
        for attention in range(config.num_attention_layers):
            names += [
                f"{layer}.trans.layers.{attention}_{kind}" for kind in ("node", "edge")
            ]
        if not residual:
            names.append(f"combination_mlps.{index}")
            names += [f"gnn_layers_post_mp_{kind}.{index}" for kind in ("node", "edge")]
    for index in range(config.num_readout_layers):
        names += [f"{kind}_backbone.{index}" for kind in ("node", "edge")]
    if config.long_range is not None:
        names.append("long_range_featurizer")
    for target in config.targets:
        for index in range(config.num_readout_layers):
            names += [
                f"{kind}_heads.{target.name}.{index}" for kind in ("node", "edge")
            ]
    return tuple(names)


def distinct_layers(config: PETConfig) -> tuple[str, ...]:
    """Layers whose features depend on the orientation, each set of numbers once.

    Left out are the embeddings of species, which are invariant by construction, and
    names that repeat another layer's features.

    Args:
      config: Hyperparameters and targets.

    Returns:
      Names, in the order of the network.

    Example:
      >>> from symjax.models.pet import PETConfig, distinct_layers
      >>> len(distinct_layers(PETConfig(species=(1,), num_gnn_layers=1)))
      10
    """
    repeats: tuple[str, ...]
    repeats = ("node_backbone", "edge_backbone", "gnn_layers_post_mp_node")
    if config.system_conditioning and config.featurizer_type == "feedforward":
        # The conditioning is added after the last attention layer.
        repeats = ("node_backbone", "edge_backbone")
    elif config.system_conditioning:
        repeats = ("edge_backbone",)
    constant = ("node_embedders", "edge_embedder")
    return tuple(
        name
        for name in layer_names(config)
        if not name.startswith((*constant, *repeats))
        and not name.endswith("neighbor_embedder")
    )


def is_edge_layer(name: str) -> bool:
    """Whether a layer has features of edges; otherwise they are of nodes."""
    return name.endswith(
        ("_edge", "compress", "neighbor_embedder", "edge_embedder")
    ) or (name.startswith(("edge_", "combination_mlps", "gnn_layers_post_mp_edge")))


def symmetrized_layers(config: PETConfig) -> tuple[str, ...]:
    """Layers whose features are averaged over a finite group.

    Args:
      config: Hyperparameters and targets.

    Returns:
      Their names.

    Raises:
      ModelError: A pattern matches no layer, or one that cannot be averaged because
        it is never computed by itself, or does not depend on the orientation.

    Example:
      >>> from symjax.models.biases import Biases
      >>> from symjax.models.pet import PETConfig
      >>> from symjax.models.pet.layers import symmetrized_layers
      >>> biases = Biases(symmetrized_layers=("node_heads.*",))
      >>> symmetrized_layers(PETConfig(species=(1,), biases=biases))
      ('node_heads.energy.0',)
    """
    if not config.biases.symmetrized_layers:
        return ()
    chosen = match_layers(config.biases.symmetrized_layers, layer_names(config))
    for name in chosen:
        if name.endswith("embedder") or name.startswith(
            ("node_embedders", "node_backbone", "edge_backbone")
        ):
            raise ModelError(
                "biases.symmetrized_layers",
                name,
                "cannot be averaged",
                "Name a layer of attention, a message, compress or a head",
            )
    return chosen


def check_layers(config: PETConfig, layers: tuple[str, ...]) -> None:
    """Raises unless all layers exist.

    Args:
      config: Hyperparameters and targets.
      layers: Names of layers.

    Raises:
      ModelError: One does not exist.
    """
    known = layer_names(config)
    for name in layers:
        if name not in known:
            raise ModelError(
                "layers",
                name,
                "the model has no such layer",
                f"Use names from {', '.join(known)}",
            )
