"""Components in the conventions of e3nn and metatensor, against both libraries.

Those of e3x are compared with e3x in test_harmonics.py and test_wigner.py.
"""

import e3nn_jax
import jax
import numpy as np
import pytest

from symjax.so3 import (
    Irrep,
    degree_slice,
    from_e3nn,
    from_e3x,
    haar,
    irrep_matrix,
    spherical_harmonics,
    to_e3nn,
    to_e3x,
    wigner_d,
)

DEGREE = 4
E3NN_NAMES = {"orthonormal": "integral", "4pi": "component", "racah": "norm"}
VECTORS = np.random.default_rng(0).normal(size=(10, 3))


@pytest.mark.parametrize("normalization", E3NN_NAMES)
@pytest.mark.parametrize(("to", "back"), [(to_e3x, from_e3x), (to_e3nn, from_e3nn)])
def test_converters_are_inverse_on_any_axis(to, back, normalization):
    x = np.random.default_rng(0).normal(size=(2, 25, 3))
    there = to(x, axis=-2, normalization=normalization)
    assert there.shape == x.shape
    again = back(there, axis=1, normalization=normalization)
    np.testing.assert_allclose(again, x, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("normalization", E3NN_NAMES)
def test_harmonics_become_e3nns(normalization):
    theirs = e3nn_jax.spherical_harmonics(
        e3nn_jax.s2_irreps(DEGREE, p_val=1, p_arg=-1),
        VECTORS,
        normalize=True,
        normalization=E3NN_NAMES[normalization],
    ).array
    ours = spherical_harmonics(DEGREE, VECTORS)
    converted = to_e3nn(ours, normalization=normalization)
    np.testing.assert_allclose(converted, theirs, atol=1e-12)
    again = from_e3nn(theirs, normalization=normalization)
    np.testing.assert_allclose(again, ours, atol=1e-12)


@pytest.mark.parametrize("sigma", [1, -1])
@pytest.mark.parametrize("sign", [1, -1])
def test_turned_features_are_turned_by_e3nn(sign, sigma):
    """e3nn's matrices act on converted features as ours do on those before."""
    element = sign * np.asarray(haar(jax.random.key(1), 1))[0]
    x = np.random.default_rng(1).normal(size=(DEGREE + 1) ** 2)
    moved = np.concatenate(
        [
            irrep_matrix(Irrep(degree, sigma), element) @ x[degree_slice(degree)]
            for degree in range(DEGREE + 1)
        ]
    )
    theirs = np.concatenate(
        [
            e3nn_jax.Irrep(degree, Irrep(degree, sigma).parity).D_from_matrix(element)
            @ to_e3nn(x)[degree_slice(degree)]
            for degree in range(DEGREE + 1)
        ]
    )
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
