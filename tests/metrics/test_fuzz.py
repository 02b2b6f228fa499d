"""Random polynomials of every representation against a reference of NumPy alone.

The reference shares no code with the package: a product rule of Gauss-Legendre and
equispaced angles written here, SciPy's rotations, e3nn's matrices for its own basis,
and the closed form of the characters, summed over all pairs of elements,

    ||P_{l,sigma} u||^2 = (2l+1) sum_ij w_i w_j chi_l(R_i^-1 R_j) <a_i, a_j>,

a the even part of u under the inversion where sigma (-1)^l = 1, the odd part elsewhere.
Polynomials of degree 3 make it exact: products of them with D^l, l <= 4, have degree 7.
A few are tried always, 10,000 with ``-m slow``.
"""

import dataclasses

import e3nn_jax
import jax
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from symjax.metrics import Grid, Output, Problem, measure
from symjax.so3 import (
    FEATURE,
    MATRIX,
    PSEUDOSCALAR,
    PSEUDOVECTOR,
    SCALAR,
    VECTOR,
    direct_sum,
    spherical,
)

MAX_DEGREE = 4
RULE_DEGREE = 7


def scalar(r):
    return np.eye(1)


def pseudoscalar(r):
    return np.linalg.det(r) * np.eye(1)


def vector(r):
    return r


def pseudovector(r):
    return np.linalg.det(r) * r


def yzx(r):
    return r[np.ix_([1, 2, 0], [1, 2, 0])]


def matrix(r):
    return np.kron(r, r)


@jax.jit
def _e3nn(r):
    return e3nn_jax.Irrep("2e").D_from_matrix(r)


def e3nn_2e(r):
    with jax.enable_x64(True):
        return np.asarray(_e3nn(r))


def e3nn_2o(r):
    return np.linalg.det(r) * e3nn_2e(r)


def mixed(r):
    out = np.zeros((5, 5))
    out[0, 0], out[1:4, 1:4], out[4, 4] = 1, pseudovector(r), np.linalg.det(r)
    return out


KINDS = {
    "scalar": (SCALAR, scalar),
    "pseudoscalar": (PSEUDOSCALAR, pseudoscalar),
    "feature": (FEATURE, scalar),
    "vector": (VECTOR, vector),
    "pseudovector": (PSEUDOVECTOR, pseudovector),
    "spherical 1": (spherical(1), yzx),
    "matrix": (MATRIX, matrix),
    "2e": (spherical(2, basis="e3nn"), e3nn_2e),
    "2o": (spherical(2, -1, basis="e3nn"), e3nn_2o),
    "mixed": (direct_sum(SCALAR, PSEUDOVECTOR, PSEUDOSCALAR), mixed),
}


def polynomial(x, constant, linear, quadratic, cubic, powers):
    """Degree 3 in the coordinates, each output component with all monomials."""
    v = x.reshape(-1)
    products = (v[:, None] * v).reshape(-1)
    # Powers of linear forms span the cubic polynomials.
    flat = linear @ v + quadratic @ products + cubic @ (powers @ v) ** 3
    return (constant + flat).reshape(constant.shape)


def of_shape(kind, samples, channels):
    """A function whose compiled code all draws of one kind share."""
    representation, _ = KINDS[kind]
    if channels:
        representation = dataclasses.replace(representation, has_channels=True)
    tail = (channels,) if representation.has_channels else ()

    def function(x, constant, linear, quadratic, cubic, powers):
        flat = polynomial(x, constant.reshape(-1), linear, quadratic, cubic, powers)
        return flat.reshape(samples, *representation.shape, *tail)

    return representation, function


def rule():
    """Rotations and weights, exact for D^l through RULE_DEGREE; sum of weights 1."""
    cosines, weights = np.polynomial.legendre.leggauss(RULE_DEGREE // 2 + 1)
    angles = 2 * np.pi * np.arange(RULE_DEGREE + 1) / (RULE_DEGREE + 1)
    grid = np.meshgrid(angles, np.arccos(cosines), angles, indexing="ij")
    euler = np.stack([axis.ravel() for axis in grid], axis=1)
    each = np.broadcast_to(weights[:, None], (len(angles), len(weights), len(angles)))
    return Rotation.from_euler("ZYZ", euler).as_matrix(), each.ravel() / each.sum()


ROTATIONS, WEIGHTS = rule()
COSINES = (np.einsum("iab,jab->ij", ROTATIONS, ROTATIONS) - 1) / 2
ANGLES = np.arccos(np.clip(COSINES, -1, 1))


def character(degree):
    return 1 + 2 * sum(np.cos(m * ANGLES) for m in range(1, degree + 1))


CHARACTERS = [character(degree) for degree in range(MAX_DEGREE + 1)]
MATRICES = {
    kind: np.array([[rho(r), rho(-r)] for r in ROTATIONS])
    for kind, (_, rho) in KINDS.items()
}


def reference(kind, x, coefficients, samples, mask):
    """V, the norm, content and mean, by sums over all elements and pairs of them."""
    constant, linear, quadratic, cubic, powers = coefficients
    both = np.stack([ROTATIONS, -ROTATIONS], axis=1).reshape(-1, 3, 3)
    v = np.einsum("gij,aj->gai", both, x).reshape(len(both), -1)
    products = (v[:, :, None] * v[:, None]).reshape(len(v), -1)
    u = constant + v @ linear.T + products @ quadratic.T + (v @ powers.T) ** 3 @ cubic.T
    size = MATRICES[kind].shape[-1]
    u = u.reshape(len(ROTATIONS), 2, samples, size, -1)
    z = np.einsum("gcji,gcsjk->gcsik", MATRICES[kind], u)
    mean = np.einsum("g,gcsik->sik", WEIGHTS, z) / 2
    spread = np.einsum("g,gcsik->s", WEIGHTS, (z - mean) ** 2) / 2
    norm = np.einsum("g,gcsik->s", WEIGHTS, u**2) / 2
    real = u[:, :, mask].reshape(len(u), 2, -1)
    even, odd = (real[:, 0] + real[:, 1]) / 2, (real[:, 0] - real[:, 1]) / 2
    pairs = np.outer(WEIGHTS, WEIGHTS)
    content = np.zeros((MAX_DEGREE + 1, 2))
    for degree, chi in enumerate(CHARACTERS):
        for column, sigma in enumerate((1, -1)):
            half = even if sigma * (-1) ** degree == 1 else odd
            content[degree, column] = (2 * degree + 1) * np.sum(
                pairs * chi * (half @ half.T)
            )
    total = norm[mask].sum()
    return spread[mask].sum(), total, content / total, mean


def draw(seed):
    """A random function of a random kind with all its options."""
    random = np.random.default_rng(seed)
    kind = random.choice(list(KINDS))
    samples = int(random.choice([1, 3]))
    channels = 2 if kind == "feature" else int(random.choice([0, 2]))
    dtype = random.choice(["float32", "float64"])
    atoms = 2
    size = MATRICES[kind].shape[-1] * samples * max(channels, 1)
    sizes = random.choice([0.0, 1e-4, 1.0], size=4)
    if not sizes.any():
        sizes[0] = 1.0
    unit = 10.0 ** (random.uniform(-25, 10) if random.random() < 0.3 else 0)
    offset = random.choice([1.0, 30.0])
    shapes = [(size,), (size, 3 * atoms), (size, 9 * atoms**2), (size, 4)]
    coefficients = [
        (factor * unit * random.normal(size=shape)).astype(dtype)
        for factor, shape in zip(sizes * [offset, 1, 1, 1], shapes, strict=True)
    ]
    powers = random.normal(size=(4, 3 * atoms)).astype(dtype)
    x = random.normal(size=(atoms, 3)).astype(dtype)
    mask = np.ones(samples, bool)
    if samples > 1 and random.random() < 0.5:
        mask[-1] = False
    return kind, samples, channels, (*coefficients, powers), x, mask


def check(seed):
    kind, samples, channels, coefficients, x, mask = draw(seed)
    representation, function = of_shape(kind, samples, channels)
    problem = Problem(
        function,
        x,
        {"output": Output(representation, mask=mask)},
        args=coefficients,
    )
    leaf = measure(problem, over=Grid(9), max_degree=MAX_DEGREE)["output"]
    exact = [array.astype(float) for array in (x, *coefficients)]
    variance, norm, content, _ = reference(kind, exact[0], exact[1:], samples, mask)
    totals = leaf.totals()
    # Each response has the round-off of some tens of additions; of a variance only
    # what is not orthogonal to the variation counts, and its own square.
    epsilon = 30 * float(np.finfo(x.dtype).eps)
    assert totals.norm.sum() == pytest.approx(norm, rel=epsilon)
    admitted = 2 * epsilon * np.sqrt(variance * norm) + epsilon**2 * norm
    assert totals.variance.sum() == pytest.approx(variance, rel=1e-9, abs=admitted)
    np.testing.assert_allclose(leaf.content, content, rtol=0, atol=max(epsilon, 1e-12))
    assert leaf.convergence.resolved


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.filterwarnings("ignore:output")
def test_random_polynomials(seed):
    check(seed)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(100, 10_100, 500))
@pytest.mark.filterwarnings("ignore:output")
def test_ten_thousand_random_polynomials(first):
    failures = []
    for seed in range(first, first + 500):
        try:
            check(seed)
        except AssertionError as error:
            failures.append((seed, draw(seed)[0], str(error)[:200]))
    assert not failures
