"""Adds symmetry biases to a trained model."""

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
    """Adds biases to a trained model, for further training.

    Additional token features and a readout of kind ``"sum"`` start with weights of 0:
    they leave predictions unchanged until they are trained. Averages, canonical frames
    and an ``"equivariant"`` readout change predictions immediately. Uncertainties are
    removed, since they were calibrated for the original model.

    Args:
      model: The model. Biases that it has already must be among ``biases``, with the
        same sizes.
      biases: All biases of the result.
      key: Random key of the new parameters.

    Returns:
      The model, with the biases in its configuration and card.

    Raises:
      ModelError: The model has parameters of a bias that ``biases`` lacks, or of
        another shape than they need.

    Example:
      >>> import jax
      >>> from symjax.models.biases import Biases
      >>> from symjax.models.pet import PETConfig, init_pet
      >>> from symjax.models.pet.inject import inject_biases
      >>> config = PETConfig(species=(1, 8), d_pet=8, d_node=8, d_head=8,
      ...                    d_feedforward=8, num_heads=2, num_gnn_layers=1)
      >>> plain, biases = init_pet(config, jax.random.key(0)), Biases(edge_harmonics=3)
      >>> model = inject_biases(plain, biases, jax.random.key(0))
      >>> model.config.biases.edge_harmonics, model.card["biases"]
      (3, {'edge_harmonics': 3})
    """
    model = without_uncertainties(model)
    config = dataclasses.replace(model.config, biases=biases)
    fresh = flax.traverse_util.flatten_dict(init_pet(config, key).parameters["network"])
    flat: dict[Sequence[str], Any] = {}
    trained = flax.traverse_util.flatten_dict(model.parameters["network"])
    for path, leaf in fresh.items():
        if path in trained:
            flat[path] = trained[path]
        else:
            flat[path] = np.zeros_like(leaf) if _is_entry(path, biases) else leaf
    shapes = {path: np.shape(leaf) for path, leaf in fresh.items()}
    # An equivariant readout replaces PET's last layers.
    lost = [
        path
        for path, leaf in trained.items()
        if shapes.get(path) != np.shape(leaf)
        and (path in fresh or not _is_last_layer(path))
    ]
    if lost:
        raise ModelError(
            "biases",
            biases,
            f"lacks {len(lost)} parameters of the model, or has them in other shapes, "
            f"such as {'/'.join(lost[0])}",
            "Include the biases of the model, with their sizes",
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
    """Whether a new parameter must be 0 at first to leave predictions unchanged."""
    if any(part.startswith("equivariant_last_layers") for part in path):
        # If the factors were 0 too, the gradients of both would vanish.
        return biases.readout == "sum" and "factors" not in path[-2]
    return path[-2] in ("angular", "pseudo_embedding")
