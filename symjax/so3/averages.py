"""What predictions are averaged over: elements of O(3) with weights."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from symjax.errors import ArgumentError
from symjax.so3.finite_groups import FiniteGroup, finite_group
from symjax.so3.quadrature import Quadrature, quadrature


class Rotations(NamedTuple):
    """Elements of O(3) with weights of sum 1, and their name in reports (``"Oh"``)."""

    name: str
    elements: Float[np.ndarray, "elements 3 3"]
    weights: Float[np.ndarray, "elements"]


def rotations_of(average: Any, include_inversion: bool) -> Rotations:
    """The elements and weights that stand for an average.

    Args:
      average: None for none; the degree of a quadrature of SO(3), or the quadrature; a
        finite group or its Schoenflies symbol; or elements with weights.
      include_inversion: Whether a quadrature of SO(3) is extended to O(3). Groups are
        taken as they are.

    Raises:
      ArgumentError: It stands for no elements.
      GridError: There is no such quadrature.
    """
    if isinstance(average, Rotations):
        return average
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
            "stands for no elements of O(3)",
            "Pass None, the degree of a quadrature, symjax.so3.quadrature(degree), a "
            "finite group or its symbol, such as 'Oh', or Rotations",
        )
    elements, weights = average.rotations, average.weights
    if include_inversion:
        elements = np.concatenate([elements, -elements])
        weights = np.concatenate([weights, weights]) / 2
    return Rotations(average.name, elements, weights)
