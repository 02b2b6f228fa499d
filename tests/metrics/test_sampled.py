"""Estimates from random elements: unbiased, and their errors are what they say."""

import jax.numpy as jnp
import numpy as np
import pytest

from symjax.errors import (
    ArgumentError,
)
from symjax.metrics import (
    Grid,
    HaarSamples,
    measure,
)
from symjax.so3 import (
    FEATURE,
    SCALAR,
    VECTOR,
)

X = np.random.default_rng(0).normal(size=(4, 3))


class TestSampled:
    def test_coverage_of_standard_errors(self):
        """Nominal 95 % intervals must contain the exact value in about 95 % of runs.

        With 60 runs, fewer than 49 hits has probability below 2e-4 at 95 %.
        """
        v = jnp.array([1.0, -2.0, 0.5])

        def function(x):
            return jnp.stack([x @ v, (x @ v) ** 2])

        x = np.array([0.3, 0.4, 1.0])
        exact = measure(
            function, x, representations=FEATURE, max_degree=2, over=Grid(9)
        )["output"]
        hits = {"variance": 0, "1+": 0, "2+": 0}
        for seed in range(60):
            leaf = measure(
                function,
                x,
                representations=FEATURE,
                max_degree=2,
                over=HaarSamples(48, seed=seed),
            )["output"]
            error = leaf.standard_errors
            hits["variance"] += (
                abs(leaf.variance.sum() - exact.variance.sum())
                < 2.01 * error.variance.sum()
            )
            for degree in (1, 2):
                deviation = leaf.power[0, degree, 0] - exact.power[0, degree, 0]
                hits[f"{degree}+"] += abs(deviation) < 2.01 * error.power[0, degree, 0]
        assert min(hits.values()) >= 49, hits

    def test_estimates_are_unbiased(self):
        """Absent sectors average to zero; a squared sample mean would not."""
        values = []
        for seed in range(80):
            leaf = measure(
                lambda x: x,
                X[0],
                representations=FEATURE,
                max_degree=3,
                over=HaarSamples(16, seed=seed),
            )["output"]
            # an odd function: sectors with sigma (-1)^l = +1 vanish identically
            power = leaf.power[0]
            values.append([power[2, 1], power[3, 0], power[0, 1]])
        values = np.array(values)
        error = values.std(0, ddof=1) / np.sqrt(len(values))
        assert (np.abs(values.mean(0)) < 4 * error).all()
        # the biased estimate would be (2l+1)^2 ||u||^2 / n, far outside
        assert (4 * error < 9 * (X[0] @ X[0]) / 16).all()

    def test_powers_are_as_accurate_as_a_model_is_equivariant(self):
        """1 % of a vector in other sectors: B to 1e-3 after 32 pairs, where sums of
        the whole response would scatter by 0.2."""

        def nearly(x):
            return x.sum(0) + 0.01 * jnp.stack([x[0, 0] ** 2, x[1, 1], 0.5])

        exact = measure(nearly, X, representations=VECTOR, over=Grid(9), max_degree=2)
        for seed in range(5):
            over = HaarSamples(32, seed=seed)
            leaf = measure(nearly, X, representations=VECTOR, over=over, max_degree=2)
            leaf, certificate = leaf["output"], leaf["output"].certificate
            wrong = np.abs(leaf.content - exact["output"].content).max()
            assert wrong < 1e-3
            assert wrong < 3 * certificate.content_uncertainty / 2
            assert certificate.content_uncertainty < 2e-3
            assert certificate.certified
            error = exact["output"].equivariance_error
            assert leaf.equivariance_error == pytest.approx(
                error, rel=2 * certificate.error_uncertainty
            )
            assert 0.02 < certificate.error_uncertainty < 0.25
            assert certificate.excluded == pytest.approx(1 - 0.05 ** (1 / 32))

    def test_certificates_cover_what_they_claim(self):
        """Two standard errors of B and of A hold in 95 % of runs, nominally.

        With 30 runs, fewer than 23 hits has probability below 2e-4 at 95 %.
        """
        v = jnp.array([1.0, -2.0, 0.5])

        def function(x):
            return 2.0 + jnp.sin(x @ v)

        x = np.array([0.3, 0.4, 1.0])
        how = {"representations": SCALAR, "max_degree": 2}
        exact = measure(function, x, over=Grid(15), **how)["output"]
        hits = np.zeros(2, int)
        for seed in range(30):
            over = HaarSamples(32, seed=seed)
            leaf = measure(function, x, over=over, **how)["output"]
            known = leaf.certificate
            wrong = np.abs(leaf.content - exact.content).max()
            ratio = leaf.equivariance_error / exact.equivariance_error
            hits += [
                wrong < known.content_uncertainty,
                abs(ratio - 1) < known.error_uncertainty,
            ]
        assert hits.min() >= 23, hits

    def test_too_few_elements_are_not_resolved(self):
        """A response of a high degree: each B is known badly, and that is said."""

        def wild(x):
            return jnp.cos(9 * x[0, 0]) * jnp.sin(7 * x[1, 1])

        how = {"representations": SCALAR, "max_degree": 4}
        result = measure(wild, X, over=HaarSamples(16), **how)
        leaf = result["output"]
        assert not result.resolved
        assert "each B is only known to" in leaf.convergence.reason
        assert leaf.convergence.degree_to_try >= 32
        assert leaf.certificate.samples == 16

    def test_exact_functions_are_certified(self):
        leaf = measure(
            lambda x: x.sum(0), X, representations=VECTOR, over=HaarSamples(8)
        )["output"]
        assert leaf.certificate.certified
        assert leaf.certificate.noise > leaf.relative_error
        assert leaf.content_of("1+") == pytest.approx(1, abs=1e-6)

    def test_mean_and_vector_output(self):
        leaf = measure(
            lambda x: x.sum(0), X, representations=VECTOR, over=HaarSamples(8)
        )["output"]
        np.testing.assert_allclose(leaf.mean, X.sum(0), rtol=1e-12)
        assert leaf.relative_error < 1e-7


@pytest.mark.parametrize("kwargs", [{"num": 4}, {"num": 8.5}, {"num": 8, "seed": -1}])
def test_bad_samples_are_refused(kwargs):
    with pytest.raises(ArgumentError):
        HaarSamples(**kwargs)
