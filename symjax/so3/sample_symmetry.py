"""How the symmetry of an input permutes the samples of a function's outputs."""

import dataclasses
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Int

from symjax.errors import ArgumentError
from symjax.so3.point_groups import generators, group_table
from symjax.so3.rotations import check_orthogonal


@dataclasses.dataclass(frozen=True, eq=False)
class SampleSymmetry:
    """How the symmetry of an input shows in the outputs of a function.

    For every element h, u(g h)[s] = u(g)[p(s)], with u(g) = f(g x) an output and p
    a permutation of its samples (atoms, edges). :func:`~symjax.metrics.measure` checks
    this at a random orientation before it uses it.

    Attributes:
      elements: Orthogonal matrices that form a group, ``(order, 3, 3)``.
      permutations: By name of the output, p of every element: integers of shape
        ``(order, *samples)`` that index the flattened samples. An output with a single
        sample needs none.
      tolerance: Largest deviation from the relation that is accepted, relative to the
        root mean square of the output; by default 1e3 eps of its dtype, at least 1e-5.
      name: Schoenflies symbol of the group, for reports; may be empty.

    Raises:
      ArgumentError: The elements are not a group, an entry of ``permutations`` is not
        one permutation for each element, or they do not compose as the elements do.

    Example:
      >>> import jax.numpy as jnp, numpy as np
      >>> from symjax.metrics import Output, Problem, SampleSymmetry, measure
      >>> from symjax.so3 import VECTOR
      >>> x = np.array([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]])
      >>> swap = SampleSymmetry(
      ...     np.stack([np.eye(3), -np.eye(3)]), {"output": np.array([[0, 1], [1, 0]])})
      >>> f = lambda x: x + 0.1 * x**2
      >>> full, half = (
      ...     measure(Problem(f, x, {"output": Output(VECTOR)}, symmetry=symmetry),
      ...             max_degree=3)
      ...     for symmetry in (None, swap))
      >>> half.num_elements < full.num_elements
      True
      >>> error = abs(half["output"].relative_error - full["output"].relative_error)
      >>> bool(error < 1e-5)
      True
    """

    elements: Float[np.ndarray, "order 3 3"]
    permutations: Mapping[str, Int[np.ndarray, "order ..."]]
    tolerance: float | None = None
    name: str = ""

    def __post_init__(self) -> None:
        check_orthogonal(self.elements, "elements")
        elements = np.asarray(self.elements, float).reshape(-1, 3, 3)
        object.__setattr__(self, "elements", elements)
        table, chosen = group_table(elements, "elements"), generators(elements)
        if not isinstance(self.permutations, Mapping):
            raise ArgumentError(
                "permutations",
                self.permutations,
                "is not a mapping by name of the output",
                "Pass {'name of the output': permutations}",
            )
        for name, permutation in self.permutations.items():
            rows = np.asarray(permutation)
            known = rows.dtype.kind in "iu" and rows.shape[:1] == (len(elements),)
            flat = rows.reshape(len(elements), -1) if known else rows
            if not known or (np.sort(flat, axis=1) != np.arange(flat.shape[1])).any():
                raise ArgumentError(
                    f"permutations[{name!r}]",
                    rows.shape,
                    "is not one permutation of the samples for each element",
                    "Pass integers of shape (elements, *samples)",
                )
            # Of products with generators all others follow.
            for index in chosen:
                if (flat[table[:, index]] != flat[:, flat[index]]).any():
                    raise ArgumentError(
                        f"permutations[{name!r}]",
                        rows.shape,
                        "do not compose as the elements do: that of a b is not "
                        "p_a[p_b]",
                        "List them in the order of the elements",
                    )
        tolerance = self.tolerance
        number = isinstance(tolerance, int | float) and not isinstance(tolerance, bool)
        if tolerance is not None and not (number and tolerance > 0):
            raise ArgumentError(
                "tolerance", tolerance, "is not positive", "Pass for instance 1e-5"
            )

    @property
    def order(self) -> int:
        """Number of elements."""
        return len(self.elements)

    def of_leaf(self, name: str, num_samples: int) -> Int[np.ndarray, "order samples"]:
        """Permutations of the flattened samples of one output, ``(order, samples)``.

        Raises:
          ArgumentError: There are none for this output, or they have another number of
            samples.
        """
        if name not in self.permutations and num_samples == 1:
            return np.zeros((self.order, 1), int)
        if name not in self.permutations:
            raise ArgumentError(
                "symmetry.permutations",
                sorted(self.permutations),
                f"has no permutations of the {num_samples} samples of {name!r}",
                "Add them, or pass symmetry=None",
            )
        permutations = np.asarray(self.permutations[name]).reshape(self.order, -1)
        if permutations.shape[1] != num_samples:
            raise ArgumentError(
                f"symmetry.permutations[{name!r}]",
                permutations.shape,
                f"does not permute the {num_samples} samples of this output",
                f"Pass integers of shape ({self.order}, {num_samples})",
            )
        return permutations
