"""Conversions of rotations against scipy and against their own inverses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from symjax.so3.rotations import (
    check_orthogonal,
    matrix_to_euler,
    quaternion_to_matrix,
    split_inversion,
)

# An entry of a matrix is a sum of at most three products of numbers below 1, each
# rounded a few times: 16 eps covers one conversion, there or back.
ROUNDINGS = 16

DTYPES = (np.float32, np.float64)
POLES = (0.0, 1e-12, 1e-7, 1e-3, np.pi / 2, np.pi - 1e-7, np.pi - 1e-12, np.pi)

angles = st.floats(-np.pi, np.pi)
polar = st.one_of(st.sampled_from(POLES), st.floats(0, np.pi))

to_euler, from_quaternion = jax.jit(matrix_to_euler), jax.jit(quaternion_to_matrix)


def euler_to_matrix(alpha, beta, gamma):
    return Rotation.from_euler("ZYZ", np.stack([alpha, beta, gamma], -1)).as_matrix()


def tolerance(dtype):
    return ROUNDINGS * np.finfo(dtype).eps


def random_rotations(num, seed=0):
    return Rotation.random(num, rng=np.random.default_rng(seed)).as_matrix()


@pytest.mark.parametrize("dtype", DTYPES)
class TestEuler:
    @given(alpha=angles, beta=polar, gamma=angles)
    @example(alpha=1.0, beta=0.0, gamma=2.5)
    @example(alpha=1.0, beta=1e-12, gamma=2.5)
    @example(alpha=1.0, beta=1e-7, gamma=2.5)
    @example(alpha=-3.0, beta=np.pi - 1e-7, gamma=2.5)
    @example(alpha=-3.0, beta=np.pi - 1e-12, gamma=2.5)
    @example(alpha=-3.0, beta=np.pi, gamma=2.5)
    def test_the_matrix_comes_back(self, dtype, alpha, beta, gamma):
        matrix = euler_to_matrix(alpha, beta, gamma).astype(dtype)
        found = to_euler(matrix)
        assert all(angle.dtype == dtype for angle in found)
        again = euler_to_matrix(*(np.asarray(angle, float) for angle in found))
        np.testing.assert_allclose(again, matrix, atol=tolerance(dtype))
        assert abs(found[0]) <= dtype(np.pi)
        assert 0 <= found[1] <= dtype(np.pi)
        assert abs(found[2]) <= dtype(np.pi)

    def test_angles_equal_scipy_away_from_the_poles(self, dtype):
        matrix = random_rotations(200)
        matrix = matrix[abs(matrix[:, 2, 2]) < 0.9]
        exact = Rotation.from_matrix(matrix).as_euler("ZYZ")
        found = np.stack(to_euler(matrix.astype(dtype)), -1)
        # Away from the poles 1 / sin(beta) < 2.3 amplifies the rounding.
        turns = (found - exact) / (2 * np.pi)
        np.testing.assert_allclose(turns - turns.round(), 0, atol=tolerance(dtype))

    @pytest.mark.parametrize("beta", [0.0, np.pi])
    def test_gamma_is_zero_at_the_poles(self, dtype, beta):
        matrix = euler_to_matrix(0.4, beta, 0.3)
        alpha, found, gamma = matrix_to_euler(matrix.astype(dtype))
        assert gamma == 0
        assert found == dtype(beta)
        np.testing.assert_allclose(
            alpha, 0.7 if beta == 0 else 0.1, atol=tolerance(dtype)
        )


def test_beta_near_the_poles_keeps_its_relative_accuracy():
    # acos(R_22) would return 0 for both: cos(1e-12) rounds to 1.
    for beta in (1e-12, 1e-7):
        matrix = euler_to_matrix(0.3, beta, 0.2)
        np.testing.assert_allclose(matrix_to_euler(matrix)[1], beta, rtol=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
class TestQuaternion:
    def test_equals_scipy(self, dtype):
        values = np.random.default_rng(2).normal(size=(100, 4)).astype(dtype)
        found = from_quaternion(values)
        assert found.dtype == dtype
        exact = Rotation.from_quat(values.astype(float), scalar_first=True)
        np.testing.assert_allclose(found, exact.as_matrix(), atol=tolerance(dtype))

    def test_norm_and_sign_do_not_matter(self, dtype):
        quaternion = np.array([0.1, -0.7, 0.2, 0.4], dtype)
        # Its reciprocal must not be subnormal, which the compiler may flush to 0.
        huge = dtype(np.finfo(dtype).max / 16)
        tiny = dtype(np.finfo(dtype).tiny * 16)
        for factor in (dtype(-1), huge, tiny):
            np.testing.assert_allclose(
                from_quaternion(factor * quaternion),
                from_quaternion(quaternion),
                atol=tolerance(dtype),
            )


class TestGroup:
    def test_split_inversion(self):
        proper = random_rotations(20)
        signs = np.where(np.arange(20) % 2, 1.0, -1.0)
        found, sign = split_inversion(signs[:, None, None] * proper)
        np.testing.assert_array_equal(sign, signs)
        np.testing.assert_array_equal(found, proper)

    def test_mirror_is_improper(self):
        found, sign = split_inversion(np.diag([1.0, 1.0, -1.0]))
        assert sign == -1
        np.testing.assert_array_equal(found, np.diag([-1.0, -1.0, 1.0]))

    def test_check_orthogonal_has_a_tolerance_for_each_dtype(self):
        bent = np.eye(3)
        bent[0, 1] = 1e-6
        check_orthogonal(bent.astype(np.float32))
        with pytest.raises(ValueError, match="not orthogonal"):
            check_orthogonal(bent)


@pytest.mark.parametrize(
    ("function", "argument"),
    [
        (lambda r: jnp.stack(matrix_to_euler(r)), np.eye(3)),
        (quaternion_to_matrix, np.ones(4)),
        (lambda r: split_inversion(r)[0], -np.eye(3)),
    ],
    ids=["euler", "quaternion", "split"],
)
class TestTransformations:
    def test_jit_and_vmap_equal_the_plain_call(self, function, argument):
        batch = argument + 0.1 * np.random.default_rng(0).normal(
            size=(3, *argument.shape)
        )
        mapped = jax.jit(jax.vmap(function))(batch)
        np.testing.assert_allclose(function(batch[1]), mapped[1], atol=tolerance(float))

    def test_derivatives_are_finite(self, function, argument):
        jacobian = jax.jit(jax.jacobian(function))(jnp.asarray(argument))
        assert np.isfinite(jacobian).all()

    def test_nan_in_nan_out(self, function, argument):
        found = jax.jit(function)(jnp.full(argument.shape, jnp.nan))
        assert np.isnan(found).any()


def test_derivatives_of_euler_angles_are_finite_near_the_poles():
    matrices = jnp.stack([euler_to_matrix(0.3, beta, 0.4) for beta in POLES])
    for jacobian in jax.jit(jax.vmap(jax.jacobian(matrix_to_euler)))(matrices):
        assert np.isfinite(jacobian).all()
