"""Conversions of rotations against scipy and against their own inverses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from symjax.so3 import (
    axis_angle_to_matrix,
    check_orthogonal,
    euler_to_matrix,
    matrix_to_euler,
    matrix_to_quaternion,
    quaternion_to_matrix,
    rotation_angle,
    split_inversion,
)

# An entry of a matrix is a sum of at most three products of numbers below 1, each
# rounded a few times: 16 eps covers one conversion, there or back.
ROUNDINGS = 16

DTYPES = (np.float32, np.float64)
POLES = (0.0, 1e-12, 1e-7, 1e-3, np.pi / 2, np.pi - 1e-7, np.pi - 1e-12, np.pi)

angles = st.floats(-np.pi, np.pi)
polar = st.one_of(st.sampled_from(POLES), st.floats(0, np.pi))

to_matrix, to_euler = jax.jit(euler_to_matrix), jax.jit(matrix_to_euler)
from_quaternion, to_quaternion = (
    jax.jit(quaternion_to_matrix),
    jax.jit(matrix_to_quaternion),
)
turn_about, angle_of = jax.jit(axis_angle_to_matrix), jax.jit(rotation_angle)


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
        exact = Rotation.from_euler("ZYZ", [alpha, beta, gamma]).as_matrix()
        matrix = exact.astype(dtype)
        found = to_euler(matrix)
        assert all(angle.dtype == dtype for angle in found)
        again = to_matrix(*found)
        np.testing.assert_allclose(again, matrix, atol=tolerance(dtype))
        assert abs(found[0]) <= dtype(np.pi)
        assert 0 <= found[1] <= dtype(np.pi)
        assert abs(found[2]) <= dtype(np.pi)

    def test_matrix_equals_scipy(self, dtype):
        values = np.random.default_rng(1).uniform(-7, 7, size=(50, 3)).astype(dtype)
        found = to_matrix(*values.T)
        assert found.dtype == dtype
        exact = Rotation.from_euler("ZYZ", values.astype(float)).as_matrix()
        np.testing.assert_allclose(found, exact, atol=tolerance(dtype))

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
        matrix = Rotation.from_euler("ZYZ", [0.4, beta, 0.3]).as_matrix()
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

    @given(alpha=angles, beta=polar, gamma=angles)
    @example(alpha=np.pi, beta=0.0, gamma=0.0)
    @example(alpha=0.0, beta=np.pi, gamma=0.0)
    @example(alpha=np.pi, beta=np.pi, gamma=0.0)
    @example(alpha=0.0, beta=0.0, gamma=0.0)
    def test_round_trip(self, dtype, alpha, beta, gamma):
        # The three half turns and the identity reach the four pivots.
        exact = Rotation.from_euler("ZYZ", [alpha, beta, gamma]).as_matrix()
        quaternion = to_quaternion(exact.astype(dtype))
        assert quaternion.dtype == dtype
        assert quaternion[0] >= 0
        np.testing.assert_allclose(
            jnp.linalg.norm(quaternion), 1, atol=tolerance(dtype)
        )
        np.testing.assert_allclose(
            from_quaternion(quaternion), exact, atol=tolerance(dtype)
        )

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


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("angle", [0.0, 1e-7, 1.0, np.pi - 1e-7, np.pi, -2.0, 10.0])
def test_axis_angle_equals_scipy(angle, dtype):
    axis = np.random.default_rng(3).normal(size=(20, 3)).astype(dtype)
    found = turn_about(axis, dtype(angle))
    assert found.dtype == dtype
    unit = axis / np.linalg.norm(axis.astype(float), axis=-1, keepdims=True)
    exact = Rotation.from_rotvec(float(dtype(angle)) * unit).as_matrix()
    np.testing.assert_allclose(found, exact, atol=tolerance(dtype))
    # The angle comes back folded into [0, pi], as accurately near 0 and pi.
    folded = abs(np.remainder(float(dtype(angle)) + np.pi, 2 * np.pi) - np.pi)
    np.testing.assert_allclose(angle_of(found), folded, atol=tolerance(dtype))
    np.testing.assert_allclose(angle_of(-found), folded, atol=tolerance(dtype))


def test_axis_of_any_length():
    axis = np.array([1.0, 2.0, -2.0])
    for factor in (1e-300, 1e300):
        np.testing.assert_allclose(
            axis_angle_to_matrix(factor * axis, 0.7),
            axis_angle_to_matrix(axis, 0.7),
            atol=tolerance(float),
        )


class TestGroup:
    def test_turns_about_one_axis_add(self):
        axis = np.array([0.3, -0.5, 0.9])
        product = axis_angle_to_matrix(axis, 0.4) @ axis_angle_to_matrix(axis, 1.1)
        np.testing.assert_allclose(
            product, axis_angle_to_matrix(axis, 1.5), atol=tolerance(float)
        )

    def test_inverse_reverses_the_angles(self):
        product = euler_to_matrix(0.3, 1.1, 2.0) @ euler_to_matrix(-2.0, -1.1, -0.3)
        np.testing.assert_allclose(product, np.eye(3), atol=tolerance(float))

    def test_quaternions_multiply_as_matrices(self):
        first, second = random_rotations(30, 0), random_rotations(30, 1)
        product = Rotation.from_matrix(first) * Rotation.from_matrix(second)
        found = matrix_to_quaternion(first @ second)
        exact = product.as_quat(canonical=True, scalar_first=True)
        np.testing.assert_allclose(found, exact, atol=tolerance(float))

    def test_a_quarter_turn_about_z_takes_x_to_y(self):
        turn = axis_angle_to_matrix(jnp.array([0.0, 0.0, 1.0]), np.pi / 2)
        moved = turn @ jnp.array([1.0, 0.0, 0.0])
        np.testing.assert_allclose(moved, [0, 1, 0], atol=tolerance(float))

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
        (lambda a: euler_to_matrix(a[0], a[1], a[2]), np.ones(3)),
        (lambda r: jnp.stack(matrix_to_euler(r)), np.eye(3)),
        (quaternion_to_matrix, np.ones(4)),
        (matrix_to_quaternion, np.eye(3)),
        (lambda a: axis_angle_to_matrix(a, 0.3), np.ones(3)),
        (rotation_angle, np.eye(3)),
        (lambda r: split_inversion(r)[0], -np.eye(3)),
    ],
    ids=["euler", "to-euler", "quaternion", "to-quaternion", "axis", "angle", "split"],
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
    matrices = euler_to_matrix(0.3, np.array(POLES), 0.4)
    for jacobian in jax.jit(jax.vmap(jax.jacobian(matrix_to_euler)))(matrices):
        assert np.isfinite(jacobian).all()


def test_derivative_of_the_angle_equals_the_rate_of_turning():
    def angle(t):
        return rotation_angle(axis_angle_to_matrix(jnp.array([1.0, 2.0, 3.0]), t))

    rates = jax.jit(jax.vmap(jax.grad(angle)))(jnp.array([1e-6, 0.5, 3.0]))
    np.testing.assert_allclose(rates, 1, rtol=1e-8)
