"""Predicted labels on the orbit: how many change, and how accurate they are.

A label is a discontinuous function of the input, which no quadrature resolves. Over
O(3) elements are therefore sampled; over a finite group all of them are used.
"""

from typing import NamedTuple

import jax
import numpy as np

from symjax.errors import ArgumentError
from symjax.metrics.orbit import with_negatives
from symjax.so3._arguments import check_integer
from symjax.so3.sampling import haar


class LabelConsistency(NamedTuple):
    """Consistency of the labels of points over the orbit of their input.

    Attributes:
      changing: Fraction of points whose label is not the same at all elements.
      disagreement: Fraction of elements at which a point's label differs from its most
        frequent one, averaged over points.
      accuracy: Fraction of correct labels, averaged over elements; NaN if no true label
        is known.
      accuracy_range: Smallest and largest accuracy at one element.
      majority_accuracy: Accuracy of each point's most frequent label.
      frequencies: Fraction of each label for each point, ``(points, classes)``.
      num_elements: Number of elements.
    """

    changing: float
    disagreement: float
    accuracy: float
    accuracy_range: tuple[float, float]
    majority_accuracy: float
    frequencies: np.ndarray
    num_elements: int


def sampled_elements(num: int, seed: int = 0) -> np.ndarray:
    """Haar-random elements of O(3), each followed by its negative, ``(num, 3, 3)``.

    Raises:
      ArgumentError: ``num`` is not a positive even integer, or ``seed`` is not an
        integer of at least 0.
    """
    check_integer("num", num, 2)
    check_integer("seed", seed, 0)
    if num % 2:
        raise ArgumentError("num", num, "is not even and positive", "Pass 64")
    with jax.enable_x64(True):
        rotations = np.asarray(haar(jax.random.key(seed), num // 2))
    return with_negatives(rotations)


def summarise_labels(
    labels: np.ndarray, num_classes: int, truth: np.ndarray, mask: np.ndarray
) -> LabelConsistency:
    """Summarises the labels of points at all elements.

    Args:
      labels: Label of each point at each element, from 0 to ``num_classes - 1``,
        ``(elements, points)``.
      num_classes: Number of classes.
      truth: True labels, ``(points,)``; -1 where unknown.
      mask: Which points count, ``(points,)``.
    """
    shares = np.stack([np.mean(labels == n, axis=0) for n in range(num_classes)], -1)
    best = shares.max(axis=1)
    accuracy = majority = low = high = float("nan")
    known = mask & (truth >= 0)
    if known.any():
        right = (labels[:, known] == truth[known]).mean(axis=1)
        accuracy, low, high = (float(f(right)) for f in (np.mean, np.min, np.max))
        majority = float(np.mean(shares.argmax(axis=1)[known] == truth[known]))
    return LabelConsistency(
        float(np.mean(best[mask] < 1)),
        float(np.mean(1 - best[mask])),
        accuracy,
        (low, high),
        majority,
        shares,
        len(labels),
    )
