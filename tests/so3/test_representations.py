"""The action of O(3) on arrays, and its spherical form."""

import functools

import jax
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from symjax.so3 import (
    FEATURE,
    MATRIX,
    PSEUDOSCALAR,
    PSEUDOVECTOR,
    SCALAR,
    VECTOR,
    Irrep,
    act,
    direct_sum,
    from_spherical,
    spherical,
    spherical_harmonics,
    to_spherical,
)
from symjax.so3.harmonics import degree_slice
from symjax.so3.representations import spherical_matrix, spherical_matrix_table

# Matrices orthogonal to 1e-14 act on numbers of order 1 in sums of at most 9 terms.
TOLERANCE = 1e-13

ALL = [
    SCALAR,
    PSEUDOSCALAR,
    FEATURE,
    VECTOR,
    PSEUDOVECTOR,
    MATRIX,
    spherical(3),
    spherical(3, -1, channels=True),
    direct_sum(SCALAR, VECTOR, PSEUDOVECTOR, MATRIX, spherical(2, -1)),
    direct_sum(VECTOR, direct_sum(PSEUDOSCALAR, spherical(2))),
]

ELEMENTS = [
    np.eye(3),
    -np.eye(3),
    np.diag([1.0, 1.0, -1.0]),
    *Rotation.random(2, rng=np.random.default_rng(0)).as_matrix(),
    *-Rotation.random(2, rng=np.random.default_rng(1)).as_matrix(),
]

apply = jax.jit(act, static_argnums=0)
harmonics = jax.jit(functools.partial(spherical_harmonics, 4))


def example(representation, samples=(2,), seed=0):
    tail = (4,) if representation.has_channels else ()
    shape = (*samples, *representation.shape, *tail)
    return np.random.default_rng(seed).normal(size=shape)


def everything(representation):
    """Every unit vector and two random ones: one shape for all tests, compiled once."""
    tail = (4,) if representation.has_channels else ()
    units = np.eye(representation.dimension).reshape(-1, *representation.shape)
    units = units.reshape(*units.shape, *(1 for _ in tail)) * np.ones(tail)
    return np.concatenate([units, example(representation)])


def matrices_of(representation):
    return np.asarray(spherical_matrix(representation, np.stack(ELEMENTS)))


@pytest.mark.parametrize("representation", ALL, ids=str)
class TestAll:
    def test_act_is_an_orthogonal_homomorphism(self, representation):
        x = everything(representation)
        moved = [np.asarray(apply(representation, g, x)) for g in ELEMENTS]
        for g in ELEMENTS:
            for h, y in zip(ELEMENTS[1:], moved[1:], strict=True):
                np.testing.assert_allclose(
                    apply(representation, g @ h, x),
                    apply(representation, g, y),
                    atol=TOLERANCE,
                )
        assert moved[-1].shape == x.shape
        assert moved[-1].dtype == x.dtype
        np.testing.assert_allclose(np.linalg.norm(moved[-1]), np.linalg.norm(x))

    def test_the_inversion_has_the_parity_of_each_irrep(self, representation):
        matrix = matrices_of(representation)[1]
        expected = [i.parity for i in representation.irreps for _ in range(i.dimension)]
        np.testing.assert_allclose(matrix, np.diag(expected), atol=TOLERANCE)

    def test_tables_equal_the_compiled_matrices(self, representation):
        table = spherical_matrix_table(representation, np.stack(ELEMENTS))
        matrix = matrices_of(representation)
        np.testing.assert_allclose(table, matrix, atol=TOLERANCE)

    def test_to_spherical_is_orthonormal_and_inverted(self, representation):
        x = everything(representation)
        values = np.asarray(to_spherical(representation, x))
        channels = 4 if representation.has_channels else 1
        size = representation.dimension
        assert values.shape == (size + 2, size, channels)
        basis = values[:size, :, 0]
        np.testing.assert_allclose(basis @ basis.T, np.eye(size), atol=TOLERANCE)
        np.testing.assert_allclose(
            from_spherical(representation, values), x, atol=TOLERANCE
        )

    def test_spherical_components_move_with_the_spherical_matrix(self, representation):
        x = everything(representation)
        values = np.asarray(to_spherical(representation, x))
        for g, rho in zip(ELEMENTS, matrices_of(representation), strict=True):
            np.testing.assert_allclose(
                to_spherical(representation, apply(representation, g, x)),
                rho @ values,
                atol=TOLERANCE,
            )

    def test_irreps_fill_the_dimension(self, representation):
        total = sum(irrep.dimension for irrep in representation.irreps)
        assert total == representation.dimension
        assert representation.is_trivial == (representation in (SCALAR, FEATURE))


@pytest.mark.parametrize("representation", [SCALAR, VECTOR, MATRIX], ids=str)
def test_act_keeps_single_precision(representation):
    x = everything(representation).astype(np.float32)
    y = apply(representation, ELEMENTS[-1], x)
    assert y.dtype == np.float32
    epsilon = np.finfo(np.float32).eps
    np.testing.assert_allclose(np.linalg.norm(y), np.linalg.norm(x), rtol=100 * epsilon)


@pytest.mark.parametrize("g", ELEMENTS)
class TestCartesian:
    def test_vector(self, g):
        x = example(VECTOR)
        np.testing.assert_allclose(act(VECTOR, g, x), x @ g.T, atol=TOLERANCE)

    def test_pseudovector_is_a_cross_product(self, g):
        a, b = example(VECTOR), example(VECTOR, seed=1)
        np.testing.assert_allclose(
            act(PSEUDOVECTOR, g, np.cross(a, b)),
            np.cross(a @ g.T, b @ g.T),
            atol=TOLERANCE,
        )

    def test_pseudoscalar_is_a_triple_product(self, g):
        m = example(MATRIX)
        np.testing.assert_allclose(
            act(PSEUDOSCALAR, g, np.linalg.det(m)),
            np.linalg.det(m @ g.T),
            atol=TOLERANCE,
        )

    def test_matrix_turns_on_both_sides(self, g):
        m = example(MATRIX)
        np.testing.assert_allclose(act(MATRIX, g, m), g @ m @ g.T, atol=TOLERANCE)

    def test_spherical_matches_the_harmonics(self, g):
        v = example(VECTOR)
        before, after = np.asarray(harmonics(v)), np.asarray(harmonics(v @ g.T))
        for degree in (1, 2, 4):
            part = degree_slice(degree)
            np.testing.assert_allclose(
                apply(spherical(degree), g, before[..., part]),
                after[..., part],
                atol=TOLERANCE,
            )


def test_matrix_splits_into_trace_antisymmetric_and_symmetric_traceless():
    m = example(MATRIX, ())
    parts = np.asarray(to_spherical(MATRIX, m))[:, 0]
    antisymmetric = (m - m.T) / 2
    symmetric = (m + m.T) / 2 - np.trace(m) / 3 * np.eye(3)
    np.testing.assert_allclose(parts[0], np.trace(m) / np.sqrt(3), atol=TOLERANCE)
    for part, exact in ((parts[1:4], antisymmetric), (parts[4:], symmetric)):
        np.testing.assert_allclose(
            np.linalg.norm(part), np.linalg.norm(exact), atol=TOLERANCE
        )
    # Only its own block survives for a pure part.
    pure = np.asarray(to_spherical(MATRIX, antisymmetric))[:, 0]
    np.testing.assert_allclose(pure[np.r_[0, 4:9]], 0, atol=TOLERANCE)
    pure = np.asarray(to_spherical(MATRIX, symmetric))[:, 0]
    np.testing.assert_allclose(pure[:4], 0, atol=TOLERANCE)


def test_outer_product_has_the_harmonics_as_its_degree_2():
    v = example(VECTOR, ())
    parts = np.asarray(to_spherical(MATRIX, np.outer(v, v)))[4:, 0]
    exact = np.asarray(spherical_harmonics(2, v, normalization="racah"))[4:]
    # |vv - v.v/3| = sqrt(2/3) v.v, and Racah's harmonics have norm 1.
    np.testing.assert_allclose(parts, np.sqrt(2 / 3) * (v @ v) * exact, atol=TOLERANCE)


def test_direct_sum_acts_part_by_part():
    a, b, c = example(VECTOR), example(MATRIX), example(PSEUDOSCALAR)
    joint = np.concatenate([a, b.reshape(2, 9), c[:, None]], axis=-1)
    total = direct_sum(VECTOR, MATRIX, PSEUDOSCALAR)
    assert total.irreps == (*VECTOR.irreps, *MATRIX.irreps, Irrep(0, -1))
    g = ELEMENTS[-1]
    expected = np.concatenate(
        [a @ g.T, (g @ b @ g.T).reshape(2, 9), -c[:, None]], axis=-1
    )
    np.testing.assert_allclose(act(total, g, joint), expected, atol=TOLERANCE)


def test_channels_move_independently():
    x = example(spherical(2, channels=True))
    moved = np.asarray(act(spherical(2, channels=True), ELEMENTS[3], x))
    for channel in range(4):
        np.testing.assert_allclose(
            moved[..., channel],
            act(spherical(2), ELEMENTS[3], x[..., channel]),
            atol=TOLERANCE,
        )


def test_integer_input_is_not_truncated():
    turn = np.eye(3, dtype=int)[[1, 2, 0]]
    np.testing.assert_allclose(
        spherical_matrix(MATRIX, turn),
        spherical_matrix(MATRIX, turn.astype(float)),
        atol=TOLERANCE,
    )
    values = np.arange(9).reshape(3, 3)
    np.testing.assert_allclose(
        to_spherical(MATRIX, values),
        to_spherical(MATRIX, values.astype(float)),
        atol=TOLERANCE,
    )
    x = example(MATRIX)
    np.testing.assert_allclose(act(MATRIX, turn, x), turn @ x @ turn.T, atol=TOLERANCE)
