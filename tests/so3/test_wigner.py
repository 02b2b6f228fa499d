"""Wigner matrices against e3x, wigners, the harmonics and the group law."""

import functools
import math

import e3x
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import wigners
from scipy.linalg import block_diag
from scipy.spatial.transform import Rotation
from scipy.special import eval_jacobi

from symjax.so3 import Irrep, irrep_matrix, spherical_harmonics, to_e3x, wigner_d
from symjax.so3._tables import complex_to_real
from symjax.so3.harmonics import degree_slice
from symjax.so3.wigner import small_d_tables, wigner_d_tables

EPS = np.finfo(float).eps

# The first two angles are of no use to a formula that divides by sin(beta).
NEAR_POLES = (0.0, 1e-12, 1e-7, 1e-3, np.pi - 1e-3, np.pi - 1e-7, np.pi - 1e-12, np.pi)

degree_4 = jax.jit(functools.partial(wigner_d, 4))
slopes_4 = jax.jit(lambda g, tangent: jax.jvp(degree_4, (g,), (tangent,))[1])
compiled_20 = jax.jit(functools.partial(wigner_d, 20))
of_irrep = jax.jit(irrep_matrix, static_argnums=0)


def degree_20(elements):
    """D^0 to D^20 of at most 24 elements, padded to one shape and one compilation."""
    padded = np.tile(np.eye(3), (24, 1, 1))
    padded[: len(elements)] = elements
    return [np.asarray(d)[: len(elements)] for d in compiled_20(padded)]


def euler_to_matrix(alpha, beta, gamma):
    return Rotation.from_euler("ZYZ", np.stack([alpha, beta, gamma], -1)).as_matrix()


def random_elements(num, seed):
    """Elements of O(3), every second one improper."""
    rng = np.random.default_rng(seed)
    proper = Rotation.random(num, rng=rng).as_matrix()
    return proper * np.where(np.arange(num) % 2, -1, 1)[:, None, None]


def deviation_from_unitary(matrix):
    matrix = np.asarray(matrix)
    product = matrix @ matrix.swapaxes(-1, -2)
    return abs(product - np.eye(matrix.shape[-1])).max()


class TestGroupLaw:
    def test_degree_32_on_many_elements(self):
        # 65 terms a product; a rotation read off to 4 eps turns D by 32 times that.
        irrep = Irrep(32, 1)
        g, h = random_elements(200, 0), random_elements(200, 1)
        first, second = of_irrep(irrep, g), of_irrep(irrep, h)
        assert first.dtype == np.float64
        assert deviation_from_unitary(first) < 1e-12
        assert abs(first @ second - of_irrep(irrep, g @ h)).max() < 1e-11

    def test_degree_64_at_and_near_the_poles(self):
        alpha, gamma = np.array([0.3, -2.9]), np.array([1.2, 2.4])
        angles = np.meshgrid(alpha, NEAR_POLES, gamma, indexing="ij")
        g = euler_to_matrix(*(a.ravel() for a in angles))
        h = random_elements(len(g), 2)
        irrep = Irrep(64, 1)
        pole, other = of_irrep(irrep, g), of_irrep(irrep, h)
        assert deviation_from_unitary(pole) < 1e-12
        # The product of two elements near opposite poles is near a pole again.
        pairs = [(g, h, pole, other), (g, g[::-1], pole, pole[::-1])]
        for a, b, left, right in pairs:
            assert abs(left @ right - of_irrep(irrep, a @ b)).max() < 1e-11

    def test_all_degrees_through_20(self):
        g, h = random_elements(8, 3), random_elements(8, 4)
        for a, b, c in zip(degree_20(g), degree_20(h), degree_20(g @ h), strict=True):
            assert deviation_from_unitary(a) < 1e-13
            assert abs(a @ b - c).max() < 1e-12

    def test_float32_stays_close_to_float64(self):
        irrep = Irrep(32, 1)
        g = random_elements(200, 5).astype(np.float32)
        single = of_irrep(irrep, g)
        assert single.dtype == np.float32
        # 2 l eps as promised; the element itself is only orthogonal to eps.
        bound = 2 * 32 * np.finfo(np.float32).eps
        assert deviation_from_unitary(single) < bound
        exact = of_irrep(irrep, g.astype(np.float64))
        assert abs(single - exact).max() < 2 * bound

    def test_identity_and_inversion(self):
        for degree, (one, inversion) in enumerate(
            degree_20(np.stack([np.eye(3), -np.eye(3)]))
        ):
            unit = np.eye(2 * degree + 1)
            np.testing.assert_allclose(one, unit, atol=1e-14)
            np.testing.assert_allclose(inversion, (-1) ** degree * unit, atol=1e-14)

    def test_inverse_is_the_transpose(self):
        g = random_elements(4, 6)
        for a, b in zip(degree_20(g), degree_20(g.swapaxes(-1, -2)), strict=True):
            np.testing.assert_allclose(a, b.swapaxes(-1, -2), atol=1e-13)

    def test_sigma_is_the_sign_of_improper_elements(self):
        g = random_elements(4, 7)
        plus, minus = of_irrep(Irrep(4, 1), g), of_irrep(Irrep(4, -1), g)
        signs = np.linalg.det(g)[:, None, None]
        np.testing.assert_allclose(minus, plus * signs, atol=1e-14)
        np.testing.assert_allclose(plus, degree_20(g)[4], atol=1e-14)

    def test_characters(self):
        # Trace D^l = sin((2l + 1) w / 2) / sin(w / 2) for any axis.
        g = Rotation.random(20, rng=np.random.default_rng(8))
        half = g.magnitude() / 2
        for degree, matrix in enumerate(degree_20(g.as_matrix())):
            character = np.sin((2 * degree + 1) * half) / np.sin(half)
            found = np.trace(matrix, axis1=-2, axis2=-1)
            np.testing.assert_allclose(found, character, atol=1e-12)


class TestReferences:
    # e3x takes most of a minute to build its tables of degree 8.
    @pytest.mark.parametrize("max_degree", [2, pytest.param(8, marks=pytest.mark.slow)])
    def test_equals_e3x(self, max_degree):
        # e3x evaluates polynomials of degree 8 with coefficients of the order of
        # 1e3, stored in its own tables.
        g = random_elements(5, 0)
        size = (max_degree + 1) ** 2
        ours = degree_20(g)[: max_degree + 1]
        ours = np.stack([block_diag(*blocks) for blocks in zip(*ours, strict=True)])
        for axis in (-1, -2):
            ours = to_e3x(ours, axis=axis)
        theirs = jax.jit(functools.partial(e3x.so3.wigner_d, max_degree=max_degree))(g)
        assert theirs.shape == (5, size, size)
        np.testing.assert_allclose(ours, theirs, atol=1e-9)

    @pytest.mark.parametrize(
        "angles",
        [(0.3, 1.1, -2.0), (3.0, 0.0, 0.4), (0.1, np.pi, 2.0), (-1.0, 1e-7, 0.5)],
    )
    def test_equals_wigners_through_degree_20(self, angles):
        ours = degree_20(euler_to_matrix(*angles)[None])
        for degree, theirs in enumerate(wigners.wigner_D_array(20, *angles)):
            change = complex_to_real(degree)
            real = change @ theirs.conj() @ change.conj().T
            np.testing.assert_allclose(real.imag, 0, atol=1e-12)
            np.testing.assert_allclose(ours[degree][0], real.real, atol=1e-12)

    def test_small_d_equals_wigners(self):
        # wigners takes beta from 0 to pi.
        betas = TestSmallD.BETA
        ours = small_d_tables(20, betas)
        for index in np.flatnonzero((betas >= 0) & (betas <= np.pi)):
            theirs = wigners.wigner_D_array(20, 0.0, betas[index], 0.0)
            for mine, exact in zip(ours, theirs, strict=True):
                np.testing.assert_allclose(mine[index], exact.real, atol=1e-12)

    def test_rotates_the_harmonics(self):
        max_degree = 20
        rng = np.random.default_rng(1)
        g, v = random_elements(6, 1), rng.normal(size=(10, 3))
        turned = np.concatenate([v[None], np.einsum("gij,nj->gni", g, v)])
        values = np.asarray(spherical_harmonics(max_degree, turned))
        before, after = np.split(values, [1])
        for degree, matrix in enumerate(degree_20(g)):
            part = degree_slice(degree)
            expected = np.einsum("gab,nb->gna", matrix, before[0][:, part])
            np.testing.assert_allclose(after[..., part], expected, atol=1e-12)


class TestSmallD:
    BETA = np.array([0.0, 1e-7, 0.4, np.pi / 2, 2.7, np.pi, -0.9, 7.0])

    def test_closed_forms(self):
        b = self.BETA
        zero, one, two = small_d_tables(2, b)
        c, s, root = np.cos(b), np.sin(b), math.sqrt(0.5)
        np.testing.assert_allclose(zero[:, 0, 0], 1, atol=4 * EPS)
        # Varshalovich, table 4.4: rows and columns -1, 0, 1.
        exact = np.array(
            [
                [(1 + c) / 2, s * root, (1 - c) / 2],
                [-s * root, c, s * root],
                [(1 - c) / 2, -s * root, (1 + c) / 2],
            ]
        )
        np.testing.assert_allclose(one, np.moveaxis(exact, -1, 0), atol=16 * EPS)
        np.testing.assert_allclose(two[:, 4, 4], ((1 + c) / 2) ** 2, atol=16 * EPS)
        np.testing.assert_allclose(two[:, 4, 2], math.sqrt(3 / 8) * s**2, atol=16 * EPS)
        np.testing.assert_allclose(two[:, 2, 2], (3 * c**2 - 1) / 2, atol=16 * EPS)

    @pytest.mark.parametrize("degree", [5, 32])
    def test_equals_jacobi_polynomials(self, degree):
        # d_{m'm} for m' >= |m|, where its only sign is (-1)^(m' - m).
        beta = np.array([0.1, 1.3, 2.9])
        found = small_d_tables(degree, beta)[degree]
        for row, column in ((degree, 0), (3, 2), (4, -1), (degree, -degree), (2, 2)):
            a, b, n = row - column, row + column, degree - row
            ratio = math.comb(2 * degree - n, n + a) / math.comb(n + b, b)
            exact = (
                (-1) ** a
                * math.sqrt(ratio)
                * np.sin(beta / 2) ** a
                * np.cos(beta / 2) ** b
                * eval_jacobi(n, a, b, np.cos(beta))
            )
            np.testing.assert_allclose(
                found[:, degree + row, degree + column], exact, atol=1e-12
            )


def test_tables_equal_the_compiled_matrices():
    elements = random_elements(12, 2)
    proper = elements * np.linalg.det(elements)[:, None, None]
    proper[:2] = np.eye(3), np.diag([1.0, -1.0, -1.0])
    for a, b in zip(wigner_d_tables(20, proper), degree_20(proper), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-13)


def test_batches_and_vmap():
    g = random_elements(6, 9)
    batch = degree_4(g.reshape(2, 3, 3, 3))
    mapped = jax.jit(jax.vmap(functools.partial(wigner_d, 4)))(g)
    for a, b in zip(batch, mapped, strict=True):
        np.testing.assert_allclose(np.asarray(a).reshape(b.shape), b, atol=1e-14)


class TestDerivatives:
    """Central differences of step h: h^2 l^3 / 6 + eps / h, 1e-8 for h = 1e-5."""

    @pytest.mark.parametrize("beta", [0.0, 1e-7, 0.8, np.pi])
    @pytest.mark.parametrize("sign", [1.0, -1.0])
    def test_along_the_group(self, beta, sign):
        g = sign * euler_to_matrix(0.4, beta, -0.3)
        for axis in np.eye(3):

            def turned(t, axis=axis):
                return g @ Rotation.from_rotvec(t * axis).as_matrix()

            step = 1e-5
            spin = np.cross(np.eye(3), axis)  # v -> axis x v has matrix -[axis]^T
            tangent = g @ spin
            ahead, behind = turned(step), turned(-step)
            np.testing.assert_allclose(
                (ahead - behind) / (2 * step), tangent, atol=1e-9
            )
            found = slopes_4(g, tangent)
            for a, b, c in zip(found, degree_4(ahead), degree_4(behind), strict=True):
                np.testing.assert_allclose(a, (b - c) / (2 * step), atol=1e-8)

    def test_reverse_mode_at_the_identity(self):
        # D^1 is g itself in the order (y, z, x), so its gradient is known; the
        # component along the group survives: the antisymmetric part.
        weights = np.random.default_rng(3).normal(size=(3, 3))
        order = [1, 2, 0]

        @jax.jit
        @jax.grad
        def gradient(g):
            return jnp.sum(weights * wigner_d(1, g)[1])

        found = gradient(jnp.eye(3))
        exact = np.zeros((3, 3))
        exact[np.ix_(order, order)] = weights
        exact = (exact - exact.T) / 2
        np.testing.assert_allclose((found - found.T) / 2, exact, atol=1e-14)
        np.testing.assert_allclose(found + found.T, 0, atol=1e-14)

    def test_second_derivative_about_z(self):
        def entry(t):
            c, s = jnp.cos(t), jnp.sin(t)
            about_z = jnp.stack([c, -s, 0 * t, s, c, 0 * t, 0 * t, 0 * t, 1 + 0 * t])
            return wigner_d(3, about_z.reshape(3, 3))[3][6, 6]

        # cos(3 t), at the pole
        np.testing.assert_allclose(
            jax.jit(jax.grad(jax.grad(entry)))(0.2), -9 * np.cos(0.6), atol=1e-12
        )
