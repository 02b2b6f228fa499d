r"""How sure a trained model is of a target: last-layer prediction rigidities.

The heads end in a linear layer. With f the features that it reads, summed over the
atoms of a structure, and L the Cholesky factor of their covariance over the training
data, the standard deviation of the target is

    sigma = alpha |L^-1 f|

where alpha was calibrated on data that were held out. An ensemble is several such
linear layers, shifted so that their mean is the model's prediction.

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
    """Name of the output that is the uncertainty of a target, metatrain's."""
    return _auxiliary(target, "uncertainty")


def ensemble_name(target: str) -> str:
    """Name of the output that is the ensemble of a target, metatrain's."""
    return _auxiliary(target, "ensemble")


def _auxiliary(target: str, suffix: str) -> str:
    name = f"{target.replace('mtt::', '')}_{suffix}"
    return name if target == "energy" else f"mtt::aux::{name}"


def uncertain_outputs(config: PETConfig) -> dict[str, Uncertainty]:
    """What each output that is an uncertainty or an ensemble belongs to."""
    found = {}
    for own in config.uncertainties:
        found[uncertainty_name(own.target)] = own
        if own.members:
            found[ensemble_name(own.target)] = own
    return found


def uncertainty_shapes(config: PETConfig) -> dict[str, tuple[int, ...]]:
    """Shapes of the parameters of uncertainties, by path.

    Returns:
      For each target the Cholesky factor, ``(features, features)``, the multiplier
      alpha, ``(1,)``, and weights of the ensemble, ``(members, *block, features)``.
    """
    # The features of nodes and the summed ones of edges, of each layer that is read.
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
    own: Uncertainty,
    parameters: Any,
    features: Float[Array, "samples features"],
    prediction: Float[Array, "samples *block"],
) -> dict[str, Array]:
    """Uncertainty and ensemble of a target.

    Args:
      own: Which target, and the size of its ensemble.
      parameters: Its parameters, see :func:`uncertainty_shapes`.
      features: What the last layers read, summed as the target is.
      prediction: The target, with a trailing axis of properties.

    Returns:
      By name of the output: the uncertainty, ``(samples,)``, the same for all
      components and properties of the target; and the ensemble, ``(samples,
      *components, members * properties)``, the properties of a member side by side.
    """
    whitened = jax.scipy.linalg.solve_triangular(
        jnp.asarray(parameters["cholesky"]), features.T, lower=True
    )
    length = jnp.sqrt(jnp.sum(whitened**2, axis=0))
    found = {uncertainty_name(own.target): parameters["multiplier"][0] * length}
    if own.members:
        weights = jnp.asarray(parameters["ensemble"])
        # Only deviations from the mean count: what the members share, large beside
        # them, would cost digits.
        weights = weights - jnp.mean(weights, axis=0)
        deviations = jnp.tensordot(features, weights, axes=(1, -1), precision="highest")
        members = prediction[..., None, :] + jnp.moveaxis(deviations, 1, -2)
        shape = (*prediction.shape[:-1], own.members * prediction.shape[-1])
        found[ensemble_name(own.target)] = members.reshape(shape)
    return found
