"""The formulas of docs/theory.md, summed as they stand there, against the library.

Those with tests of their own are not repeated: closed forms and the division of the
error (metrics/test_measuring.py), characters and D (so3/test_wigner.py), exactness of
the rules (so3/test_quadratures.py), point groups (metrics/test_stabilizer.py), floors
of noise (diagnose/test_spectra.py).
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symjax.metrics import Grid, HaarSamples, measure
from symjax.so3 import SCALAR, VECTOR, haar, wigner_d
from symjax.so3.quadratures import quadrature
from symjax.so3.wigner import small_d_tables

X = np.random.default_rng(0).normal(size=3)
M = np.random.default_rng(1).normal(size=(3, 3))
# (P, Q) of terms u = P x + (x . Q x) v: degrees 0 to 2, both parities.
Q, V = np.random.default_rng(2).normal(size=(3, 3)), np.array([1.0, -2.0, 0.5])
DEGREE = 2
SECTORS = [(degree, sigma) for degree in range(DEGREE + 1) for sigma in (1, -1)]
RULE = quadrature(2 * DEGREE + 1)


def response(x):
    return M @ x + (x @ Q @ x) * V


def both_cosets(rule):
    """Elements of O(3), and weights that add up to 1."""
    elements = np.concatenate([rule.rotations, -rule.rotations])
    return elements, np.concatenate([rule.weights, rule.weights]) / 2


def characters(elements, degree, sigma):
    """chi(h^-1 g) for all pairs, with the closed form of the page."""
    product = np.einsum("hji,gjk->hgik", elements, elements)
    sign = np.sign(np.linalg.det(product))
    cosine = (sign * np.trace(product, axis1=-2, axis2=-1) - 1) / 2
    # The limit at angle 0 is 2 l + 1; near pi the quotient is harmless.
    angle = np.maximum(np.arccos(np.clip(cosine, -1, 1)), 1e-7)
    proper = np.sin((degree + 0.5) * angle) / np.sin(angle / 2)
    return np.where(sign > 0, proper, sigma * (-1) ** degree * proper)


@functools.cache
def measured():
    """One compilation for the tests below."""
    return measure(
        lambda x: {"vector": response(x), "matrix": M @ x, "scalar": response(x)[0]},
        X,
        representations={"vector": VECTOR, "matrix": VECTOR, "scalar": SCALAR},
        max_degree=DEGREE,
        over=Grid(RULE),
    )


def test_projection_from_its_definition():
    """B is the squared norm of (P u)(g) = (2l+1) int chi(h^-1 g) u(h) dmu(h)."""
    elements, weights = both_cosets(RULE)
    u = np.array([response(g @ X) for g in elements])
    norm = weights @ np.square(u).sum(1)
    content = measured()["vector"].content
    total = np.zeros_like(u)
    for degree, sigma in SECTORS:
        kernel = characters(elements, degree, sigma) * weights[:, None]
        projected = (2 * degree + 1) * np.einsum("hg,hc->gc", kernel, u)
        expected = weights @ np.square(projected).sum(1) / norm
        assert content[degree, 0 if sigma == 1 else 1] == pytest.approx(
            expected, abs=1e-7
        )
        total += projected
    # Complete: the sectors add up to the response.
    np.testing.assert_allclose(total, u, atol=1e-5)
    assert content.sum() == pytest.approx(1, abs=1e-12)
    assert min(content[0, 0], content[1, 0], content[2, 0]) > 1e-3


def test_coefficients_of_the_cosets_and_their_synthesis():
    """Power (2l+1)/4 sum |c+ + sigma (-1)^l c-|^2; u = sum (2l+1) sum c D."""
    weights = RULE.weights
    blocks = [np.asarray(b) for b in wigner_d(DEGREE, RULE.rotations)]
    values = {
        s: np.array([response(s * r @ X) for r in RULE.rotations]) for s in (1, -1)
    }
    c = {
        s: [np.einsum("k,kmn,kc->mnc", weights, d, values[s]) for d in blocks]
        for s in (1, -1)
    }
    leaf = measured()["vector"]
    for degree, sigma in SECTORS:
        both = c[1][degree] + sigma * (-1) ** degree * c[-1][degree]
        power = (2 * degree + 1) / 4 * np.square(both).sum()
        assert leaf.power[..., degree, 0 if sigma == 1 else 1].sum() == pytest.approx(
            power, abs=1e-10
        )
    elsewhere = np.asarray(haar(jax.random.key(3), 4), float)
    elsewhere, _ = np.linalg.qr(elsewhere)
    elsewhere *= np.sign(np.linalg.det(elsewhere))[:, None, None]
    tables = [np.asarray(b) for b in wigner_d(DEGREE, elsewhere)]
    for s in (1, -1):
        synthesis = sum(
            (2 * degree + 1) * np.einsum("mnc,kmn->kc", c[s][degree], tables[degree])
            for degree in range(DEGREE + 1)
        )
        exact = np.array([response(s * r @ X) for r in elsewhere])
        np.testing.assert_allclose(synthesis, exact, atol=1e-10)


def test_coefficients_of_a_real_response_come_in_pairs():
    """|c_(-m,-n)| = |c_mn|, with D = e^(-i m alpha) d e^(-i n gamma)."""
    degree = np.arange(-DEGREE, DEGREE + 1)
    d = small_d_tables(DEGREE, RULE.beta)[DEGREE]
    u = np.array([response(r @ X)[0] for r in RULE.rotations])
    u = u.reshape(len(RULE.alpha), len(RULE.gamma))
    in_plane = np.exp(-1j * np.outer(degree, RULE.gamma)) @ u.T / len(RULE.gamma)
    phases = np.exp(-1j * np.outer(degree, RULE.alpha)) * RULE.sphere_weights
    c = np.einsum("mi,imn,ni->mn", phases, d, in_plane)
    np.testing.assert_allclose(np.abs(c[::-1, ::-1]), np.abs(c), atol=1e-12)
    assert np.abs(c).max() > 1e-2


def test_content_of_a_vector_that_is_no_equivariant_vector():
    """u = M R x is pure (1, +); V = |x|^2 (|M|^2 / 3 - tr(M)^2 / 9)."""
    leaf = measured()["matrix"]
    assert leaf.content_of("1+") == pytest.approx(1, abs=1e-12)
    variance = X @ X * (np.square(M).sum() / 3 - np.trace(M) ** 2 / 9)
    assert leaf.variance.sum() == pytest.approx(variance, rel=1e-12)
    np.testing.assert_allclose(np.ravel(leaf.mean), np.trace(M) / 3 * X, atol=1e-12)


def test_content_and_error():
    """B in the sectors of rho is 1 - (relative error)^2 at least, for scalars just."""
    vector, scalar = measured()["vector"], measured()["scalar"]
    assert vector.content_of("1+") > 1 - vector.relative_error**2 + 1e-3
    assert scalar.content_of("0+") == pytest.approx(1 - scalar.relative_error**2)


def test_estimates_from_random_elements():
    """Sums over pairs of different elements, and the jackknife, one by one."""
    n, seed = 8, 5
    leaf = measure(
        lambda x: jnp.asarray(response(x)),
        X,
        representations=VECTOR,
        max_degree=DEGREE,
        over=HaarSamples(n, seed=seed),
    )["output"]
    with jax.enable_x64(True):
        rotations = np.asarray(haar(jax.random.key(seed), n))
    u = {s: np.array([response(s * r @ X) for r in rotations]) for s in (1, -1)}
    z = {s: np.einsum("kji,kj->ki", s * rotations, u[s]) for s in (1, -1)}
    half = (z[1] + z[-1]) / 2
    squares = (np.square(z[1]).sum(1) + np.square(z[-1]).sum(1)) / 2

    def variance(kept):
        k = len(kept)
        gram = half[kept] @ half[kept].T
        return squares[kept].mean() - (gram.sum() - np.trace(gram)) / (k * (k - 1))

    def jackknife(estimate, among):
        k = len(among)
        without = np.array([estimate(np.delete(among, i)) for i in range(k)])
        return (k - 1) / k * np.square(without - without.mean()).sum()

    everything, others = np.arange(n), np.arange(1, n)
    assert leaf.variance.sum() == pytest.approx(variance(everything), rel=1e-9)
    error = leaf.standard_errors.variance.sum() ** 2
    assert error == pytest.approx(jackknife(variance, everything), rel=1e-9)
    # The first pair is the reference of the powers.
    m = half[0]
    rest = {s: u[s] - s * rotations @ m for s in (1, -1)}
    for degree, sigma in SECTORS:
        a = (rest[1] + sigma * (-1) ** degree * rest[-1]) / 2
        kernel = characters(rotations, degree, 1) * (a @ a.T)
        own = (degree, sigma) == (1, 1)

        def power(kept, kernel=kernel, degree=degree, own=own):
            k = len(kept)
            part = kernel[np.ix_(kept, kept)]
            found = (2 * degree + 1) * (part.sum() - np.trace(part)) / (k * (k - 1))
            return found + own * (m @ m + 2 * (half[kept] - m).mean(axis=0) @ m)

        index = 0 if sigma == 1 else 1
        assert leaf.power[..., degree, index].sum() == pytest.approx(
            power(others), rel=1e-6
        )
        error = leaf.standard_errors.power[..., degree, index].sum() ** 2
        assert error == pytest.approx(jackknife(power, others), rel=1e-6)
