"""Weighted sets of elements of O(3) that predictions are averaged over."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from symjax.errors import ArgumentError
from symjax.so3.finite_groups import FiniteGroup, finite_group
from symjax.so3.quadratures import Quadrature, quadrature
from symjax.so3.rotations import check_orthogonal

_SUM_TOLERANCE = 1e-10


class Rotations(NamedTuple):
    """Elements of O(3) with weights of sum 1, and a name for reports (``"Oh"``)."""

    name: str
    elements: Float[np.ndarray, "elements 3 3"]
    weights: Float[np.ndarray, "elements"]


def rotations_of(average: Any, include_inversion: bool) -> Rotations:
    """The elements and weights of an average over rotations.

    Args:
      average: None for no average (the identity alone); a quadrature of SO(3) or its
        degree; a finite group or its Schoenflies symbol; or :class:`Rotations`.
      include_inversion: Whether a quadrature of SO(3) is extended to O(3). Groups and
        :class:`Rotations` are taken as they are.

    Raises:
      ArgumentError: ``average`` is none of these, or its elements are not orthogonal
        matrices with one weight each, of sum 1.
      GridError: There is no quadrature of this degree.
    """
    if isinstance(average, Rotations):
        return _checked(average)
    if average is None:
        return Rotations("none", np.eye(3)[None], np.ones(1))
    if isinstance(average, str):
        average = finite_group(average)
    if isinstance(average, FiniteGroup):
        weights = np.full(average.order, 1 / average.order)
        return Rotations(average.name, np.asarray(average.elements), weights)
    if isinstance(average, int | np.integer) and not isinstance(average, bool):
        average = quadrature(int(average))
    if not isinstance(average, Quadrature):
        raise ArgumentError(
            "average",
            average,
            "does not name elements of O(3)",
            "Pass None, the degree of a quadrature, symjax.so3.quadrature(degree), a "
            "finite group or its symbol, such as 'Oh', or Rotations",
        )
    elements, weights = average.rotations, average.weights
    if include_inversion:
        elements = np.concatenate([elements, -elements])
        weights = np.concatenate([weights, weights]) / 2
    return Rotations(average.name, elements, weights)


def _checked(average: Rotations) -> Rotations:
    elements, weights = np.asarray(average.elements), np.asarray(average.weights)
    check_orthogonal(elements, "average.elements")
    fits = elements.ndim == 3 and weights.shape == (len(elements),)
    # Written so that NaN counts as bad.
    real = weights.dtype.kind in "iuf"
    if not (fits and real and abs(weights.sum(dtype=float) - 1) <= _SUM_TOLERANCE):
        raise ArgumentError(
            "average.weights",
            weights,
            f"are not the weights of elements of shape {elements.shape}: one real "
            "number for each, of sum 1",
            "Divide them by their sum, in float64",
        )
    return average._replace(elements=elements, weights=weights)
