"""Totals under coarser rules: closed forms, and the reported value at the end."""

import jax.numpy as jnp
import numpy as np
import pytest

from symjax.metrics import Adaptive, Grid, HaarSamples, Output, Problem, measure
from symjax.so3 import FEATURE, SCALAR, VECTOR, quadrature
from symjax.so3.quadratures import nested_rules

EXACT = 1e-12
X = np.array([[0.48, -0.6, 0.64]])
# u = a + b P1(n.x) + c P2(n.x) + d P3(n.x) of a unit vector x
A, B, C, D = 1.0, 0.8, 1.7, 0.9
POWER = np.array([A**2, B**2 / 3, C**2 / 5, D**2 / 7])
NORM = POWER.sum()
N = np.array([2.0, 3.0, 6.0]) / 7


def band_limited(x):
    t = x[0] @ N
    p2, p3 = (3 * t**2 - 1) / 2, (5 * t**3 - 3 * t) / 2
    return A + B * t + C * p2 + D * p3


def both(x):
    return {"output": band_limited(x), "layer": band_limited(x)[None]}


REPRESENTATIONS = {"output": SCALAR, "layer": FEATURE}


def test_rules_of_sufficient_degree_are_exact_and_coarser_ones_are_not():
    """V and the norm of degree 3 need degree 6, B(l) of it degree l + 3 too."""
    result = measure(
        both,
        X,
        representations=REPRESENTATIONS,
        max_degree=6,
        over=Grid(15),
    )
    for name in result:
        curve = result.curve(name)
        assert [point.degree for point in curve] == [3, 5, 7, 15]
        for degree, _, totals in curve:
            relative = totals.relative_error**2 - (1 - POWER[0] / NORM)
            norm = totals.norm.sum() - NORM
            if degree >= 6:
                assert abs(relative) < EXACT
                assert abs(norm) < EXACT
                expected = np.zeros_like(totals.content)
                for one in range(min(len(expected), 4)):
                    expected[one, 0] = POWER[one] / NORM
                np.testing.assert_allclose(totals.content, expected, atol=EXACT)
            else:
                assert abs(relative) > 1e-5
                assert abs(norm) > 1e-5
    degrees = [len(p.totals.content) - 1 for p in result.curve("output")]
    assert degrees == [1, 2, 3, 6]
    degrees = [len(p.totals.content) - 1 for p in result.curve("layer")]
    assert degrees == [0, 0, 1, 6]


@pytest.mark.parametrize("over", [Grid(), Grid(21), Adaptive()])
def test_the_last_point_is_what_is_reported(over):
    result = measure(both, X, representations=REPRESENTATIONS, max_degree=5, over=over)
    for name, leaf in result.items():
        *coarser, last = result.curve(name)
        assert last.degree == result.degree
        assert last.totals.equivariance_error == leaf.equivariance_error
        np.testing.assert_array_equal(last.totals.content, leaf.content)
        degrees = [point.degree for point in coarser]
        assert degrees == sorted(set(degrees))
        assert degrees[-1] < last.degree
        total = last.num_elements + sum(point.num_elements for point in coarser)
        if isinstance(over, Adaptive):
            assert total == result.num_elements
        else:
            assert last.num_elements == result.num_elements


def test_a_point_equals_a_measurement_on_that_rule():
    """The rule of degree 5 nested in that of degree 13, measured by itself."""

    def rough(x):
        return {"v": jnp.exp(x.sum() / 3) * x[0], "f": jnp.cos(2 * x @ N)}

    kinds = {"v": VECTOR, "f": FEATURE}
    x = np.random.default_rng(3).normal(size=(2, 3))
    options = {"representations": kinds}
    whole = measure(rough, x, max_degree=6, over=Grid(on_aliasing="report"), **options)
    rule = quadrature(13)
    for degree, weights in nested_rules(rule):
        kept = weights > 0
        alone = type(rule)(
            rule.alpha[kept], rule.beta[kept], weights[kept], 14, degree, "nested"
        )
        part = measure(
            rough,
            x,
            max_degree=degree // 2,
            over=Grid(alone, on_aliasing="report"),
            **options,
        )
        for name in kinds:
            (point,) = [p for p in whole.curve(name) if p.degree == degree]
            totals = part[name].totals()
            assert point.num_elements == part.num_elements
            np.testing.assert_allclose(point.totals.variance, totals.variance)
            np.testing.assert_allclose(point.totals.norm, totals.norm)
            resolved = point.totals.power.shape[1]
            np.testing.assert_allclose(
                point.totals.power, totals.power[:, :resolved], atol=EXACT
            )


def test_passes_and_masks_do_not_change_it():
    def rows(x):
        return jnp.cos(x @ jnp.asarray(np.random.default_rng(0).normal(size=(3, 8))))

    x = np.random.default_rng(1).normal(size=(9, 3))
    options = {"over": Grid(on_aliasing="report"), "max_degree": 4}
    masked = Problem(rows, x, {"output": Output(FEATURE, mask=np.arange(9) < 7)})
    one = measure(masked, **options)
    several = measure(masked, memory=390_000, batch_size=5, **options)
    real = measure(rows, x[:7], representations=FEATURE, **options)
    for other in (several, real):
        for a, b in zip(one.curve("output"), other.curve("output"), strict=True):
            assert a[:2] == b[:2]
            for left, right in zip(a.totals, b.totals, strict=True):
                np.testing.assert_allclose(left, right, rtol=1e-10, atol=EXACT)


def test_random_elements_have_no_curve():
    result = measure(
        band_limited, X, representations=SCALAR, over=HaarSamples(64, seed=1)
    )
    assert result.curve("output") == ()
