"""Stability of labels against counting by hand."""

import numpy as np
import pytest

from symjax.errors import ArgumentError
from symjax.metrics.consistency import sampled_elements, summarise_labels
from symjax.so3.finite_groups import finite_group


def test_against_counting():
    x = np.random.default_rng(1).standard_normal((12, 3))
    truth = np.arange(12) % 4 - 1
    mask = np.arange(12) < 10
    turned = np.array([x @ g.T for g in finite_group("O").elements])
    turned[..., 2] = 0.3
    labels = np.argmax(turned, axis=-1)
    out = summarise_labels(labels, 3, truth, mask)
    changing = np.mean([len(set(column)) > 1 for column in labels[:, mask].T])
    assert out.changing == pytest.approx(changing)
    most = np.array([np.bincount(column, minlength=3).max() for column in labels.T])
    assert out.disagreement == pytest.approx(np.mean(1 - most[mask] / 24))
    known = mask & (truth >= 0)
    right = (labels[:, known] == truth[known]).mean(1)
    assert out.accuracy == pytest.approx(right.mean())
    assert out.accuracy_range == pytest.approx((right.min(), right.max()))
    assert out.num_elements == 24


def test_labels_that_never_change():
    labels = np.tile([0, 1], (8, 1))
    out = summarise_labels(labels, 2, np.full(2, -1), np.ones(2, bool))
    assert out.changing == out.disagreement == 0
    assert np.isnan(out.accuracy)


def test_sampled_elements_come_in_pairs():
    elements = sampled_elements(6, seed=3)
    np.testing.assert_allclose(elements[::2], -elements[1::2])
    np.testing.assert_array_equal(elements, sampled_elements(6, seed=3))


def test_bad_number_of_elements():
    with pytest.raises(ArgumentError, match="num"):
        sampled_elements(3)
