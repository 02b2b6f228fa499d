"""Certificates over many random functions, on the sphere and without compilation.

The response of a function of one unit vector, u(g) = f(g z), needs spherical harmonics
only: the numbers that `measure` would accumulate are formed here in NumPy, and handed
to `certify` as they are. Hundreds of functions take seconds.
"""

import functools
import types

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from scipy.special import sph_harm_y

from symjax.metrics import Adaptive, LeafMeasurement, RandomCheck
from symjax.metrics.adaptive import certify, is_within
from symjax.metrics.convergence import Evidence, judge
from symjax.so3 import FEATURE
from symjax.so3.quadratures import nested, quadrature

MAX_DEGREE = 6
SEEDS = 15
ADAPTIVE = Adaptive(limit=23)


@functools.cache
def of_points(degree, points):
    """Of the bytes of points; the same ones serve hundreds of functions."""
    x, y, z = np.frombuffer(points).reshape(-1, 3).T
    polar, azimuth = np.arccos(np.clip(z, -1, 1)), np.arctan2(y, x)
    rows = [sph_harm_y(degree, m, polar, azimuth) for m in range(degree + 1)]
    both = [*(row.imag for row in rows[:0:-1]), *(row.real for row in rows)]
    scale = [np.sqrt(4 * np.pi * (2 if m else 1)) for m in range(-degree, degree + 1)]
    return np.array(both) * np.array(scale)[:, None]


def harmonic(degree, points):
    """Real harmonics of a degree with mean square 1, (2l + 1, points)."""
    return of_points(degree, np.ascontiguousarray(points).tobytes())


def harmonics(max_degree, points):
    """Those of all degrees, one after another."""
    return [harmonic(degree, points) for degree in range(max_degree + 1)]


@functools.cache
def on_rule(degree, projected):
    rule = quadrature(degree)
    return rule, *nested(rule), harmonics(projected, rule.points)


@functools.cache
def at_random(projected, seed):
    turns = Rotation.random(ADAPTIVE.samples, random_state=seed).as_matrix()
    points = turns[:, :, 2]
    return [(p, harmonics(projected, p)) for p in (points, -points)]


def integrals(u, weights, rows):
    """Coefficients, power by degree, norm, mean and variance under some weights."""
    coefficients = [(y * weights) @ u for y in rows]
    power = np.array([np.square(c).sum() for c in coefficients])
    mean = weights @ u
    return (
        coefficients,
        power,
        weights @ np.square(u).sum(1),
        mean,
        max(weights @ np.square(u - mean).sum(1), 0.0),
    )


def measured(f, degree, seed):
    """What `measure` returns at one rung, for the single output f."""
    projected = min(12, degree // 2)
    rule, coarse_degree, coarse_weights, rows = on_rule(degree, projected)
    u = f(rule.points)
    coefficients, power, norm, mean, variance = integrals(u, rule.sphere_weights, rows)
    comparable = max(min(projected, coarse_degree - projected), 0)
    coarse = integrals(u, coarse_weights, rows[: comparable + 1])
    misfit, overlap, spread = 0.0, 0.0, 0.0
    for points, values in at_random(projected, seed):
        response = f(points)
        predicted = sum(y.T @ c for y, c in zip(values, coefficients, strict=True))
        missed = response - predicted
        misfit += np.square(missed).sum(1) / 2 / norm
        overlap += (predicted * missed).sum(1) / norm
        spread += np.square(response - mean).sum(1) / 2 / max(variance, 1e-30 * norm)

    def error(values):
        return float(values.std(ddof=1)) / np.sqrt(len(values))

    def sectors(power, norm):
        return np.stack([power, np.zeros_like(power)], axis=1) / norm

    missing = 1 - power.sum() / norm
    check = RandomCheck(
        len(misfit),
        misfit.mean(),
        error(misfit),
        misfit.mean() - missing,
        error(misfit),
        overlap.mean(),
        error(overlap),
        spread.mean() - 1,
        error(spread),
        2.2e-16,
    )
    evidence = Evidence(
        content=sectors(power, norm),
        coarse_content=sectors(coarse[1], norm),
        error=np.sqrt(variance),
        coarse_error=np.sqrt(coarse[4]),
        variance=variance,
        noise=1e-12 * norm,
        excess=check.excess,
        excess_error=check.excess_error,
        error_uncertainty=0.0,
        degree=degree,
    )
    verdict = judge(evidence, ADAPTIVE.content_tolerance)
    return LeafMeasurement(
        "f",
        FEATURE,
        mean,
        np.array([variance]),
        np.array([norm]),
        sectors(power, norm)[None] * norm,
        np.array(True),
        u.shape[1],
        2**-52,
        verdict,
        check=check,
    )


@functools.cache
def reference_rule():
    rule = quadrature(59)
    return rule, harmonics(MAX_DEGREE, rule.points)


def reference(f):
    rule, rows = reference_rule()
    u = f(rule.points)
    _, power, norm, _, variance = integrals(u, rule.sphere_weights, rows)
    return types.SimpleNamespace(
        content=power / norm, error=np.sqrt(variance / u.shape[1])
    )


def exponential(rng):
    a = rng.normal(size=(3, 4)) * rng.uniform(0.05, 1.5)
    return lambda n: np.exp(n @ a)


def sum_of_exponentials(rng):
    a, c = rng.normal(size=(3, 6)) * rng.uniform(0.05, 2), rng.normal(size=(6, 1))
    return lambda n: np.exp(n @ a) @ c


def nearly_invariant(rng):
    a, size = rng.normal(size=(3, 3)) * rng.uniform(0.3, 2), 10 ** rng.uniform(-5, -1)
    return lambda n: 1 + size * np.exp(n @ a)


def saturating(rng):
    a, b = rng.normal(size=(3, 4)) * rng.uniform(0.3, 3), rng.normal(size=4)
    return lambda n: np.tanh(n @ a + b)


def signed_band(rng):
    top, decay = int(rng.integers(3, 13)), rng.uniform(0.02, 0.95)
    c = [rng.normal(size=(2 * d + 1, 2)) * decay**d for d in range(top + 1)]
    return lambda n: sum(
        y.T @ part for y, part in zip(harmonics(top, n), c, strict=True)
    )


def one_high_degree(rng):
    """A low sector and one high one, of energy from 1e-6 to 1."""
    low, high = int(rng.integers(0, 3)), int(rng.integers(4, 20))
    a, b = rng.normal(size=(2 * low + 1, 1)), rng.normal(size=(2 * high + 1, 1))
    a /= np.linalg.norm(a)
    b *= 10 ** rng.uniform(-3, 0) / np.linalg.norm(b)

    def f(n):
        return harmonic(low, n).T @ a + harmonic(high, n).T @ b

    return f


def folding(rng):
    """High content made to fold coherently onto a low sector of one of the rules."""
    degree = int(rng.choice([7, 9, 11]))
    high, low = int(rng.integers(degree // 2 + 1, 2 * degree)), int(rng.integers(1, 3))
    rule = quadrature(degree)
    a = rng.normal(size=(2 * low + 1, 1))
    a /= np.linalg.norm(a)
    low_part = harmonic(low, rule.points).T @ a
    b = (harmonic(high, rule.points) * rule.sphere_weights) @ low_part
    if np.linalg.norm(b) < 1e-9:
        b = rng.normal(size=b.shape)
    b *= 10 ** rng.uniform(-2.5, -0.3) / np.linalg.norm(b)

    def f(n):
        return harmonic(low, n).T @ a + harmonic(high, n).T @ b + 0.7

    return f


FAMILIES = {
    # Functions, and the share of them that must be certified within the limit.
    exponential: 1.0,
    sum_of_exponentials: 0.9,
    nearly_invariant: 0.9,
    saturating: 0.5,
    signed_band: 0.5,
    one_high_degree: 0.2,
    folding: 0.3,
}


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__)
def test_certified_numbers_are_within_the_tolerances(family):
    certified = 0
    for seed in range(SEEDS):
        f = family(np.random.default_rng(seed))
        leaves, draw = [], 1000 * (seed % 3)
        for degree in ADAPTIVE.ladder:
            leaves.append(measured(f, degree, draw))
            certificate = certify(ADAPTIVE, leaves[-3:], degree, MAX_DEGREE)
            if certificate.certified:
                break
            draw += is_within(ADAPTIVE, certificate)
        if not certificate.certified:
            assert certificate.reason
            continue
        certified += 1
        wanted, leaf = reference(f), leaves[-1]
        content = np.zeros(MAX_DEGREE + 1)
        known = leaf.content.sum(axis=1)[: MAX_DEGREE + 1]
        content[: len(known)] = known
        where = f"seed {seed}: {certificate}"
        assert np.abs(content - wanted.content).max() <= 1e-3, where
        assert abs(leaf.equivariance_error / wanted.error - 1) <= 1e-2, where
    assert certified >= FAMILIES[family] * SEEDS
