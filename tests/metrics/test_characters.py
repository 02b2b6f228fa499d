"""The content of responses that are known in closed form."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import spherical_jn

from symjax.metrics import (
    measure,
)
from symjax.so3 import (
    FEATURE,
    MATRIX,
)

# A content of exactly 0 or 1 comes out with the round-off of about 1e3 additions of
# squared float64 numbers.
EXACT = 1e-12

X = np.random.default_rng(0).normal(size=(4, 3))


def test_plane_wave_has_bessel_content():
    """exp(i k.x) = sum (2l+1) i^l j_l(kr) P_l: B_l = (2l+1) j_l(kr)^2."""
    k, x = 1.5, np.array([[0.0, 0.0, 1.2]])
    result = measure(
        lambda x: jnp.stack([jnp.cos(k * x[0, 0]), jnp.sin(k * x[0, 0])]),
        x,
        representations=FEATURE,
        max_degree=8,
    )["output"]
    degrees = np.arange(9)
    expected = (2 * degrees + 1) * spherical_jn(degrees, k * 1.2) ** 2
    np.testing.assert_allclose(result.content[:, 0], expected, atol=1e-10)
    np.testing.assert_allclose(result.content[:, 1], 0, atol=1e-12)
    assert result.remainder == pytest.approx(1 - expected.sum(), abs=1e-10)


def test_product_of_two_vectors_splits_by_clebsch_gordan():
    """a (x) b = (a.b) + a x b + traceless: norms (a.b)^2/3, |a x b|^2/2, rest."""
    a, b = X[0], X[1]
    result = measure(
        lambda x: jnp.outer(x[0], x[1]), X, representations=MATRIX, max_degree=3
    )["output"]
    norm = (a @ a) * (b @ b)
    scalar, axial = (a @ b) ** 2 / 3, np.sum(np.cross(a, b) ** 2) / 2
    content = {"0+": scalar / norm, "1-": axial / norm}
    content["2+"] = 1 - sum(content.values())
    for irrep, value in content.items():
        assert result.content_of(irrep) == pytest.approx(value, abs=EXACT)
    assert result.relative_error < 1e-7
    # block by block: each irrep of the representation has only its own sector
    for index, irrep in enumerate(MATRIX.irreps):
        power = result.power[index]
        assert power.sum() == pytest.approx(
            power[irrep.degree, 0 if irrep.sigma == 1 else 1], rel=1e-10
        )
