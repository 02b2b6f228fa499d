"""Biases for a model that is trained already."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import flax.traverse_util
import numpy as np
from jaxtyping import PRNGKeyArray

from symjax.errors import ModelError
from symjax.models.biases.config import Biases
from symjax.models.pet.model import PETModel, init_pet, without_uncertainties


def inject_biases(model: PETModel, biases: Biases, key: PRNGKeyArray) -> PETModel:
    """A trained model with biases, to train on.

    Tokens and a readout of kind ``"sum"`` start with weights of 0, so that predictions
    stay as they are; whatever moves the input, and a readout that replaces the model's
    own, changes them at once. Uncertainties, which were calibrated for the model as it
    was, are left out.

    Args:
      model: The model; it may have biases, which must be among the new ones.
      biases: All biases that the result has.
      key: Random key of the new parameters.

    Returns:
      The model; its card says what was added.

    Raises:
      ModelError: The model has parameters of a bias that the result lacks.

    Example:
      >>> import jax
      >>> from symjax.models.biases import Biases
      >>> from symjax.models.pet import PETConfig, init_pet
      >>> from symjax.models.pet.inject import inject_biases
      >>> config = PETConfig(species=(1, 8), d_pet=8, d_node=8, d_head=8,
      ...                    d_feedforward=8, num_heads=2)
      >>> plain, biases = init_pet(config, jax.random.key(0)), Biases(edge_harmonics=3)
      >>> model = inject_biases(plain, biases, jax.random.key(0))
      >>> model.config.biases.edge_harmonics, model.card["biases"]
      (3, {'edge_harmonics': 3})
    """
    model = without_uncertainties(model)
    config = dataclasses.replace(model.config, biases=biases)
    fresh = flax.traverse_util.flatten_dict(init_pet(config, key).parameters["network"])
    flat: dict[Sequence[str], Any] = {}
    own = flax.traverse_util.flatten_dict(model.parameters["network"])
    for path, leaf in fresh.items():
        if path in own:
            flat[path] = own[path]
        else:
            flat[path] = np.zeros_like(leaf) if _is_entry(path, biases) else leaf
    # A readout that replaces PET's leaves PET's last layers without a use.
    lost = [path for path in own if path not in fresh and not _is_last_layer(path)]
    if lost:
        raise ModelError(
            "biases",
            biases,
            f"lacks the bias of {len(lost)} parameters of the model, such as "
            f"{'/'.join(lost[0])}",
            "Name all biases of the model, and the new ones",
        )
    return dataclasses.replace(
        model,
        config=config,
        parameters={
            **model.parameters,
            "network": flax.traverse_util.unflatten_dict(flat),
        },
        card={**model.card, "biases": biases.to_json()},
    )


def _is_last_layer(path: Sequence[str]) -> bool:
    return any(part.startswith(("node_last", "edge_last")) for part in path)


def _is_entry(path: Sequence[str], biases: Biases) -> bool:
    """Whether what a new parameter multiplies is added to the trained network."""
    if any(part.startswith("equivariant_last_layers") for part in path):
        # Were the factors 0 too, no gradient would reach either.
        return biases.readout == "sum" and "factors" not in path[-2]
    return path[-2] in ("angular", "pseudo_embedding")
