"""Selects the parameters of a network to train, by name."""

from collections.abc import Mapping, Sequence
from typing import Any

import flax.traverse_util

from symjax.errors import ModelError
from symjax.models._layers import match_layers
from symjax.models.pet.config import PETConfig
from symjax.models.pet.layers import layer_names, module_of


def choose_parameters(
    config: PETConfig, network: Mapping[str, Any], patterns: Sequence[str] | None
) -> dict[str, Any]:
    """Selects the parameters of modules or layers.

    Args:
      config: Hyperparameters and targets.
      network: Parameters of the network, nested.
      patterns: Names or regular expressions. Each must match the full name of a module,
        or of a layer in one; all parameters of the module are selected. None for all.

    Returns:
      The selected parameters, nested alike.

    Raises:
      ModelError: A pattern matches no module with parameters.

    Example:
      >>> from symjax.models import load_model
      >>> from symjax.training.partial import choose_parameters
      >>> model = load_model("pet-ethanol")
      >>> network = model.parameters["network"]
      >>> sorted(choose_parameters(model.config, network, ["gnn_layers.1"]))
      ['gnn_layers_1']
      >>> heads = choose_parameters(model.config, network, ["(node|edge)_heads.*"])
      >>> sorted(heads["targets_0"])
      ['edge_heads_0', 'node_heads_0']
    """
    if patterns is None:
        return dict(network)
    leaves = flax.traverse_util.flatten_dict(network)
    layers = set(layer_names(config))
    # For each parameter the modules that contain it, and their layers.
    holders: dict[tuple[str, ...], list[str]] = {}
    for path in leaves:
        names = [module_of(config, path[:n]) for n in range(1, len(path) + 1)]
        parts = [f"{name}_{kind}" for name in names for kind in ("node", "edge")]
        holders[path] = [*filter(None, names), *(p for p in parts if p in layers)]
    known = list(dict.fromkeys(name for names in holders.values() for name in names))
    try:
        chosen = set(match_layers(list(patterns), known))
    except ModelError as error:
        # The outer modules are few enough to be listed.
        outer = [n for n in known if n.count(".") <= 2 and "kernel" not in n]
        remedy = f"Use patterns of these names: {', '.join(outer)}"
        problem = error.problem.replace("no layer", "no module with parameters")
        raise ModelError("model.trainable", error.value, problem, remedy) from error
    selected: dict[str, Any] = flax.traverse_util.unflatten_dict(
        {path: leaf for path, leaf in leaves.items() if chosen & {*holders[path]}}
    )
    return selected


def remaining_network(
    network: Mapping[str, Any], fitted: Mapping[str, Any]
) -> dict[str, Any]:
    """The parameters of a network that are not in ``fitted``, nested alike.

    Example:
      >>> from symjax.training.partial import remaining_network
      >>> remaining_network({"a": {"b": 1, "c": 2}}, {"a": {"c": 3}})
      {'a': {'b': 1}}
    """
    leaves = flax.traverse_util.flatten_dict(network)
    for path in flax.traverse_util.flatten_dict(fitted):
        del leaves[path]
    remaining: dict[str, Any] = flax.traverse_util.unflatten_dict(leaves)
    return remaining


def whole_network(
    network: Mapping[str, Any], fitted: Mapping[str, Any]
) -> dict[str, Any]:
    """A network in which the parameters of ``fitted``, nested alike, replace its own.

    Example:
      >>> from symjax.training.partial import whole_network
      >>> whole_network({"a": {"b": 1, "c": 2}}, {"a": {"c": 3}})
      {'a': {'b': 1, 'c': 3}}
    """
    leaves = flax.traverse_util.flatten_dict(network)
    leaves |= flax.traverse_util.flatten_dict(fitted)
    whole: dict[str, Any] = flax.traverse_util.unflatten_dict(leaves)
    return whole
