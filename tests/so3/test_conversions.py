"""Components in the conventions of e3nn and metatensor, against both libraries.

Those of e3x are compared with e3x in test_harmonics.py and test_wigner.py.
"""

import functools

import e3nn_jax
import jax
import numpy as np
import pytest

from symjax.errors import ArgumentError
from symjax.so3 import (
    Irrep,
    act,
    direct_sum,
    from_e3nn,
    from_e3x,
    haar,
    spherical,
    spherical_harmonics,
    to_e3nn,
    to_e3x,
    wigner_d,
)
from symjax.so3.harmonics import degree_slice

DEGREE = 4
E3NN_NAMES = {"orthonormal": "integral", "4pi": "component", "racah": "norm"}
VECTORS = np.random.default_rng(0).normal(size=(10, 3))


@functools.cache
def e3nns_matrix(irreps):
    """One program for all tests."""
    return jax.jit(e3nn_jax.Irreps(irreps).D_from_matrix)


@pytest.mark.parametrize("normalization", E3NN_NAMES)
@pytest.mark.parametrize(("to", "back"), [(to_e3x, from_e3x), (to_e3nn, from_e3nn)])
def test_converters_are_inverse_on_any_axis(to, back, normalization):
    x = np.random.default_rng(0).normal(size=(2, 25, 3))
    there = to(x, axis=-2, normalization=normalization)
    assert there.shape == x.shape
    again = back(there, axis=1, normalization=normalization)
    np.testing.assert_allclose(again, x, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("normalization", ["orthonormal", "racah"])
def test_harmonics_become_e3nns(normalization):
    irreps = e3nn_jax.s2_irreps(DEGREE, p_val=1, p_arg=-1)
    options = {"normalize": True, "normalization": E3NN_NAMES[normalization]}
    harmonics = functools.partial(e3nn_jax.spherical_harmonics, irreps, **options)
    theirs = jax.jit(harmonics)(VECTORS).array
    ours = spherical_harmonics(DEGREE, VECTORS)
    converted = to_e3nn(ours, normalization=normalization)
    np.testing.assert_allclose(converted, theirs, atol=1e-12)
    again = from_e3nn(theirs, normalization=normalization)
    np.testing.assert_allclose(again, ours, atol=1e-12)


@pytest.mark.parametrize(("to", "back"), [(to_e3x, from_e3x), (to_e3nn, from_e3nn)])
def test_a_single_irrep_is_its_block_of_all(to, back):
    x = np.random.default_rng(2).normal(size=(3, 25))
    whole = to(x, normalization="racah")
    for degree in (0, 2, 3):
        block = degree_slice(degree)
        options = {"degree": degree, "normalization": "racah"}
        part = to(x[:, block], **options)
        np.testing.assert_allclose(part, whole[:, block], rtol=1e-13, atol=1e-14)
        again = back(part, **options)
        np.testing.assert_allclose(again, x[:, block], rtol=1e-13, atol=1e-14)


def test_e3nns_irreps_act_as_in_e3nn():
    element = -np.asarray(haar(jax.random.key(1), 1))[0]
    irreps = e3nn_jax.Irreps("1o + 2e + 2o + 3o")
    matrix = np.asarray(e3nns_matrix(irreps)(element))
    for (_, irrep), part in zip(irreps, irreps.slices(), strict=True):
        sigma = irrep.p * (-1) ** irrep.l
        x = np.random.default_rng(4).normal(size=irrep.dim)
        ours = act(spherical(irrep.l, sigma, basis="e3nn"), element, x)
        np.testing.assert_allclose(ours, matrix[part, part] @ x, atol=1e-12)


def test_rotated_features_are_rotated_by_e3nn():
    """e3nn's matrices act on converted features as ours do on those before."""
    element = -np.asarray(haar(jax.random.key(1), 1))[0]
    x = np.random.default_rng(1).normal(size=(DEGREE + 1) ** 2)
    rotations = wigner_d(DEGREE, -element)
    parities = [Irrep(degree, 1).parity for degree in range(DEGREE + 1)]
    moved = np.concatenate(
        [
            parity * np.asarray(matrix) @ x[degree_slice(degree)]
            for degree, (parity, matrix) in enumerate(
                zip(parities, rotations, strict=True)
            )
        ]
    )
    irreps = e3nn_jax.Irreps([(1, pair) for pair in enumerate(parities)])
    theirs = np.asarray(e3nns_matrix(irreps)(element)) @ np.asarray(to_e3nn(x))
    np.testing.assert_allclose(to_e3nn(moved), theirs, atol=1e-12)


@pytest.mark.torch
def test_matrices_are_metatensors():
    torch = pytest.importorskip("torch", reason="needs the extra [torch]")
    from metatomic.torch.o3 import O3Transformations

    rotations = np.asarray(haar(jax.random.key(2), 3))
    theirs = O3Transformations(torch.tensor(rotations), DEGREE)
    for degree, ours in enumerate(wigner_d(DEGREE, rotations)):
        np.testing.assert_allclose(
            ours, theirs.wigner_D_matrices(degree).numpy(), atol=1e-12
        )


def test_irreps_one_after_another():
    """e3nn's ``2x1o+2e``, turned by its own matrices."""
    irreps = e3nn_jax.Irreps("2x1o+2e")
    x = np.random.default_rng(3).normal(size=irreps.dim)
    element = np.asarray(haar(jax.random.key(1), 1))[0]
    theirs = np.asarray(e3nns_matrix(irreps)(element)) @ x
    kind = direct_sum(spherical(1), spherical(1), spherical(2))
    degrees = (1, 1, 2)
    ours = act(kind, element, from_e3nn(x, degree=degrees))
    np.testing.assert_allclose(to_e3nn(ours, degree=degrees), theirs, atol=1e-12)
    with pytest.raises(ArgumentError, match=r"degrees \[1, 2\] have 8 components"):
        from_e3nn(x, degree=(1, 2))
