"""Averages of a function over group elements: exactly equivariant predictions.

The average over elements g_k with weights w_k, sum_k w_k = 1, is
F(x) = sum_k w_k rho(g_k)^-1 f(g_k x). Over a finite group it commutes with that group;
over a quadrature of degree L it is the Haar average, exactly if the response of f has
no content above L (Domina et al., arXiv:2603.24638). Elements that follow the input,
g_k(x) = g_k(g x) g, make it commute with all of O(3) at any number of elements (frames:
Puny et al., arXiv:2110.03336; with weights that make it continuous: Pozdnyakov and
Ceriotti, arXiv:2305.19302; Dym et al., arXiv:2402.16077).
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from symjax.errors import ModelError, SymjaxError
from symjax.so3.action import act_tree
from symjax.so3.finite_groups import finite_group
from symjax.so3.quadratures import quadrature
from symjax.so3.representations import VECTOR

# Elements that are evaluated together; larger batches no longer fit a cache.
BATCH = 16


@dataclasses.dataclass(frozen=True)
class Average:
    """What a prediction is averaged over.

    Attributes:
      kind: ``"group"``, ``"haar"`` or ``"frames"``.
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
            "is neither a finite group, a grid nor a number of frames",
            "Use for instance 'O', 'Oh', 'haar 5' or 'frames 16'",
        )

    def check_finite(self, argument: str) -> None:
        """Raises unless the average is one over a finite group.

        Raises:
          ModelError: It is not.
        """
        if self.kind != "group":
            raise ModelError(
                argument, self, "is not a finite group", "Use for instance 'O' or 'Oh'"
            )

    def fixed(self) -> tuple[np.ndarray, np.ndarray]:
        """Elements that do not depend on the input, and weights; the identity first.

        Raises:
          ModelError: Frames depend on the input.
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

    Derivatives recompute the function, batch by batch, so that their memory does not
    grow with the number of elements.

    Args:
      function: ``function(x, *args)``, a pytree of arrays.
      representations: Of its outputs; a pytree that is a prefix of them.
      elements: Elements of O(3).
      weights: Their weights; their sum should be 1.
      action: The representation, or a pytree of them, by which ``x`` turns.
      batch: Elements that are evaluated together.

    Returns:
      A function of the same arguments.

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.models.biases import Average, averaged
      >>> from symjax.so3 import VECTOR
      >>> skewed = lambda x: x + 0.1 * x**2
      >>> exact = averaged(skewed, VECTOR, *Average.parse("Oh").fixed())
      >>> print(exact(jnp.array([1.0, 2.0, 3.0])).round(4))
      [1. 2. 3.]
    """
    elements, weights = jnp.asarray(elements), jnp.asarray(weights)

    def mean(x: Any, *args: Any) -> Any:
        dtype = jnp.result_type(*jax.tree.leaves(x))

        @jax.checkpoint
        def one(element: Array, weight: Array) -> Any:
            turned = act_tree(action, element, x)
            back = act_tree(representations, element.T, function(turned, *args))
            return jax.tree.map(lambda leaf: weight * leaf, back)

        parts = jax.lax.map(
            lambda pair: one(*pair),
            (elements.astype(dtype), weights.astype(dtype)),
            batch_size=min(batch, len(elements)),
        )
        return jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), parts)

    return mean
