"""Exactness of the rules on SO(3), and its end one degree above.

D^l D^l' decomposes into D^L with L <= l + l', so a rule is exact for the products
of l + l' <= d if and only if it integrates every D^L through L = d. The small rules
are tested on the products themselves, the large ones on the two factors of the
proof: the in-plane sum, and the sphere rule on every harmonic.
"""

import functools
import math

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from scipy.special import eval_legendre

from symjax.errors import GridError
from symjax.so3.quadratures import LEBEDEV_DEGREES, Quadrature, nested, quadrature
from symjax.so3.wigner import wigner_d_tables

# Weights printed with 12 to 16 digits: Lebedev's table ends the agreement.
EXACT = 1e-12

RULES = {
    kind: functools.partial(quadrature, kind=kind)
    for kind in ("lebedev", "gauss", "icosahedral")
}
SMALL = [(kind, degree) for kind in RULES for degree in (1, 2, 3, 6)]
LARGE = [("lebedev", degree) for degree in LEBEDEV_DEGREES] + [
    *(("lebedev", degree) for degree in (34, 60, 90, 130)),
    *(("gauss", degree) for degree in (0, 1, 2, 13, 32, 33, 64, 90, 131, 140)),
    *(("icosahedral", degree) for degree in (13, 14, 20, 24, 25, 26, 27)),
]


def wigner_entries(rule, max_degree):
    """All entries of D^l on the rotations of a rule, with their degrees."""
    blocks = wigner_d_tables(max_degree, rule.rotations)
    degrees = np.repeat(np.arange(max_degree + 1), [b[0].size for b in blocks])
    flat = [np.asarray(block).reshape(rule.num_rotations, -1) for block in blocks]
    return np.concatenate(flat, axis=1), degrees


def aliased_entry(rule):
    """Mean of the complex entry D^K_{0K} with K = in_plane, which should be 0.

    K in-plane angles leave n = K in place, and d^K_{0K}(beta) is sqrt(binomial(2K,
    K)) (sin(beta) / 2)^K: without a sign, so its mean cannot vanish on any sphere
    rule of positive weights.
    """
    k = rule.in_plane
    # Through the logarithm, because the binomial overflows at K = 132.
    log_root = 0.5 * (math.lgamma(2 * k + 1) - 2 * math.lgamma(k + 1)) - k * math.log(2)
    return rule.sphere_weights @ (math.exp(log_root) * np.sin(rule.beta) ** k)


@pytest.mark.parametrize(("kind", "degree"), SMALL)
def test_products_of_wigner_entries(kind, degree):
    rule = RULES[kind](degree)
    entries, degrees = wigner_entries(rule, degree + 1)
    gram = entries.T @ (rule.weights[:, None] * entries)
    exact = np.diag(1 / (2 * degrees + 1))
    total = degrees[:, None] + degrees
    deviation = abs(gram - exact)
    assert deviation[total <= degree].max() < EXACT
    # One above, 0 + (degree + 1) already contains the aliased entry, where the
    # real matrices hold sqrt(2) times the complex one.
    size = degree + 1
    row, column = size, 2 * size
    start = np.searchsorted(degrees, size)
    entry = start + row * (2 * size + 1) + column
    assert total[0, entry] == degree + 1
    assert gram[0, entry] ** 2 == pytest.approx(2 * aliased_entry(rule) ** 2)
    assert deviation[0, entry] > 1e-3


@pytest.mark.parametrize(("kind", "degree"), LARGE)
def test_both_factors_of_large_rules(kind, degree):
    rule = RULES[kind](degree)
    assert rule.degree == degree
    assert rule.in_plane == degree + 1
    orders = np.arange(1, degree + 1)[:, None]
    np.testing.assert_allclose(
        np.exp(1j * orders * rule.gamma).mean(axis=1), 0, atol=EXACT
    )
    # P_l(u . v) for random u is a random combination of all Y_lm of degree l, so an
    # inexact one would be missed with probability 0.
    probes = np.random.default_rng(degree).normal(size=(3, 3))
    probes /= np.linalg.norm(probes, axis=1, keepdims=True)
    cosines = probes @ rule.points.T
    previous, current = np.zeros_like(cosines), np.ones_like(cosines)
    for order in range(1, degree + 1):
        previous, current = (
            current,
            ((2 * order - 1) * cosines * current - (order - 1) * previous) / order,
        )
        assert abs(current @ rule.sphere_weights).max() < EXACT
    assert abs(aliased_entry(rule)) > 1e-3


@pytest.mark.parametrize("degree", [3, 5, 7, 9])
def test_lebedev_sphere_rules_end_at_their_degree(degree):
    # Odd harmonics vanish by inversion; the first even degree above must not.
    rule = quadrature(degree, "lebedev")
    probe = np.array([0.0, 0.0, 1.0])
    mean = eval_legendre(degree + 1, rule.points @ probe) @ rule.sphere_weights
    assert abs(mean) > 1e-3


@pytest.mark.parametrize(
    ("kind", "degree"),
    [
        (kind, degree)
        for kind in RULES
        for degree in (0, 1, 2, 5, 13, 20, 25, 27, 31, 59)
        if kind != "icosahedral" or 5 <= degree <= 27
    ],
)
class TestEveryRule:
    def test_nodes_and_weights(self, kind, degree):
        rule = RULES[kind](degree)
        np.testing.assert_allclose(np.linalg.norm(rule.points, axis=1), 1, rtol=1e-15)
        assert rule.sphere_weights.sum() == pytest.approx(1, abs=1e-14)
        if kind != "lebedev":
            assert rule.sphere_weights.min() > 0
        distances = rule.points @ rule.points.T - 2 * np.eye(len(rule.points))
        assert distances.max() < 1 - 1e-9 or len(rule.points) == 1
        for array in (rule.alpha, rule.beta, rule.sphere_weights):
            assert not array.flags.writeable

    def test_nested(self, kind, degree):
        rule = RULES[kind](degree)
        if len(rule.alpha) < 2:
            pytest.skip("a single node has no strict subset")
        coarse, weights = nested(rule)
        assert 0 <= coarse < degree or (coarse, degree) == (0, 0)
        assert weights.min() >= 0
        assert weights.sum() == pytest.approx(1, abs=1e-14)
        assert np.count_nonzero(weights) <= max(1, 0.6 * len(weights))
        probes = np.random.default_rng(degree).normal(size=(5, 3))
        probes /= np.linalg.norm(probes, axis=1, keepdims=True)
        cosines = np.clip(probes @ rule.points.T, -1, 1)
        for order in range(1, coarse + 1):
            assert abs(eval_legendre(order, cosines) @ weights).max() < 1e-11


def test_rotations_are_those_of_the_angles():
    for rule in (quadrature(5, "lebedev"), quadrature(4, "gauss")):
        angles = np.broadcast_arrays(
            rule.alpha[:, None], rule.beta[:, None], rule.gamma
        )
        flat = np.stack(angles, -1).reshape(-1, 3)
        exact = Rotation.from_euler("ZYZ", flat).as_matrix()
        np.testing.assert_allclose(rule.rotations, exact, atol=1e-15)
        assert len(rule.rotations) == len(rule.weights) == rule.num_rotations
        assert rule.weights.sum() == pytest.approx(1, abs=1e-14)
        np.testing.assert_allclose(
            rule.rotations[:: rule.in_plane, :, 2], rule.points, atol=1e-15
        )


def test_the_even_degrees_share_the_next_sphere_rule():
    even, odd = quadrature(8, "lebedev"), quadrature(9, "lebedev")
    np.testing.assert_array_equal(even.points, odd.points)
    assert (even.in_plane, odd.in_plane) == (9, 10)
    assert even.degree == 8


@pytest.mark.parametrize("degree", [*range(66), 77, 90, 131, 132])
def test_default_rules_have_positive_weights_and_the_fewest_nodes(degree):
    rule = quadrature(degree)
    assert rule.degree == degree
    assert rule.sphere_weights.min() > 0
    for kind, of_degree in RULES.items():
        try:
            other = of_degree(degree)
        except GridError:
            assert kind != "gauss"
            continue
        # Below degree 2 Gauss's one or two nodes leave nothing to nest a rule in.
        if other.sphere_weights.min() > 0 and degree > 1:
            assert rule.num_rotations <= other.num_rotations


def test_rules_of_lebedev_with_negative_weights_are_asked_for_by_name():
    negative = {
        degree
        for degree in range(132)
        if quadrature(degree, "lebedev").sphere_weights.min() < 0
    }
    assert negative == {12, 13, 24, 25, 26, 27}


def test_auto_changes_to_gauss_above_131():
    assert quadrature(131).name.startswith("lebedev")
    assert quadrature(132).name.startswith("gauss")
    assert quadrature(5).num_rotations < quadrature(5, "gauss").num_rotations


def test_a_rule_given_by_hand():
    # The octahedron, without any name in the tables.
    rule = Quadrature(
        alpha=np.array([0, 0, 0, 1, 2, 3]) * np.pi / 2,
        beta=np.array([0, 2, 1, 1, 1, 1]) * np.pi / 2,
        sphere_weights=np.full(6, 1 / 6),
        in_plane=4,
        degree=3,
        name="octahedron",
    )
    entries, degrees = wigner_entries(rule, 3)
    means = rule.weights @ entries
    np.testing.assert_allclose(means[degrees > 0], 0, atol=EXACT)
