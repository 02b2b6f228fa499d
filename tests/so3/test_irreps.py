"""Labels and products of irreps, the products against e3nn's."""

import e3nn_jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from symjax.so3 import Irrep, products
from symjax.so3.irreps import all_irreps

irreps = st.builds(Irrep, st.integers(0, 12), st.sampled_from((1, -1)))


def to_e3nn(irrep):
    return e3nn_jax.Irrep(irrep.degree, irrep.sigma * (-1) ** irrep.degree)


def from_e3nn(irrep):
    return Irrep(irrep.l, irrep.p * (-1) ** irrep.l)


@given(irrep=irreps)
def test_labels_come_back(irrep):
    assert Irrep.parse(str(irrep)) == irrep


@pytest.mark.parametrize(
    ("label", "degree", "sigma", "parity"),
    [("0+", 0, 1, 1), ("0-", 0, -1, -1), ("1+", 1, 1, -1), ("12-", 12, -1, -1)],
)
def test_labels(label, degree, sigma, parity):
    irrep = Irrep.parse(label)
    assert (irrep.degree, irrep.sigma, irrep.parity) == (degree, sigma, parity)
    assert irrep.dimension == 2 * degree + 1


@given(irrep=irreps)
def test_parity_is_e3nns(irrep):
    assert irrep.parity == to_e3nn(irrep).p
    assert irrep.dimension == to_e3nn(irrep).dim


@given(a=irreps, b=irreps)
def test_products_equal_e3nns(a, b):
    expected = [from_e3nn(irrep) for irrep in to_e3nn(a) * to_e3nn(b)]
    assert products(a, b) == expected


@given(a=irreps, b=irreps)
def test_products_keep_dimension_and_parity(a, b):
    series = products(a, b)
    assert sum(irrep.dimension for irrep in series) == a.dimension * b.dimension
    assert {irrep.parity for irrep in series} == {a.parity * b.parity}
    assert series == products(b, a)


def test_numpy_integers_become_int():
    irrep = Irrep(np.int32(2), np.int64(-1))
    assert irrep == Irrep(2, -1)
    assert hash(irrep) == hash(Irrep(2, -1))
    assert type(irrep.degree) is type(irrep.sigma) is int
    assert str(irrep) == "2-"


def test_all_irreps():
    found = all_irreps(4)
    assert len(set(found)) == len(found) == 10
    assert {str(irrep) for irrep in found} == {
        f"{d}{s}" for d in range(5) for s in "+-"
    }
    # Each degree twice, so twice the (L + 1)^2 spherical components.
    assert sum(irrep.dimension for irrep in found) == 2 * 25
