"""Uncertainties and ensembles of metatrain's LLPR."""

import math
from typing import Any, NamedTuple

import numpy as np

from symjax.data.quantities import Target
from symjax.errors import ModelError
from symjax.models.pet.config import PETConfig, Uncertainty
from symjax.models.pet.uncertainty import uncertainty_name


class Read(NamedTuple):
    """What a file holds of uncertainties.

    Attributes:
      uncertainties: The targets whose uncertainty is known.
      parameters: Their parameters, by target.
      left_out: Targets of which the file has numbers without a meaning, as nothing
        was calibrated.
    """

    uncertainties: tuple[Uncertainty, ...]
    parameters: dict[str, dict[str, np.ndarray]]
    left_out: list[str]


def read_uncertainties(wrapper: Any, config: PETConfig, path: str) -> Read:
    """Reads what ``LLPRUncertaintyModel``, or its TorchScript, adds to its PET."""
    kinds = ("covariance_", "cholesky_", "multiplier_")
    buffers = {
        name: value.detach().cpu().numpy()
        for name, value in wrapper.named_buffers()
        if name.startswith(kinds)
    }
    children = dict(wrapper.named_children())
    layers = dict(children["llpr_ensemble_layers"].named_children())
    found, parameters, left_out = [], {}, []
    for target in config.targets:
        name = uncertainty_name(target.name)
        factor = buffers[f"cholesky_{name}"]
        if len(target.blocks) > 1 or _is_uncalibrated(factor, buffers, name):
            left_out.append(target.name)
            continue
        if not (np.isfinite(factor).all() and (np.diag(factor) > 0).all()):
            raise ModelError(
                "path",
                path,
                f"has no Cholesky factor of the covariance for {name}",
                "Calibrate the uncertainty again with this metatrain",
            )
        own = {"cholesky": factor, "multiplier": buffers[f"multiplier_{name}"]}
        if target.name in layers:
            weights = layers[target.name].weight.detach().cpu().numpy()
            own["ensemble"] = _members(target, weights, path)
        parameters[target.name] = {k: np.array(v) for k, v in own.items()}
        found.append(Uncertainty(target.name, len(own.get("ensemble", ()))))
    return Read(tuple(found), parameters, left_out)


def _is_uncalibrated(
    factor: np.ndarray, buffers: dict[str, np.ndarray], name: str
) -> bool:
    """Whether no data were seen: the covariance is 0, the factor its regulariser's.

    metatrain has both for targets that were not among those of the calibration.
    """
    diagonal = np.diag(np.diag(factor))
    return not buffers[f"covariance_{name}"].any() and np.array_equal(factor, diagonal)


def _members(target: Target, weights: np.ndarray, path: str) -> np.ndarray:
    """Weights of the members, ``(members, *block, features)``."""
    shape = target.blocks[0].shape
    members, rest = divmod(len(weights), math.prod(shape))
    if rest or not members:
        raise ModelError(
            "path",
            path,
            f"has an ensemble of {target.name} with {len(weights)} outputs, no "
            f"multiple of {math.prod(shape)}",
            "The file is damaged; get it again",
        )
    return weights.reshape(members, *shape, weights.shape[-1])
