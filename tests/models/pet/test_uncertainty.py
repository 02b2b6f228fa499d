"""Uncertainties and ensembles by their definition."""

import jax
import numpy as np

from symjax.data.quantities import Target
from symjax.models.pet import PETConfig, Uncertainty
from symjax.models.pet.uncertainty import (
    ensemble_name,
    evaluate_uncertainty,
    uncertain_outputs,
    uncertainty_name,
    uncertainty_shapes,
)


def test_names_of_the_reference():
    assert uncertainty_name("energy") == "energy_uncertainty"
    assert ensemble_name("mtt::gap/pbe") == "mtt::aux::gap/pbe_ensemble"
    assert uncertainty_name("energy/pbe") == "mtt::aux::energy/pbe_uncertainty"


def test_by_definition():
    own = Uncertainty("energy", members=3)
    config = PETConfig(
        (1, 8), (Target("energy", "eV"),), d_head=4, uncertainties=(own,)
    )
    rng = np.random.default_rng(0)
    parameters = {
        path.split("/")[-1]: rng.normal(size=shape)
        for path, shape in uncertainty_shapes(config).items()
    }
    factor = np.tril(parameters["cholesky"]) + 3 * np.eye(8)
    alpha = parameters["multiplier"] = np.array([1.7])
    parameters["cholesky"] = factor
    features, prediction = rng.normal(size=(5, 8)), rng.normal(size=(5, 1))
    found = jax.jit(evaluate_uncertainty, static_argnums=0)(
        own, parameters, features, prediction
    )
    assert set(uncertain_outputs(config)) == set(found)
    covariance = np.linalg.inv(factor @ factor.T)
    sigma = alpha * np.sqrt(np.einsum("sf,fg,sg->s", features, covariance, features))
    np.testing.assert_allclose(found["energy_uncertainty"], sigma, rtol=1e-10)
    # The members differ as their weights do, about the prediction of the model.
    members = found["energy_ensemble"]
    np.testing.assert_allclose(members.mean(axis=1), prediction[:, 0], atol=1e-12)
    weights = parameters["ensemble"][:, 0]
    apart = features @ (weights[1] - weights[0])
    np.testing.assert_allclose(members[:, 1] - members[:, 0], apart, rtol=1e-10)
