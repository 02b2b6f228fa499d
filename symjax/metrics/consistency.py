"""Labels on the orbit: how many change, and how accurate they are anywhere.

A label is a discontinuous function of the input, so no quadrature resolves it: over
O(3) elements are sampled, over a finite group all of them are used.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from symjax.errors import ArgumentError
from symjax.metrics import functions, orbit
from symjax.so3.finite_groups import FiniteGroup
from symjax.so3.representations import VECTOR
from symjax.so3.sampling import haar


class LabelConsistency(NamedTuple):
    """Labels of points over the orbit of their input.

    Attributes:
      changing: Fraction of points that do not keep one label at all elements.
      disagreement: Mean fraction of elements at which a point's label differs from
        its most frequent one.
      accuracy: Mean fraction of right labels over all elements; NaN without truth.
      accuracy_range: Smallest and largest accuracy of one element.
      majority_accuracy: Accuracy of each point's most frequent label.
      frequencies: Share of each label for each point, ``(points, classes)``.
      num_elements: Number of elements.

    Example:
      >>> from symjax.metrics.consistency import LabelConsistency
      >>> LabelConsistency._fields[0]
      'changing'
    """

    changing: float
    disagreement: float
    accuracy: float
    accuracy_range: tuple[float, float]
    majority_accuracy: float
    frequencies: np.ndarray
    num_elements: int


def sampled_elements(num: int, seed: int = 0) -> np.ndarray:
    """Haar-random elements of O(3), each with its inverted partner.

    Args:
      num: Number of elements, even.
      seed: Of the rotations.

    Returns:
      Orthogonal matrices, float64, shape ``(num, 3, 3)``.

    Raises:
      ArgumentError: ``num`` is not a positive even number.

    Example:
      >>> from symjax.metrics.consistency import sampled_elements
      >>> sampled_elements(4).shape
      (4, 3, 3)
    """
    if not isinstance(num, int) or num < 2 or num % 2:
        raise ArgumentError("num", num, "is not even and positive", "Pass 64")
    with jax.enable_x64(True):
        rotations = np.asarray(haar(jax.random.key(seed), num // 2))
    return np.stack([rotations, -rotations], axis=1).reshape(-1, 3, 3)


def label_consistency(
    function: Callable[..., Any],
    x: Any,
    *,
    num_classes: int,
    elements: "FiniteGroup | np.ndarray",
    truth: np.ndarray | None = None,
    mask: np.ndarray | None = None,
    action: Any = VECTOR,
    args: tuple[Any, ...] = (),
    batch_size: int = 1,
) -> LabelConsistency:
    """Measures how stable predicted labels are under rotations, beside accuracy.

    Args:
      function: Pure function ``f(x, *args)`` that returns scores of the classes, shape
        ``(points, classes)``; the label is the largest.
      x: Input pytree.
      num_classes: Number of classes.
      elements: A finite group, or orthogonal matrices ``(num, 3, 3)``, such as
        :func:`sampled_elements`.
      truth: True labels; -1 where unknown.
      mask: True for the points that count; all by default.
      action: How O(3) acts on ``x``.
      args: Further arguments that do not transform.
      batch_size: Elements evaluated at once.

    Returns:
      The fractions.

    Raises:
      ArgumentError: Scores, mask or truth have a wrong shape, or no point counts.

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.metrics.consistency import label_consistency
      >>> from symjax.so3.finite_groups import finite_group
      >>> score = lambda x: jnp.stack([x[:, 0], jnp.full(len(x), 0.5)], axis=-1)
      >>> x = jnp.array([[1.0, 0, 0], [0.1, 0, 0]])
      >>> out = label_consistency(score, x, num_classes=2,
      ...                         elements=finite_group("C4"))
      >>> out.changing, out.frequencies[:, 0].tolist()
      (0.5, [0.25, 0.0])
    """
    matrices = elements.elements if isinstance(elements, FiniteGroup) else elements
    matrices = np.asarray(matrices, float)
    if matrices.ndim != 3 or matrices.shape[1:] != (3, 3) or not len(matrices):
        raise ArgumentError(
            "elements", matrices.shape, "is not (num, 3, 3)", "Pass orthogonal matrices"
        )
    function, move = functions.as_function(function), functions.as_action(action)
    shapes = jax.tree.leaves(functions.output_shapes(function, move, x, args))
    if len(shapes) != 1 or shapes[0].shape[1:] != (num_classes,):
        raise ArgumentError(
            "function",
            [shape.shape for shape in shapes],
            f"does not return scores of shape (points, {num_classes})",
            "Return one array with one score for each class",
        )
    points = shapes[0].shape[0]
    mask = np.ones(points, bool) if mask is None else np.asarray(mask)
    truth = np.full(points, -1) if truth is None else np.asarray(truth)
    for name, array in (("mask", mask), ("truth", truth)):
        if array.shape != (points,):
            raise ArgumentError(
                name, array.shape, f"is not ({points},)", "Pass one entry a point"
            )
    if not mask.any():
        raise ArgumentError("mask", mask, "no point counts", "Mark some as True")
    rows = []
    for start in range(0, len(matrices), batch_size):
        chunk = matrices[start : start + batch_size]
        scores = orbit.respond(
            function, move, x, chunk, args=args, keep=(0,), batch_size=len(chunk)
        )[0]
        rows.append(np.asarray(jnp.argmax(jnp.asarray(scores), axis=-1)))
    return summarise_labels(np.concatenate(rows), num_classes, truth, mask)


def summarise_labels(
    labels: np.ndarray, num_classes: int, truth: np.ndarray, mask: np.ndarray
) -> LabelConsistency:
    """Counts labels that are known at all elements.

    Args:
      labels: Label of each point at each element, ``(elements, points)``.
      num_classes: Number of classes.
      truth: True labels, ``(points,)``; -1 where unknown.
      mask: True for the points that count.

    Returns:
      The fractions.

    Example:
      >>> import numpy as np
      >>> from symjax.metrics.consistency import summarise_labels
      >>> labels = np.array([[0, 1], [0, 0]])
      >>> out = summarise_labels(labels, 2, np.array([0, 1]), np.ones(2, bool))
      >>> out.changing, out.accuracy
      (0.5, 0.75)
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
