"""What certificates exclude, noise, and responses that are no numbers."""

import jax.numpy as jnp
import numpy as np
import pytest
from rare_jumps import AXIS, X, jump

from symjax.errors import ArgumentError
from symjax.metrics import Adaptive, Grid, HaarSamples, HostFunction, measure
from symjax.so3 import SCALAR, finite_group

REPORTED = Adaptive(1e-3, 1e-2, limit=9, on_aliasing="report")


@pytest.mark.parametrize("part", [0.002, 0.005, 0.02])
@pytest.mark.parametrize("height", [1.0, 1e-3])
def test_a_rare_jump_is_not_certified(part, height):
    leaf = measure(
        jump(part, height),
        X,
        args=(AXIS,),
        representations=SCALAR,
        max_degree=2,
        over=REPORTED,
    )["output"]
    assert not leaf.certificate.certified


def test_a_certificate_says_what_it_excludes():
    """No event in N trials: p <= 1 - 0.05^(1 / N), the rule of three."""
    for samples in (32, 600):
        over = Adaptive(1e-3, 1e-2, samples=samples)
        leaf = measure(
            lambda x: (x**2).sum(), X, representations=SCALAR, max_degree=1, over=over
        )["output"]
        assert leaf.certificate.certified
        assert leaf.certificate.confidence == 0.95
        assert leaf.certificate.excluded == pytest.approx(3 / samples, rel=0.06)


def test_noise_is_called_noise():
    """An invariant of float32 whose terms cancel: the rest is round-off."""

    def cancelling(x, shift):
        return 1e4 * jnp.sum(x**2) - shift

    x = X.astype("f")
    shift = np.float32(1e4 * np.sum(x.astype(float) ** 2) - 100.0)
    leaf = measure(
        cancelling,
        x,
        args=(shift,),
        representations=SCALAR,
        max_degree=2,
        over=REPORTED,
    )["output"]
    # One unit in the last place of 2e5 is 0.02, of a response of 100.
    assert leaf.relative_error > 30 * np.finfo("f").eps
    assert leaf.certificate.certified
    assert leaf.certificate.noise > leaf.relative_error


def not_finite_in_a_part(x):
    return x.sum() * jnp.where(x[0, 2] > 0.9 * jnp.linalg.norm(x[0]), jnp.nan, 1.0)


@pytest.mark.parametrize(
    "over",
    [Grid(5), REPORTED, HaarSamples(64), finite_group("I")],
    ids=["grid", "climb", "random", "finite"],
)
@pytest.mark.parametrize("on_host", [False, True])
def test_a_response_that_is_not_finite_is_named_with_its_element(over, on_host):
    function = not_finite_in_a_part
    if on_host:
        function = HostFunction(lambda x: np.asarray(not_finite_in_a_part(x)))
    with pytest.raises(ArgumentError, match="not finite at the element") as caught:
        measure(function, X, representations=SCALAR, max_degree=2, over=over)
    text = caught.value.problem.partition("g = ")[2].partition(" of O(3)")[0]
    element = np.array([row.split(", ") for row in text[2:-2].split("], [")], float)
    assert not np.isfinite(not_finite_in_a_part(X @ element.T))


def test_elements_of_a_turn_are_not_independent_witnesses():
    """Near the axes of a cube: eight turns of O miss a tenth of the orbit often."""
    part = 0.1

    def near_an_axis(x):
        return 10.0 + (jnp.abs(x[0]).max() / jnp.linalg.norm(x[0]) > 1 - part / 3)

    missed = []
    for seed in range(6):
        over = HaarSamples(192, "O", seed)
        leaf = measure(near_an_axis, X, representations=SCALAR, over=over)["output"]
        missed.append(leaf.equivariance_error == 0)
        assert leaf.certificate.excluded > part
    assert any(missed)
