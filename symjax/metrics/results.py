"""What a measurement returns: moments and spectra per leaf, and their summaries.

Definitions (design of symjax, section 1):

- V, the variance: the Haar average of ||z - mean||^2, summed over components;
- A = sqrt(sum V / number of components), the equivariance error, comparable with
  an element-wise RMSE and in the unit of the output;
- relative error = sqrt(sum V / sum ||z||^2), in [0, 1];
- B_{l,sigma} = sum ||P_{l,sigma} u||^2 / sum ||u||^2, the fraction of symmetry
  content, which sums to 1 over all sectors (Parseval).

Sums run over the selected samples, so summaries of several structures add up:
totals are what batch jobs store and merge.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from symjax.errors import ArgumentError
from symjax.metrics.arguments import as_mask
from symjax.metrics.response_spectrum import ResponseSpectrum
from symjax.metrics.turn_averages import SampledResponse
from symjax.metrics.verdicts import Certificate, Convergence, RandomCheck
from symjax.so3.irreps import Irrep
from symjax.so3.representations import Representation, from_spherical


class Totals(NamedTuple):
    """Additive sums over samples, from which every reported ratio follows.

    Attributes:
      variance: Sum of V for each irrep of the representation, shape ``(irreps,)``.
      norm: Sum of the averaged ||z||^2, shape ``(irreps,)``.
      power: Sum of ||P_{l,sigma} u||^2, shape ``(irreps, degrees, 2)``; the last
        axis is sigma = +1, -1.
      count: Number of components behind each irrep, shape ``(irreps,)``.

    Example:
      >>> import numpy as np
      >>> from symjax.metrics import Totals
      >>> power = np.array([[[0.0, 0.0], [4.0, 0.0]]])
      >>> totals = Totals(np.array([1.0]), np.array([4.0]), power, np.array([3.0]))
      >>> totals.relative_error, totals.remainder
      (0.5, 0.0)
    """

    variance: np.ndarray
    norm: np.ndarray
    power: np.ndarray
    # Hides tuple.count, which nobody calls on totals.
    count: np.ndarray  # type: ignore[assignment]

    @property
    def equivariance_error(self) -> float:
        """A = sqrt(sum V / number of components), in the unit of the output."""
        count = float(self.count.sum())
        return math.sqrt(max(float(self.variance.sum()), 0.0) / count) if count else 0.0

    @property
    def relative_error(self) -> float:
        """sqrt(sum V / sum ||z||^2); 0 for a response that vanishes."""
        norm = float(self.norm.sum())
        ratio = max(float(self.variance.sum()), 0.0) / norm if norm > 0 else 0.0
        return math.sqrt(ratio)

    @property
    def root_mean_square(self) -> float:
        """Root-mean-square component of the response over the orbit."""
        count = float(self.count.sum())
        return math.sqrt(float(self.norm.sum()) / count) if count else 0.0

    @property
    def content(self) -> np.ndarray:
        """B_{l,sigma}, shape ``(degrees, 2)``; zeros for a vanishing response."""
        norm = float(self.norm.sum())
        power = self.power.sum(axis=0)
        return power / norm if norm > 0 else np.zeros_like(power)

    @property
    def remainder(self) -> float:
        """1 - sum of B up to the largest degree: the content above it."""
        return 1.0 - float(self.content.sum()) if self.norm.sum() > 0 else 0.0


def add_totals(parts: Iterable[Totals]) -> Totals:
    """Adds totals of several structures or of several leaves of one kind.

    Args:
      parts: Totals of the same representation and largest degree.

    Returns:
      Their sum.

    Raises:
      ArgumentError: There is none, or their shapes differ.

    Example:
      >>> import numpy as np
      >>> from symjax.metrics import Totals, add_totals
      >>> one = Totals(np.ones(1), 4 * np.ones(1), np.ones((1, 2, 2)), np.ones(1))
      >>> add_totals([one, one]).relative_error
      0.5
    """
    parts = list(parts)
    shapes = {tuple(array.shape for array in part) for part in parts}
    if len(shapes) != 1:
        raise ArgumentError(
            "parts",
            sorted(shapes),
            "totals can be added only if there is one at least and all have one shape",
            "Measure all structures with the same model, outputs and max_degree",
        )
    return Totals(*(np.sum(arrays, axis=0) for arrays in zip(*parts, strict=True)))


class RuleTotals(NamedTuple):
    """The totals of a leaf under one rule: a point of its convergence curve.

    Attributes:
      degree: Degree through which the rule is exact.
      num_elements: Number of elements of O(3) at which the function was evaluated
        for it.
      totals: The totals. Under a coarser rule, ``power`` has the degrees that it
        resolves: through half its degree for outputs, at least l = 0 for layers.

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.metrics import Grid, measure
      >>> from symjax.so3 import VECTOR
      >>> f = lambda x: x[0] ** 3
      >>> result = measure(f, jnp.eye(3), representations=VECTOR, over=Grid(15))
      >>> [(point.degree, round(point.totals.equivariance_error, 3))
      ...  for point in result.curve("output")]
      [(3, 0.144), (5, 0.137), (7, 0.151), (15, 0.151)]
    """

    degree: int
    num_elements: int
    totals: Totals


class OfTotals:
    """Figures of a leaf that follow from its totals, over all real samples."""

    totals: Callable[[], Totals]

    @property
    def equivariance_error(self) -> float:
        """A = sqrt(sum V / number of components), in the unit of the output."""
        return self.totals().equivariance_error

    @property
    def relative_error(self) -> float:
        """sqrt(sum V / sum ||z||^2); 0 for a response that vanishes."""
        return self.totals().relative_error

    @property
    def root_mean_square(self) -> float:
        """Root-mean-square component of the response over the orbit."""
        return self.totals().root_mean_square


@dataclasses.dataclass(frozen=True)
class LeafMeasurement(OfTotals):
    """The measurement of one output, or of one layer's features.

    Arrays are NumPy float64; ``samples`` stands for the leading axes of the output.

    Attributes:
      name: Name of the output.
      representation: The representation that was assumed for it.
      mean: The exactly equivariant part, of the shape of the output.
      variance: V for each irrep of the representation, ``(*samples, irreps)``.
      norm: Haar average of ||z||^2 for each irrep, ``(*samples, irreps)``.
      power: ||P_{l,sigma} u||^2, ``(*samples, irreps, degrees, 2)``.
      mask: Which samples are real, ``samples``.
      channels: Number of channels of the output (1 without).
      epsilon: Relative round-off of the response, in the type that the function
        returns.
      convergence: Verdict on the integration; of random elements, on their number.
      standard_errors: For random elements, standard errors of the totals.
      certificate: For adaptive rules and random elements, the accuracy reached.
      check: What random elements off the grid say; None for a response that vanishes
        and for random elements.
      coarser: Totals under coarser rules, the coarsest first: those nested in the
        grid, or those that were climbed before; empty for random elements.
      response: Second moments of the rotated-back response, which tell A after any
        average; of random elements, A after the averages that they tell; None for
        layers.

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.metrics import measure
      >>> from symjax.so3 import VECTOR
      >>> x = jnp.eye(3)
      >>> result = measure(lambda x: x, x, representations=VECTOR, max_degree=1)
      >>> leaf = result["output"]
      >>> leaf.variance.shape, leaf.power.shape  # samples, irreps, degrees, sigma
      ((3, 1), (3, 1, 2, 2))
      >>> round(leaf.content_of("1+"), 5)
      1.0
    """

    name: str
    representation: Representation
    mean: np.ndarray
    variance: np.ndarray
    norm: np.ndarray
    power: np.ndarray
    mask: np.ndarray
    channels: int
    epsilon: float
    convergence: Convergence | None = None
    standard_errors: Totals | None = None
    certificate: Certificate | None = None
    check: RandomCheck | None = None
    coarser: tuple[RuleTotals, ...] = ()
    response: ResponseSpectrum | SampledResponse | None = None

    def totals(self, select: np.ndarray | None = None) -> Totals:
        """Sums over the real samples, or over those that ``select`` picks.

        Args:
          select: Boolean array that broadcasts against the sample axes; for
            instance ``atoms.numbers == 6`` for one species.

        Returns:
          The additive sums.

        Raises:
          ArgumentError: ``select`` is not boolean, or does not fit.
        """
        mask = self.mask
        if select is not None:
            mask = mask & as_mask("select", select, mask.shape)
        count = [irrep.dimension for irrep in self.representation.irreps]
        return Totals(
            self.variance[mask].sum(axis=0),
            self.norm[mask].sum(axis=0),
            self.power[mask].sum(axis=0),
            np.array(count, float) * int(mask.sum()) * self.channels,
        )

    @property
    def content(self) -> np.ndarray:
        """B_{l,sigma} over all real samples, shape ``(degrees, 2)``."""
        return self.totals().content

    @property
    def remainder(self) -> float:
        """Content above the largest projected degree."""
        return self.totals().remainder

    @property
    def hint(self) -> str:
        """What a result looks like that is no property of the function; often empty.

        Components of another basis than stated have their whole content in the
        expected sector, and do not turn as it does: B is 1 there, and so is A.
        """
        totals = self.totals()
        for number, irrep in enumerate(self.representation.irreps):
            norm = float(totals.norm[number])
            if irrep.degree == 0 or irrep.degree >= totals.power.shape[1] or norm <= 0:
                continue
            sector = totals.power[number, irrep.degree, 0 if irrep.sigma == 1 else 1]
            if sector > 0.999 * norm and totals.variance[number] > 0.25 * norm:
                return (
                    f"B is {sector / norm:.4f} in {irrep}, where {self.name!r} should "
                    "have its content, and yet its components do not turn as stated: "
                    f"another basis than that of {self.representation.name!r}? (see "
                    "basis= of Representation and spherical), or a fixed frame"
                )
        return ""

    def content_of(self, irrep: Irrep | str) -> float:
        """B of one sector, for instance ``"1+"``.

        Raises:
          ArgumentError: The degree lies above those that were projected.
        """
        irrep = irrep if isinstance(irrep, Irrep) else Irrep.parse(irrep)
        content = self.content
        if irrep.degree >= len(content):
            raise ArgumentError(
                "irrep",
                str(irrep),
                f"content was projected only to degree {len(content) - 1}",
                f"Measure with max_degree={irrep.degree}",
            )
        return float(content[irrep.degree, 0 if irrep.sigma == 1 else 1])


class ByName(Mapping[str, Any]):
    """A mapping whose items are its ``leaves``; a wrong name lists the right ones."""

    leaves: dict[str, Any]

    def __getitem__(self, name: str) -> Any:
        try:
            return self.leaves[name]
        except KeyError:
            raise KeyError(f"{name!r}; measured: {', '.join(self.leaves)}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self.leaves)

    def __len__(self) -> int:
        return len(self.leaves)


@dataclasses.dataclass(frozen=True)
class Measurement(ByName, Mapping[str, LeafMeasurement]):
    """All measured leaves of a function, by name, and how they were integrated.

    Attributes:
      leaves: Measurement of each output, by name.
      grid: Name of the rule or of the sampling.
      degree: Degree to which the rule is exact; None for random elements.
      num_elements: Number of elements of O(3) at which the function was evaluated.
      max_degree: Largest projected degree.

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.metrics import measure
      >>> from symjax.so3 import VECTOR
      >>> x = jnp.eye(3)
      >>> result = measure(lambda x: x, x, representations=VECTOR, max_degree=1)
      >>> list(result), result.grid, result.resolved
      (['output'], 'lebedev 3 x 4', True)
    """

    leaves: dict[str, LeafMeasurement]
    grid: str
    degree: int | None
    num_elements: int
    max_degree: int

    def curve(self, name: str) -> tuple[RuleTotals, ...]:
        """How the figures of a leaf converge with the degree of the rule.

        Its totals under coarser rules, the coarsest first, and last those that are
        reported; none for random elements.

        Example:
          >>> import jax.numpy as jnp
          >>> from symjax.metrics import measure
          >>> from symjax.so3 import VECTOR
          >>> result = measure(lambda x: x, jnp.eye(3), representations=VECTOR)
          >>> [point.num_elements for point in result.curve("output")]
          [448, 1008, 2016]
        """
        leaf = self[name]
        if self.degree is None:
            return ()
        # The elements of all rules of a climb are those of this result.
        own = self.num_elements
        if leaf.certificate is not None:
            own -= sum(point.num_elements for point in leaf.coarser)
        return (*leaf.coarser, RuleTotals(self.degree, own, leaf.totals()))

    @property
    def resolved(self) -> bool:
        """Whether the grid resolved every leaf."""
        return all(
            leaf.convergence is None or leaf.convergence.resolved
            for leaf in self.leaves.values()
        )


# One program, where each of its operations would be one outside of it.
_from_spherical = jax.jit(from_spherical, static_argnums=0)


def unflatten_mean(
    representation: Representation, mean: np.ndarray, samples: tuple[int, ...]
) -> np.ndarray:
    """Mean in the shape and basis of the output, from its spherical components."""
    values = _from_spherical(representation, mean)
    return np.asarray(values).reshape(samples + values.shape[1:])
