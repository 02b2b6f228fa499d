"""Results of a measurement: moments and spectra of each output, and their summaries.

Definitions:

- V, the variance: the Haar average of ||z - mean||^2, summed over components.
- A = sqrt(sum V / number of components), the equivariance error: comparable with
  an element-wise RMSE, in the unit of the output.
- Relative error = sqrt(sum V / sum ||z||^2), in [0, 1].
- B_{l,sigma} = sum ||P_{l,sigma} u||^2 / sum ||u||^2, the fraction of symmetry
  content, which sums to 1 over all sectors (Parseval).

Sums run over samples and, when results are merged, over structures: :class:`Totals`
hold the sums, from which the ratios follow.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from symjax.errors import ArgumentError
from symjax.metrics.arguments import as_mask
from symjax.metrics.response_spectrum import ResponseSpectrum
from symjax.metrics.turn_averages import SampledResponse
from symjax.metrics.verdicts import Certificate, Convergence, RandomCheck
from symjax.so3.irreps import Irrep
from symjax.so3.representations import Representation


class Totals(NamedTuple):
    """Sums over samples, from which every reported ratio follows.

    Attributes:
      variance: Sum of V for each irrep of the representation, shape ``(irreps,)``.
      norm: Sum of the Haar averages of ||z||^2, shape ``(irreps,)``.
      power: Sum of ||P_{l,sigma} u||^2, shape ``(irreps, degrees, 2)``; the last
        axis is sigma = +1, -1.
      count: Number of components of each irrep, over all samples and channels, shape
        ``(irreps,)``.

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
    # Hides tuple.count, which totals do not need.
    count: np.ndarray  # type: ignore[assignment]

    @property
    def equivariance_error(self) -> float:
        """A = sqrt(sum V / number of components), in the unit of the output."""
        count = float(self.count.sum())
        return math.sqrt(max(float(self.variance.sum()), 0.0) / count) if count else 0.0

    @property
    def relative_error(self) -> float:
        """sqrt(sum V / sum ||z||^2); 0 for a vanishing response."""
        norm = float(self.norm.sum())
        ratio = max(float(self.variance.sum()), 0.0) / norm if norm > 0 else 0.0
        return math.sqrt(ratio)

    @property
    def root_mean_square(self) -> float:
        """Root mean square of the components of the response over the orbit."""
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
        """1 - sum of B through the largest degree: the content above it."""
        return 1.0 - float(self.content.sum()) if self.norm.sum() > 0 else 0.0


def add_totals(parts: Iterable[Totals]) -> Totals:
    """Adds the totals of several structures, or of several outputs of one kind.

    Args:
      parts: Totals of the same representation and largest degree.

    Returns:
      Their sum.

    Raises:
      ArgumentError: There are none, or their shapes differ.

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
            "are not totals of equal shapes, one or more",
            "Measure all structures with the same model, outputs and max_degree",
        )
    return Totals(*(np.sum(arrays, axis=0) for arrays in zip(*parts, strict=True)))


class RuleTotals(NamedTuple):
    """The totals of an output under one rule: a point of its convergence curve.

    Attributes:
      degree: Degree through which the rule is exact.
      num_elements: Number of elements of O(3) that the rule uses.
      totals: The totals. Under a coarser rule, ``power`` has fewer degrees: for outputs
        those through half the degree of the rule, for layers possibly only l = 0.

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
    """Ratios of the totals of an output, over all real samples."""

    totals: Callable[[], Totals]

    @property
    def equivariance_error(self) -> float:
        """A = sqrt(sum V / number of components), in the unit of the output."""
        return self.totals().equivariance_error

    @property
    def relative_error(self) -> float:
        """sqrt(sum V / sum ||z||^2); 0 for a vanishing response."""
        return self.totals().relative_error

    @property
    def root_mean_square(self) -> float:
        """Root mean square of the components of the response over the orbit."""
        return self.totals().root_mean_square


@dataclasses.dataclass(frozen=True)
class LeafMeasurement(OfTotals):
    """The measurement of one output, or of one layer's features.

    Arrays are NumPy float64; ``samples`` stands for the leading axes of the output.

    Attributes:
      name: Name of the output.
      representation: The representation that was assumed for it.
      mean: The exactly equivariant part, in the shape of the output.
      variance: V for each irrep of the representation, ``(*samples, irreps)``.
      norm: Haar average of ||z||^2 for each irrep, ``(*samples, irreps)``.
      power: ||P_{l,sigma} u||^2, ``(*samples, irreps, degrees, 2)``.
      mask: Which samples are real, ``samples``.
      channels: Number of channels of the output (1 if it has no channel axis).
      epsilon: Machine epsilon of the dtype that the function returns.
      convergence: Whether the rule, or the number of random elements, is sufficient.
      standard_errors: Standard errors of the totals; only for random elements.
      certificate: The accuracy reached; only for adaptive rules and random elements.
      check: Comparison with random elements off the grid; None for a vanishing
        response and for random elements.
      coarser: Totals under coarser rules, the coarsest first: those nested in the
        grid, or the earlier rules of :class:`~symjax.metrics.Adaptive`; empty for
        random elements.
      response: Second moments of the back-rotated response, from which A after any
        average over rotations follows; for random elements, estimates of A after some
        averages; None for layers.

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
          select: Boolean array that broadcasts to the sample axes; for instance
            ``atoms.numbers == 6`` for one species.

        Returns:
          The sums.

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
        """A likely mistake in the description of the output; empty if none is seen.

        Components in another basis than stated have their whole content in the expected
        sector (B = 1) and yet a large equivariance error.
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
                    "have its content, and yet its components do not rotate as stated: "
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
    """A mapping of ``leaves`` by name; the KeyError for a wrong name lists them."""

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
    """The measurements of all outputs of a function, and how they were integrated.

    Attributes:
      leaves: Measurement of each output, by name.
      grid: Name of the rule or of the sampling.
      degree: Degree through which the rule is exact; None for random elements.
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
        """How the results of an output converge with the degree of the rule.

        Returns:
          The totals under coarser rules, the coarsest first, followed by those of this
          result; empty for random elements.

        Raises:
          KeyError: There is no output of this name.

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
        # An adaptive result counts the elements of all its rules.
        own = self.num_elements
        if leaf.certificate is not None:
            own -= sum(point.num_elements for point in leaf.coarser)
        return (*leaf.coarser, RuleTotals(self.degree, own, leaf.totals()))

    @property
    def resolved(self) -> bool:
        """Whether every output is resolved."""
        return all(
            leaf.convergence is None or leaf.convergence.resolved
            for leaf in self.leaves.values()
        )


def unflatten_mean(
    representation: Representation, mean: np.ndarray, samples: tuple[int, ...]
) -> np.ndarray:
    """The mean in the shape and basis of the output, from spherical components."""
    values = np.einsum("ij,sic->sjc", representation.basis.matrix, mean)
    channels = mean.shape[2:] if representation.has_channels else ()
    return values.reshape((*samples, *representation.shape, *channels))
