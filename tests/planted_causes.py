"""A network of two stages, each with a cause of errors that is known."""

import jax.numpy as jnp
import numpy as np

from symjax.metrics import Output, Problem, StagedProblem
from symjax.so3 import SCALAR, VECTOR

X = np.array([[0.2, -0.5, 0.8], [1.0, 0.4, 0.1]])


def network(weights):
    """Two stages: 3+ enters the first, 2+ the second, 0- behind both."""

    def function(x, shifts):
        a, b = x
        cubic = a[0] * a[1] * a[2] / jnp.linalg.norm(a) ** 3
        first = jnp.stack([1.0 + weights[0] * cubic, jnp.dot(a, b)])
        seen = first + shifts.get("first", 0.0)
        square = b[0] * b[1] / jnp.dot(b, b)
        second = seen.sum() + weights[1] * square + weights[3] * cubic
        moved = second + shifts.get("second", 0.0)
        odd = jnp.linalg.det(jnp.stack([a, b, jnp.array([0.0, 0.0, 1.0])]))
        y = moved + weights[2] * odd
        return {"y": y, "vector": moved * a[None]}, {"first": first, "second": second}

    outputs = {"y": Output(SCALAR, unit="eV"), "vector": Output(VECTOR)}
    problem = Problem(lambda x: function(x, {})[0], X, outputs)
    return StagedProblem(problem, (("first",), ("second",)), function)


# <(xyz)^2> and <(xy)^2> over directions.
CUBIC, SQUARE = 1 / 105, 1 / 15
