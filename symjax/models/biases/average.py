"""Averages of a function over group elements, which make it equivariant.

The average over elements g_k with weights w_k, sum_k w_k = 1, is
F(x) = sum_k w_k rho(g_k)^-1 f(g_k x). Over a finite group, F is equivariant under that
group. Over a quadrature of degree L it is the Haar average over O(3), exact if the
response of f has no content above L (Domina et al., arXiv:2603.24638). Frames are
elements that depend on the input, with g_k(g x) = g_k(x) g^-1: they make F equivariant
under all of O(3) with any number of elements (Puny et al., arXiv:2110.03336), and
suitable weights make it continuous (Pozdnyakov and Ceriotti, arXiv:2305.19302; Dym et
al., arXiv:2402.16077).
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from symjax.errors import ArgumentError, ModelError, SymjaxError
from symjax.so3.action import act_tree
from symjax.so3.finite_groups import finite_group
from symjax.so3.quadratures import quadrature
from symjax.so3.representations import VECTOR
from symjax.so3.rotations import check_orthogonal

# Elements evaluated at once; larger batches no longer fit into the cache.
BATCH = 16

# Largest deviation of the sum of weights from 1.
_ROUND_OFF = 1e-5


def batch_size(number: int, largest: int = BATCH) -> int:
    """Size of as few batches as possible, alike if there are sizes that divide.

    ``jax.lax.map`` compiles the function once more for a last batch of another size.
    """
    return -(-number // -(-number // largest))


@dataclasses.dataclass(frozen=True)
class Average:
    """What a prediction is averaged over.

    Attributes:
      kind: ``"group"`` (a finite group), ``"haar"`` (a quadrature over O(3)) or
        ``"frames"`` (frames of the input).
      group: Name of the finite group.
      number: Degree of the quadrature, or number of frames.

    Example:
      >>> from symjax.models.biases import Average
      >>> Average.parse("haar 5").number, Average.parse("Oh").fixed()[0].shape
      (5, (48, 3, 3))
    """

    kind: str
    group: str = ""
    number: int = 0

    @classmethod
    def parse(cls, text: str) -> "Average":
        """Reads ``"haar DEGREE"``, ``"frames NUMBER"``, or the name of a finite group.

        Raises:
          ModelError: It is none of these.
        """
        words = text.split() if isinstance(text, str) else []
        if len(words) == 2 and words[0] in ("haar", "frames") and words[1].isdecimal():
            if int(words[1]) > 0:
                return cls(words[0], number=int(words[1]))
        elif len(words) == 1:
            try:
                finite_group(words[0])
                return cls("group", words[0])
            except SymjaxError:
                pass
        raise ModelError(
            "average",
            text,
            "is not a finite group, a quadrature or a number of frames",
            "Use for instance 'O', 'Oh', 'haar 5' or 'frames 16'",
        )

    def fixed(self) -> tuple[np.ndarray, np.ndarray]:
        """Elements of a finite group or quadrature, and their weights.

        Returns:
          Elements of O(3), ``(elements, 3, 3)``, with the identity first for a finite
          group, and weights ``(elements,)``, whose sum is 1.

        Raises:
          ModelError: The average is over frames, which depend on the input.
        """
        if self.kind == "group":
            elements = finite_group(self.group).elements
            order = np.argsort(-np.trace(elements, axis1=1, axis2=2), kind="stable")
            return elements[order], np.full(len(elements), 1 / len(elements))
        if self.kind == "haar":
            rule = quadrature(self.number)
            elements, weights = np.asarray(rule.rotations), np.asarray(rule.weights)
            both = np.concatenate([elements, -elements])
            return both, np.tile(weights, 2) / 2 / weights.sum()
        raise ModelError("average", self, "depends on the input", "Use weighted_frames")


def averaged(
    function: Callable[..., Any],
    representations: Any,
    elements: Float[Array | np.ndarray, "elements 3 3"],
    weights: Float[Array | np.ndarray, "elements"],
    *,
    action: Any = VECTOR,
    batch: int = BATCH,
) -> Callable[..., Any]:
    """The average of a function over group elements.

    F(x) = sum_k w_k rho(g_k)^-1 f(g_k x). Reverse-mode derivatives recompute the
    function batch by batch, so that their memory does not grow with the number of
    elements.

    Args:
      function: ``function(x, *args)``, which returns a pytree of arrays.
      representations: Representations rho of the outputs; a tree prefix of them.
      elements: Elements of O(3), ``(elements, 3, 3)``.
      weights: Weights of the elements, ``(elements,)``; their sum is 1.
      action: The representation, or a pytree of representations, by which ``x``
        transforms.
      batch: Largest number of elements evaluated at once.

    Returns:
      A function of the same arguments.

    Raises:
      ArgumentError: ``elements`` are not orthogonal matrices, or ``weights`` are not as
        many numbers whose sum is 1.

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.models.biases import Average, averaged
      >>> from symjax.so3 import VECTOR
      >>> skewed = lambda x: x + 0.1 * x**2
      >>> exact = averaged(skewed, VECTOR, *Average.parse("Oh").fixed())
      >>> print(exact(jnp.array([1.0, 2.0, 3.0])).round(4))
      [1. 2. 3.]
    """
    check_orthogonal(elements, "elements")
    total = float(np.sum(weights))
    if np.shape(weights) != (len(elements),) or not abs(total - 1) < _ROUND_OFF:
        raise ArgumentError(
            "weights",
            (np.shape(weights), total),
            f"are not {len(elements)} numbers whose sum is 1",
            "Pass one weight for each element, divided by their sum",
        )
    elements, weights = jnp.asarray(elements), jnp.asarray(weights)

    def mean(x: Any, *args: Any) -> Any:
        dtype = jnp.result_type(*jax.tree.leaves(x))

        @jax.checkpoint
        def term(element: Array, weight: Array) -> Any:
            rotated = act_tree(action, element, x)
            back = act_tree(representations, element.T, function(rotated, *args))
            return jax.tree.map(lambda leaf: weight * leaf, back)

        terms = jax.lax.map(
            lambda pair: term(*pair),
            (elements.astype(dtype), weights.astype(dtype)),
            batch_size=batch_size(len(elements), batch),
        )
        return jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), terms)

    return mean
