"""Stability of labels against counting by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from symjax.errors import ArgumentError
from symjax.metrics.consistency import label_consistency, sampled_elements
from symjax.so3.finite_groups import finite_group

X = np.random.default_rng(1).standard_normal((12, 3))


def scores(x):
    return jnp.stack([x[:, 0], x[:, 1], 0 * x[:, 2] + 0.3], axis=-1)


@pytest.mark.parametrize("batch_size", [1, 7, 24])
def test_against_counting(batch_size):
    group = finite_group("O")
    truth = np.arange(12) % 4 - 1
    mask = np.arange(12) < 10
    out = label_consistency(
        scores,
        X,
        num_classes=3,
        elements=group,
        truth=truth,
        mask=mask,
        batch_size=batch_size,
    )
    labels = np.array([np.argmax(scores(X @ g.T), -1) for g in group.elements])
    changing = np.mean([len(set(column)) > 1 for column in labels[:, mask].T])
    assert out.changing == pytest.approx(changing)
    most = np.array([np.bincount(column, minlength=3).max() for column in labels.T])
    assert out.disagreement == pytest.approx(np.mean(1 - most[mask] / 24))
    known = mask & (truth >= 0)
    right = (labels[:, known] == truth[known]).mean(1)
    assert out.accuracy == pytest.approx(right.mean())
    assert out.accuracy_range == pytest.approx((right.min(), right.max()))
    assert out.num_elements == 24


def test_invariant_scores_never_change():
    def invariant(x):
        r = jnp.linalg.norm(x, axis=-1)
        return jnp.stack([r, 1.5 - r], axis=-1)

    out = label_consistency(invariant, X, num_classes=2, elements=sampled_elements(8))
    assert out.changing == out.disagreement == 0
    assert np.isnan(out.accuracy)


def test_sampled_elements_come_in_pairs():
    elements = sampled_elements(6, seed=3)
    np.testing.assert_allclose(elements[::2], -elements[1::2])
    np.testing.assert_array_equal(elements, sampled_elements(6, seed=3))


@pytest.mark.parametrize(
    ("change", "argument"),
    [
        ({"num_classes": 2}, "function"),
        ({"elements": np.eye(3)}, "elements"),
        ({"mask": np.ones(3, bool)}, "mask"),
        ({"mask": np.zeros(12, bool)}, "mask"),
        ({"truth": np.zeros(3, int)}, "truth"),
    ],
)
def test_bad_input_is_named(change, argument):
    options = {"num_classes": 3, "elements": sampled_elements(2), **change}
    with pytest.raises(ArgumentError, match=argument):
        label_consistency(scores, X, **options)


def test_bad_number_of_elements():
    with pytest.raises(ArgumentError, match="num"):
        sampled_elements(3)
