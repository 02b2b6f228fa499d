"""Distribution of the sampled rotations."""

import jax
import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from scipy.stats import kstest

import symjax.so3
from symjax.so3 import Irrep, irrep_matrix
from symjax.so3.sampling import super_fibonacci

haar = jax.jit(symjax.so3.haar, static_argnums=1)

SAMPLERS = {
    "haar": lambda num: haar(jax.random.key(0), num),
    "super_fibonacci": super_fibonacci,
}

of_irrep = jax.jit(irrep_matrix, static_argnums=0)


def angle_distribution(angle):
    """Integral of the density (1 - cos w) / pi of the Haar measure."""
    return (angle - np.sin(angle)) / np.pi


def discrepancy(rotations):
    """Root mean square of the means of D^l_mn, for l = 1 to 3; 0 for the Haar mean."""
    total = 0.0
    for degree in (1, 2, 3):
        mean = np.asarray(of_irrep(Irrep(degree, 1), rotations)).mean(axis=0)
        total += (2 * degree + 1) * np.sum(mean**2)
    return np.sqrt(total)


@pytest.mark.parametrize("name", SAMPLERS)
def test_proper_rotations(name):
    rotations = SAMPLERS[name](1000)
    assert rotations.shape == (1000, 3, 3)
    np.testing.assert_allclose(
        rotations @ rotations.swapaxes(-1, -2),
        np.broadcast_to(np.eye(3), rotations.shape),
        atol=1e-14,
    )
    np.testing.assert_allclose(np.linalg.det(rotations), 1, atol=1e-14)


class TestHaar:
    @pytest.mark.parametrize("degree", [1, 2, 5])
    def test_means_vanish_within_5_standard_errors(self, degree):
        num = 4096
        values = np.asarray(of_irrep(Irrep(degree, 1), haar(jax.random.key(1), num)))
        # Each entry has the exact variance 1 / (2 l + 1).
        error = np.sqrt(1 / (2 * degree + 1) / num)
        assert abs(values.mean(axis=0)).max() < 5 * error
        np.testing.assert_allclose(
            (values**2).mean(), 1 / (2 * degree + 1), rtol=5 / np.sqrt(num)
        )

    def test_angles_are_distributed_as_the_closed_form(self):
        angles = Rotation.from_matrix(haar(jax.random.key(2), 4096)).magnitude()
        assert kstest(angles, angle_distribution).pvalue > 1e-3
        # A wrong measure, uniform angles, would be seen.
        wrong = np.random.default_rng(0).uniform(0, np.pi, 4096)
        assert kstest(wrong, angle_distribution).pvalue < 1e-9

    def test_keys_decide(self):
        first, again = (haar(jax.random.key(3), 4) for _ in range(2))
        np.testing.assert_array_equal(first, again)
        assert abs(first - haar(jax.random.key(4), 4)).max() > 0.1


class TestSuperFibonacci:
    @pytest.mark.parametrize("num", [100, 1000])
    def test_smaller_discrepancy_than_random(self, num):
        found = discrepancy(super_fibonacci(num))
        random = [discrepancy(haar(jax.random.key(seed), num)) for seed in range(3)]
        assert found < min(random) / 2

    def test_angles_follow_the_haar_measure(self):
        # Without randomness the distance is below that of random samples, 1 / sqrt n.
        angles = Rotation.from_matrix(super_fibonacci(1000)).magnitude()
        assert kstest(angles, angle_distribution).statistic < 0.5 / np.sqrt(1000)
