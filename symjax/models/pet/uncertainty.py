r"""Uncertainty of a trained model by last-layer prediction rigidity (LLPR).

The heads end in a linear layer. With the features f that it reads, summed over the
atoms of a structure for per-structure targets, and the Cholesky factor L of their
regularised covariance over the training data, the standard deviation of the target is

    sigma = alpha |L^-1 f|

where alpha was calibrated on held-out data. An ensemble consists of several linear
layers in place of the last one, shifted so that the mean of the ensemble is the
prediction of the model.

Source: Bigi, Chong, Ceriotti, Grasselli, Mach. Learn.: Sci. Technol. 5, 045018 (2024);
names and order of the features as in metatrain's LLPR.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from symjax.models._paths import join_path
from symjax.models.pet.config import PETConfig, Uncertainty


def uncertainty_name(target: str) -> str:
    """Metatrain's name of the uncertainty of a target."""
    return _auxiliary(target, "uncertainty")


def ensemble_name(target: str) -> str:
    """Metatrain's name of the ensemble of a target."""
    return _auxiliary(target, "ensemble")


def _auxiliary(target: str, suffix: str) -> str:
    name = f"{target.replace('mtt::', '')}_{suffix}"
    return name if target == "energy" else f"mtt::aux::{name}"


def uncertain_outputs(config: PETConfig) -> dict[str, Uncertainty]:
    """Names of all uncertainties and ensembles, with what they belong to."""
    found = {}
    for own in config.uncertainties:
        found[uncertainty_name(own.target)] = own
        if own.members:
            found[ensemble_name(own.target)] = own
    return found


def uncertainty_shapes(config: PETConfig) -> dict[str, tuple[int, ...]]:
    """Shapes of the parameters of uncertainties, by path.

    Returns:
      For each target the Cholesky factor ``(features, features)``, the multiplier alpha
      ``(1,)``, and, if it has an ensemble, its weights ``(members, *block, features)``.
    """
    # Features of nodes, and summed features of edges, of each layer that is read.
    size = 2 * config.d_head * config.num_readout_layers
    shapes: dict[str, tuple[int, ...]] = {}
    for own in config.uncertainties:
        (block,) = config.target(own.target).blocks
        parts = {"cholesky": (size, size), "multiplier": (1,)}
        if own.members:
            parts["ensemble"] = (own.members, *block.shape, size)
        for part, shape in parts.items():
            shapes[join_path("uncertainty", own.target, part)] = shape
    return shapes


def evaluate_uncertainty(
    uncertainty: Uncertainty,
    parameters: Any,
    features: Float[Array, "samples features"],
    prediction: Float[Array, "samples *block"],
) -> dict[str, Array]:
    """Uncertainty and ensemble of a target.

    Args:
      uncertainty: Which target, and the size of its ensemble.
      parameters: Its parameters, see :func:`uncertainty_shapes`.
      features: Features that the last layers read, summed like the target.
      prediction: Prediction of the target, with a trailing axis of properties.

    Returns:
      By name of the output: the standard deviation, ``(samples,)``, the same for all
      components and properties of the target; and the ensemble, ``(samples,
      *components, members * properties)``, with the properties of a member adjacent.
    """
    whitened = jax.scipy.linalg.solve_triangular(
        jnp.asarray(parameters["cholesky"]), features.T, lower=True
    )
    length = jnp.sqrt(jnp.sum(whitened**2, axis=0))
    outputs = {
        uncertainty_name(uncertainty.target): parameters["multiplier"][0] * length
    }
    if uncertainty.members:
        weights = jnp.asarray(parameters["ensemble"])
        # Only deviations from the mean matter; the much larger mean would cost digits.
        weights = weights - jnp.mean(weights, axis=0)
        deviations = jnp.tensordot(features, weights, axes=(1, -1), precision="highest")
        members = prediction[..., None, :] + jnp.moveaxis(deviations, 1, -2)
        shape = (*prediction.shape[:-1], uncertainty.members * prediction.shape[-1])
        outputs[ensemble_name(uncertainty.target)] = members.reshape(shape)
    return outputs
