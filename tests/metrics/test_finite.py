"""Measurement over finite groups against the definitions and known answers."""

import functools

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from symjax.errors import ArgumentError, RepresentationError
from symjax.metrics import HostFunction, Output, Problem, measure
from symjax.so3 import FEATURE, MATRIX, PSEUDOSCALAR, SCALAR, VECTOR
from symjax.so3.finite_groups import FiniteGroup, finite_group

X = np.random.default_rng(0).standard_normal((5, 3))


def everything(x):
    """Exactly equivariant outputs of every kind."""
    return {
        "scalar": jnp.sum(x**2, axis=-1),
        "vector": x,
        "matrix": x[:, :, None] * x[:, None, :],
        "pseudo": jnp.linalg.det(x[:3]),
    }


KINDS = {"scalar": SCALAR, "vector": VECTOR, "matrix": MATRIX, "pseudo": PSEUDOSCALAR}


@pytest.mark.parametrize("name", ["C4", "Td", "Ih"])
def test_equivariant_functions_have_no_error(name):
    out = measure(everything, X, representations=KINDS, over=finite_group(name))
    assert out.num_elements == finite_group(name).order
    for leaf in out.values():
        assert leaf.relative_error < 1e-12
        assert sum(leaf.content.values()) == pytest.approx(1, abs=1e-10)
    np.testing.assert_allclose(out["vector"].mean, X, atol=1e-12)
    np.testing.assert_allclose(out["matrix"].mean, everything(X)["matrix"], atol=1e-12)


def test_contents_of_known_irreps():
    out = measure(everything, X, representations=KINDS, over=finite_group("Oh"))
    assert max(leaf.relative_error for leaf in out.values()) < 1e-12
    assert out["scalar"].content_of("A1g") == pytest.approx(1)
    assert out["vector"].content_of("T1u") == pytest.approx(1)
    assert out["pseudo"].content_of("A1u") == pytest.approx(1)
    # x x^T: the trace in A1g, the rest in Eg and T2g
    content = out["matrix"].content
    assert content["A1g"] == pytest.approx(
        np.sum(np.sum(X**2, 1) ** 2 / 3) / np.sum(np.sum(X**2, 1) ** 2)
    )
    assert content["A1g"] + content["Eg"] + content["T2g"] == pytest.approx(1)


def test_the_order_of_irreps_says_nothing():
    """A constant is in the trivial irrep wherever that is listed."""
    group = finite_group("C4")
    shuffled = FiniteGroup("C4", group.elements, group.irreps[::-1])
    constant = HostFunction(lambda x: np.ones(2))
    out = measure(constant, X, representations=SCALAR, over=shuffled)["output"]
    assert out.content == {"E": 0.0, "B": 0.0, "A": 1.0}


def test_an_invariant_of_the_cube_only():
    def cubic(x):
        return jnp.sum(x**4, axis=-1)

    out = measure(cubic, X, representations=SCALAR, over=finite_group("Oh"))
    assert out["output"].relative_error < 1e-12
    out = measure(cubic, X, representations=SCALAR, over=finite_group("Ih"))
    assert out["output"].relative_error > 0.05


@functools.cache
def quotients(name):
    """Index of h^-1 g, by looking for the product among the elements."""
    elements = finite_group(name).elements
    return [
        [int(np.argmin(np.abs(h.T @ g - elements).max((1, 2)))) for g in elements]
        for h in elements
    ]


@settings(max_examples=8)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["C3", "C4", "T", "O"]))
def test_against_the_definition(seed, name):
    """Sums written out over pairs of elements, for a function without symmetry."""
    generator = np.random.default_rng(seed)
    a, b = generator.standard_normal((2, 3))
    group = finite_group(name)

    def function(x):
        return np.tanh(x @ a)[:, None] * x + b

    x = generator.standard_normal((2, 3))
    out = measure(HostFunction(function), x, representations=VECTOR, over=group)[
        "output"
    ]
    u = np.array([function(x @ g.T) for g in group.elements])
    z = np.einsum("gij,gsi->gsj", group.elements, u)
    np.testing.assert_allclose(out.mean, z.mean(0), atol=1e-12)
    variance = ((z - z.mean(0)) ** 2).sum(-1).mean(0)
    np.testing.assert_allclose(out.variance, variance, atol=1e-12)
    norm = (u**2).sum(-1).mean(0)
    np.testing.assert_allclose(out.norm, norm, atol=1e-12)
    index = quotients(name)
    for irrep in group.irreps:
        projected = np.zeros_like(u)
        for i in range(group.order):
            for j in range(group.order):
                weight = irrep.real_dimension * irrep.character[index[j][i]]
                projected[i] += weight / group.order * u[j]
        expected = (projected**2).sum(-1).mean(0)
        place = out.sectors.index(irrep.name)
        np.testing.assert_allclose(out.power[:, place], expected, atol=1e-10)


def test_features_masks_and_passes():
    def function(x):
        return {"a": x, "b": jnp.tanh(x)}

    mask = np.array([True, True, False, False, True])
    group = finite_group("O")
    whole = measure(function, X, representations=FEATURE, over=group)
    split = measure(
        *(function, X), representations=FEATURE, over=group, memory=1, batch_size=4
    )
    outputs = {"a": Output(FEATURE, mask=mask), "b": Output(FEATURE)}
    masked = measure(Problem(function, X, outputs), over=group)
    for name in ("a", "b"):
        np.testing.assert_allclose(whole[name].power, split[name].power, atol=1e-12)
    expected = whole["a"].norm[mask].sum() / (3 * 3)
    assert masked["a"].root_mean_square == pytest.approx(np.sqrt(expected))
    assert whole["a"].content_of("T1") == pytest.approx(1)


def test_a_small_error_is_resolved():
    """1e-9 of the response, in float64."""

    def function(x):
        return 1.0 + 1e-9 * x[:, 0]

    leaf = measure(function, X, representations=SCALAR, over=finite_group("Oh"))[
        "output"
    ]
    expected = 1e-9 * np.sqrt(np.mean(np.sum(X**2, 1)) / 3)
    assert leaf.equivariance_error == pytest.approx(expected, rel=1e-5)


def test_agrees_with_the_integral_where_the_group_integrates_exactly():
    """I_h integrates polynomials through degree 5: V of a function of degree 2."""

    def function(x):
        return x[:, 0] * x[:, 1] + x[:, 2]

    finite = measure(function, X, representations=SCALAR, over=finite_group("Ih"))
    exact = measure(function, X, representations=SCALAR, max_degree=2)
    assert finite["output"].equivariance_error == pytest.approx(
        exact["output"].equivariance_error, rel=1e-9
    )
    assert finite["output"].content_of("Hg") == pytest.approx(
        exact["output"].content_of("2+"), rel=1e-9
    )


def test_bad_input():
    options = {"over": finite_group("O"), "representations": VECTOR}
    with pytest.raises(ArgumentError, match="over"):
        measure(lambda x: x, X, over=3, representations=VECTOR)
    with pytest.raises(ArgumentError, match="batch_size"):
        measure(lambda x: x, X, batch_size=5, **options)
    with pytest.raises(ArgumentError, match="memory"):
        measure(lambda x: x, X, memory=0, **options)
    with pytest.raises(ArgumentError, match="not finite"):
        measure(lambda x: x * jnp.inf, X, **options)
    with pytest.raises(RepresentationError):
        measure(lambda x: x[:, :2], X, **options)
    with pytest.raises(RepresentationError, match="complex"):
        measure(lambda x: x * 1j, X, **options)
    with pytest.raises(ArgumentError, match="T1"):
        measure(lambda x: x, X, **options)["output"].content_of("T1u")
    with pytest.raises(KeyError, match="measured"):
        measure(lambda x: x, X, **options)["x"]
