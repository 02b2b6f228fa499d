"""Averages over elements that are the same for every input: exact for a group."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symjax.errors import ArgumentError, ModelError
from symjax.models.biases import Average, averaged
from symjax.models.biases.average import batch_size
from symjax.so3 import SCALAR, VECTOR


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True):
        yield


def skewed(x):
    """Not equivariant: a scalar and a vector with content to degree 4."""
    return {"scalar": x[0] ** 4 + x[1] ** 2 + x[2], "vector": x + x[0] * x**2}


REPRESENTATIONS = {"scalar": SCALAR, "vector": VECTOR}


def test_over_all_rotations_in_closed_form():
    """Means of x^4, x^2 and x over directions are r^4/5, r^2/3 and 0.

    x_0 x_i^2 averaged as a vector: the mean of R^T (R x)_0 (R x)_i^2 e_i is
    x times mean(c_0 c_i^2 a_i) with unit vectors a, c as columns of R; only i = 0
    survives the inversion of single axes: mean(c_0^4) = 1/5.
    """
    rule = Average.parse("haar 8").fixed()
    mean = jax.jit(averaged(skewed, REPRESENTATIONS, *rule))
    x = np.array([0.3, -1.2, 0.8])
    found, square = mean(x), np.sum(x**2)
    np.testing.assert_allclose(found["scalar"], square**2 / 5 + square / 3)
    others = jax.jit(averaged(lambda x: x[0] * x**2, VECTOR, *rule))(x)
    np.testing.assert_allclose(others, x * np.dot(others, x) / square)


@pytest.mark.parametrize(
    ("number", "largest", "size"), [(1, 16, 1), (24, 16, 12), (48, 16, 16), (17, 16, 9)]
)
def test_batches_are_alike(number, largest, size):
    assert batch_size(number, largest) == size


def test_over_a_finite_group_it_commutes_with_that_group():
    elements, weights = Average.parse("Oh").fixed()
    mean = jax.jit(averaged(skewed, REPRESENTATIONS, elements, weights, batch=7))
    x = np.array([0.3, -1.2, 0.8])
    plain, turned = mean(x), mean(elements[17] @ x)
    np.testing.assert_allclose(turned["scalar"], plain["scalar"], atol=1e-13)
    wanted = elements[17] @ plain["vector"]
    np.testing.assert_allclose(turned["vector"], wanted, atol=1e-13)
    np.testing.assert_allclose(elements[0], np.eye(3))


def test_derivatives_are_those_of_the_mean():
    elements, weights = Average.parse("O").fixed()
    mean = averaged(lambda x: x[0] ** 4 + x[1], SCALAR, elements, weights)

    def plain(x):
        return sum(
            w * ((g @ x)[0] ** 4 + (g @ x)[1])
            for g, w in zip(jnp.asarray(elements), weights, strict=True)
        )

    x = np.array([0.3, -1.2, 0.8])
    slopes = [jax.jit(jax.grad(function))(x) for function in (mean, plain)]
    np.testing.assert_allclose(*slopes, atol=1e-13)


@pytest.mark.parametrize("text", ["", "haar", "haar 0", "frames x", "Q", "O O", 3])
def test_impossible_ones_are_refused(text):
    with pytest.raises(ModelError, match="average="):
        Average.parse(text)


@pytest.mark.parametrize("case", ["elements", "weights", "number of weights"])
def test_what_is_no_average_is_refused(case):
    """It would return numbers that are equivariant, and wrong by a factor."""
    elements, weights = Average.parse("O").fixed()
    if case == "elements":
        elements = 1.01 * elements
    weights = {"weights": 2 * weights, "number of weights": [1.0]}.get(case, weights)
    with pytest.raises(ArgumentError) as caught:
        averaged(skewed, REPRESENTATIONS, elements, weights)
    assert case.endswith(caught.value.argument.partition("[")[0])


def test_frames_are_not_fixed():
    with pytest.raises(ModelError, match="weighted_frames"):
        Average.parse("frames 4").fixed()
