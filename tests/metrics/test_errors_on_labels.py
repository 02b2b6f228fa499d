"""Errors on labels beside A: identities, units, zeros, an independent calculation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from symjax.errors import ArgumentError
from symjax.metrics import (
    Grid,
    LabelErrors,
    Output,
    Problem,
    add_label_errors,
    label_errors,
    measure,
)
from symjax.metrics.errors_on_labels import SUMS
from symjax.so3 import SCALAR, VECTOR
from symjax.so3.finite_groups import finite_group

X = np.array([[0.2, -0.5, 0.8], [1.0, 0.4, 0.1], [-0.3, 0.9, 0.6]])
LABELS = np.array([[0.3, -0.4, 0.9], [1.1, 0.2, 0.0], [-0.2, 1.0, 0.5]])
NONE = np.zeros(0, int)


def biased(x, scale=1.0):
    """Vectors that are not equivariant, of degree 3 after the rotation back."""
    bias = jnp.stack([x[:, 0] * x[:, 1], x[:, 2] ** 2, 0.1 + 0 * x[:, 0]], axis=1)
    return scale * (x + 0.3 * bias)


@pytest.fixture(scope="module")
def leaf():
    problem = Problem(biased, X, {"output": Output(VECTOR)})
    with jax.enable_x64(True):
        return measure(problem, over=Grid(9), max_degree=4)["output"]


def test_the_error_is_that_over_rotations(leaf):
    """Plain NumPy over random elements of O(3), and over those of a group."""
    found = label_errors(leaf, LABELS, NONE)
    elements = Rotation.random(20_000, random_state=0).as_matrix()
    elements[::2] *= -1
    turned = np.stack([np.asarray(biased(X @ g.T)) for g in elements[:1]])
    assert turned.shape == (1, 3, 3)
    moved = np.einsum("ai,gji->gaj", X, elements)
    x, y, z = moved[..., 0], moved[..., 1], moved[..., 2]
    bias = np.stack([x * y, z**2, 0.1 + 0 * x], axis=-1)
    responses = np.einsum("gai,gij->gaj", moved + 0.3 * bias, elements)
    errors = np.square(responses - LABELS).mean(axis=(1, 2))
    spread = errors.std() / np.sqrt(len(errors))
    assert found.error**2 == pytest.approx(errors.mean(), abs=4 * spread)
    assert found.error**2 == pytest.approx(
        found.error_of(mean=True) ** 2 + found.equivariance_error() ** 2
    )
    share = leaf.equivariance_error**2 / found.error**2
    assert found.share == pytest.approx(share)

    # and (A^2 - A_H^2) / <RMSE^2> is what averaging over H removes, exactly
    group = np.asarray(finite_group("C2").elements)
    few = elements[:4000]
    averaged = np.zeros((len(few), 3, 3))
    for h in group:
        gx = np.einsum("ai,gji->gaj", X, few)
        hx = gx @ h.T
        x, y, z = hx[..., 0], hx[..., 1], hx[..., 2]
        bias = np.stack([x * y, z**2, 0.1 + 0 * x], axis=-1)
        averaged += (hx + 0.3 * bias) @ h / len(group)
    back = np.einsum("gai,gij->gaj", averaged, few)
    after = np.square(back - LABELS).mean(axis=(1, 2))
    left = found.response.after("C2").error
    removed = found.share_of_error(left)
    assert removed == pytest.approx(1 - after.mean() / found.error**2, abs=2e-2)
    assert 0 < removed < found.share


def test_errors_of_several_structures(leaf):
    one = label_errors(leaf, LABELS, NONE)
    other = label_errors(leaf, LABELS + 0.5, NONE)
    both = add_label_errors([one, None, other])
    assert both.error**2 == pytest.approx((one.error**2 + other.error**2) / 2)
    assert both.interval() is None
    many = add_label_errors([one, other] * 10)
    low, high = many.interval()
    assert low < many.share < high
    shares = one.share, other.share
    assert min(shares) < low
    assert high < max(shares)


def test_samples_without_a_label_do_not_count(leaf):
    partial = LABELS.copy()
    partial[1, 2] = np.nan
    found = label_errors(leaf, partial, NONE)
    known = np.array([True, False, True])
    wrong = np.square(leaf.mean - LABELS)[known].sum()
    variance = leaf.totals(known).variance.sum()
    assert found.error**2 == pytest.approx((wrong + variance) / 6)
    assert found.share == pytest.approx(variance / (wrong + variance))
    assert found.response is None
    assert label_errors(leaf, np.full((3, 3), np.nan), NONE) is None
    with pytest.raises(ArgumentError, match="9 values"):
        label_errors(leaf, LABELS[:2], NONE)


@pytest.mark.parametrize(
    ("factor", "unit"),
    [
        (23.06, "kcal/mol"),
        (160.2, "GPa"),
        (10, "nm"),
        (0.53, "bohr"),
        (-1, "the opposite sign"),
        (-23.06, "kcal/mol with the opposite sign"),
        (1.3, ""),
        (3.4, ""),
    ],
)
def test_labels_in_another_unit(factor, unit):
    """Forces that are 23 times the predictions are no bad model: they are kcal/mol."""
    generator = np.random.default_rng(0)
    with jax.enable_x64(True):
        problem = Problem(biased, X, {"output": Output(VECTOR)})
        mean = measure(problem, over=Grid(9), max_degree=2)["output"]
    labels = factor * (mean.mean + 0.05 * generator.normal(size=(3, 3)))
    found = label_errors(mean, labels, NONE)
    assert found.other_unit == unit
    assert found.usable == (not unit)


def energies(labels, predictions, numbers):
    sums = np.full((len(labels), len(SUMS)), np.nan)
    for name, values in {
        "squared": (labels - predictions) ** 2,
        "variance": 0.01,
        "count": 1.0,
        "atoms": numbers.sum(1),
        "label": labels,
        "prediction": predictions,
        "label_square": labels**2,
        "prediction_square": predictions**2,
        "product": labels * predictions,
    }.items():
        sums[:, SUMS.index(name)] = values
    return LabelErrors(sums, {"1": numbers[:, 0], "8": numbers[:, 1]})


def test_energies_on_another_zero():
    """Constants of elements are fitted and said, as many as compositions tell apart."""
    generator = np.random.default_rng(1)
    numbers = generator.integers(1, 5, size=(30, 2)).astype(float)
    truth = generator.normal(size=30)
    errors = 0.1 * generator.normal(size=30)
    same = energies(truth, truth + errors, numbers)
    assert same.zero.constants == 0
    assert same.error_of(mean=True) == pytest.approx(np.sqrt(np.mean(errors**2)))
    moved = energies(truth + numbers @ [-13.6, -2000.0], truth + errors, numbers)
    assert moved.zero.constants == 2
    assert moved.usable
    # two constants take up a little of the error
    assert moved.error_of(mean=True) == pytest.approx(same.error_of(mean=True), rel=0.1)
    per_atom = errors / numbers.sum(1)
    assert same.error_of(mean=True, per_atom=True) == pytest.approx(
        np.sqrt(np.mean(per_atom**2))
    )


def test_too_few_structures_for_a_zero():
    numbers = np.array([[2.0, 1.0]])
    far = energies(np.array([-2000.0]), np.array([0.3]), numbers)
    assert far.zero.unknown
    assert not far.usable
    # as many constants as labels, or nearly: errors would vanish in the fit
    several = np.tile(numbers, (3, 1))
    three = energies(-2000.0 + np.array([0.1, 0.2, 0.4]), np.zeros(3), several)
    assert three.zero.unknown
    near = energies(np.array([0.4]), np.array([0.3]), numbers)
    assert near.usable
    assert near.error_of(mean=True) == pytest.approx(0.1)


def test_energies_in_another_unit():
    generator = np.random.default_rng(2)
    numbers = np.tile([6.0, 1.0], (20, 1))
    truth = generator.normal(size=20)
    kcal = 23.0605 * (truth + numbers @ [-13.6, -2000.0])
    assert energies(kcal, truth, numbers).other_unit == "kcal/mol"
    assert energies(truth, truth, numbers).other_unit == ""


def test_the_models_own_uncertainty(leaf):
    with jax.enable_x64(True):
        own = measure(
            Problem(lambda x: jnp.full(3, 0.2), X, {"output": Output(SCALAR)}),
            over=Grid(3),
            max_degree=1,
        )["output"]
    found = label_errors(leaf, LABELS, NONE, own)
    assert found.uncertainty == pytest.approx(0.2)
    assert label_errors(leaf, LABELS, NONE).uncertainty is None
