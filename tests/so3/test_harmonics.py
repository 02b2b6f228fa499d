"""Real spherical harmonics against scipy, e3x and e3nn."""

import functools

import e3nn_jax
import e3x
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import eval_legendre, sph_harm_y

from symjax.so3 import from_e3x, quadrature, to_e3x
from symjax.so3._tables import complex_to_real
from symjax.so3.harmonics import degree_slice, solid_harmonics, spherical_harmonics

NORMALIZATIONS = ("orthonormal", "racah", "4pi")

through_6 = jax.jit(functools.partial(spherical_harmonics, 6))
solid_6 = jax.jit(functools.partial(solid_harmonics, 6))
compiled_24 = jax.jit(functools.partial(spherical_harmonics, 24))


def through_24(vectors):
    # Sliced in NumPy: every shape of a slice would be compiled.
    return np.asarray(compiled_24(vectors))


POLES = np.array([[0, 0, 1.0], [0, 0, -1], [1e-9, 0, 1], [0, -1e-9, -1]])


@functools.partial(jax.jit, static_argnums=(0, 2))
def normalized(max_degree, vectors, normalization):
    return spherical_harmonics(max_degree, vectors, normalization=normalization)


def compiled(function, **options):
    """One program instead of one for each operation."""
    return jax.jit(functools.partial(function, **options))


def directions(num, seed=0):
    v = np.random.default_rng(seed).normal(size=(num, 3))
    return v / np.linalg.norm(v, axis=-1, keepdims=True)


class TestReferences:
    # The recurrence loses about l eps relative to the largest Y_lm, sqrt(l).
    def test_equal_scipys_through_degree_24(self):
        v = np.concatenate([directions(20), POLES])
        ours = through_24(v)
        theta = np.arctan2(np.hypot(v[:, 0], v[:, 1]), v[:, 2])
        phi = np.arctan2(v[:, 1], v[:, 0])
        for degree in range(25):
            m = np.arange(-degree, degree + 1)
            values = sph_harm_y(degree, m, theta[:, None], phi[:, None])
            real = values @ complex_to_real(degree).T
            np.testing.assert_allclose(real.imag, 0, atol=1e-12)
            np.testing.assert_allclose(
                ours[:, degree_slice(degree)], real.real, atol=1e-12
            )

    @pytest.mark.parametrize(
        ("normalization", "cartesian_order"),
        [("orthonormal", True), ("racah", False), ("4pi", True)],
    )
    def test_equal_e3xs(self, normalization, cartesian_order):
        v = directions(10)
        options = {"cartesian_order": cartesian_order, "normalization": normalization}
        theirs = compiled(e3x.so3.spherical_harmonics, max_degree=4, **options)(v)
        if cartesian_order:
            orthonormal = normalized(4, v, "orthonormal")
            converted = to_e3x(orthonormal, normalization=normalization)
            back = from_e3x(theirs, normalization=normalization)
            np.testing.assert_allclose(converted, theirs, atol=1e-12)
            np.testing.assert_allclose(back, orthonormal, atol=1e-12)
        ours = normalized(4, v, normalization)
        if not cartesian_order:
            np.testing.assert_allclose(ours, theirs, atol=1e-12)
        else:
            np.testing.assert_allclose(to_e3x(ours), theirs, atol=1e-12)

    def test_equal_e3nns_with_the_axes_turned(self):
        v = directions(10)
        irreps = e3nn_jax.s2_irreps(4, p_val=1, p_arg=-1)
        options = {"normalize": True, "normalization": "integral"}
        harmonics = functools.partial(e3nn_jax.spherical_harmonics, irreps, **options)
        ours = normalized(4, v[:, [2, 0, 1]], "orthonormal")
        np.testing.assert_allclose(jax.jit(harmonics)(v).array, ours, atol=1e-12)

    def test_closed_forms(self):
        x, y, z = v = np.array([0.48, -0.6, 0.64])
        found = spherical_harmonics(2, v, normalization="racah")
        root = np.sqrt(3)
        exact = [1, y, z, x, root * x * y, root * y * z, 1.5 * z * z - 0.5]
        exact += [root * x * z, root / 2 * (x * x - y * y)]
        np.testing.assert_allclose(found, exact, atol=1e-15)


class TestIdentities:
    def test_orthonormal_by_quadrature(self):
        rule = quadrature(12, "gauss")
        y = np.asarray(through_6(rule.points))
        gram = 4 * np.pi * y.T @ (rule.sphere_weights[:, None] * y)
        np.testing.assert_allclose(gram, np.eye(len(gram)), atol=1e-12)

    def test_addition_theorem(self):
        a, b = directions(24, 1), directions(24, 2)
        left, right = through_24(a), through_24(b)
        cosine = np.sum(a * b, axis=-1)
        for degree in range(25):
            part = degree_slice(degree)
            total = np.sum(left[:, part] * right[:, part], axis=-1)
            exact = (2 * degree + 1) / (4 * np.pi) * eval_legendre(degree, cosine)
            np.testing.assert_allclose(total, exact, atol=1e-11)

    def test_parity(self):
        v = directions(24)
        parity = np.concatenate([[(-1.0) ** d] * (2 * d + 1) for d in range(25)])
        np.testing.assert_array_equal(through_24(-v), parity * through_24(v))

    def test_length_does_not_matter(self):
        v = directions(5)
        for length in (1e-300, 1e-3, 1e300):
            np.testing.assert_allclose(through_6(length * v), through_6(v), atol=1e-14)

    def test_normalizations_are_multiples(self):
        v = directions(3)
        degrees = np.sqrt(np.arange(25)).astype(int)
        reference, racah, four_pi = (
            np.asarray(normalized(4, v, n)) for n in NORMALIZATIONS
        )
        factor = np.sqrt(4 * np.pi / (2 * degrees + 1))
        np.testing.assert_allclose(racah, reference * factor, rtol=1e-14)
        np.testing.assert_allclose(four_pi, reference * np.sqrt(4 * np.pi), rtol=1e-14)


class TestSolid:
    def test_homogeneous(self):
        v = np.random.default_rng(0).normal(size=(5, 3))
        degrees = np.sqrt(np.arange(49)).astype(int)
        np.testing.assert_allclose(
            solid_6(2.0 * v),
            2.0**degrees * solid_6(v),
            rtol=1e-13,
        )
        radius = np.linalg.norm(v, axis=-1, keepdims=True)
        np.testing.assert_allclose(
            solid_6(v),
            radius**degrees * through_6(v),
            rtol=1e-12,
            atol=1e-13,
        )

    def test_at_the_origin(self):
        value = solid_6(np.zeros((5, 3)))[0]
        exact = np.zeros(49)
        exact[0] = np.sqrt(1 / (4 * np.pi))
        np.testing.assert_allclose(value, exact, rtol=1e-15)
        gradient = jax.jit(jax.jacobian(functools.partial(solid_harmonics, 4)))
        at_zero = gradient(jnp.zeros(3))
        # Only degree 1 is linear: sqrt(3 / 4 pi) (y, z, x).
        exact = np.zeros((25, 3))
        exact[1:4] = np.sqrt(3 / (4 * np.pi)) * np.eye(3)[[1, 2, 0]]
        np.testing.assert_allclose(at_zero, exact, atol=1e-15)

    def test_harmonic(self):
        # The Laplacian of r^l Y_lm vanishes, everywhere and at the origin.
        hessian = jax.jit(jax.hessian(functools.partial(solid_harmonics, 4)))
        for v in (jnp.zeros(3), jnp.array([0.3, -1.0, 0.6])):
            laplacian = jnp.trace(hessian(v), axis1=-2, axis2=-1)
            np.testing.assert_allclose(laplacian, 0, atol=1e-12)


def test_derivatives_are_finite_and_tangential():
    jacobian = jax.jit(
        jax.vmap(jax.jacobian(functools.partial(spherical_harmonics, 4)))
    )
    v = np.concatenate([directions(3), POLES])
    found = jacobian(v)
    assert np.isfinite(found).all()
    radial = np.einsum("nci,ni->nc", found, v)
    np.testing.assert_allclose(radial, 0, atol=1e-13)
    # Central differences: step^2 times a third derivative, and eps / step.
    step = 1e-5
    for axis, unit in enumerate(np.eye(3)):
        ahead = normalized(4, v + step * unit, "orthonormal")
        behind = normalized(4, v - step * unit, "orthonormal")
        difference = (ahead - behind) / (2 * step)
        np.testing.assert_allclose(found[..., axis], difference, atol=1e-7)


def test_no_direction_gives_nan_beyond_degree_0():
    found = spherical_harmonics(2, np.zeros(3))
    assert np.isnan(found[1:]).all()


def test_float32():
    v = directions(24).astype(np.float32)
    harmonics = functools.partial(spherical_harmonics, 16)
    single = jax.jit(harmonics)(v)
    assert single.dtype == np.float32
    # About l roundings of the largest value, sqrt((2 l + 1) / 4 pi) = 1.6.
    exact = through_24(v.astype(float))[:, : 17**2]
    np.testing.assert_allclose(single, exact, atol=16 * 1.6 * np.finfo(np.float32).eps)


def test_degree_slices_tile_the_components():
    positions = [i for d in range(5) for i in range(25)[degree_slice(d)]]
    assert positions == list(range(25))
