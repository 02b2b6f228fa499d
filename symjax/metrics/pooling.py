"""Averages over many structures: A and B with confidence intervals.

Every structure i contributes unbiased but noisy estimates of its V, ||z||^2 and
||P u||^2. Negative estimates of V stay in the sums. A and B are ratios of sums,

    A^2 = sum_i w_i V_i / sum_i w_i c_i,    B = sum_i w_i P_i / sum_i w_i ||z_i||^2,

where n_h of the N_h structures of a stratum h (:mod:`symjax.metrics.groups`) were
visited in random order, and each stands for w_i = N_h / n_h. Leaving out one structure
at a time, with the weights of its stratum adjusted, gives the contribution of a stratum
to the variance of a ratio r = sum w a / sum w b,

    s_h^2 = (n_h - 1) / n_h sum_{i in h} (r_(i) - mean of r_(i))^2.

Intervals are of one of two kinds. For *this data set*, errors come from the structures
that were not visited, and from the noise within structures:

    s_d^2 = sum_h (1 - n_h / N_h) s_h^2 + sum_i w_i Var[a_i - r b_i] / (sum w b)^2,

exact for stratified random sampling, which includes a single stratum (Cochran,
Sampling Techniques, 1977, Sec. 5 and 10.4). Once all structures are visited, further
elements reduce the remaining error. For *the population* that the data were drawn from,
the N = sum_h N_h structures fell into strata by chance (two-phase sampling, Sec. 12.2):

    s_p^2 = sum_h s_h^2 + sum_h (N_h d_h^2 / (sum w b)^2 - (1 - N_h / N) s_h^2 / N_h),

with d_h the mean of a - r b in a stratum. If structures depend on each other, whole
clusters, such as trajectories, are left out instead, and strata are not used.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import stdtrit

from symjax.errors import ArgumentError
from symjax.metrics.arguments import as_mask, check_choice
from symjax.metrics.groups import Strata
from symjax.metrics.turn_averages import AveragedVariance, SampledResponse
from symjax.so3.finite_groups import finite_group
from symjax.so3.irreps import Irrep

QUESTIONS = ("data", "population")
"""Kinds of intervals: for this data set, or the population it was drawn from."""
CONFIDENCE = 0.95
"""Confidence of all intervals."""


class Sums(NamedTuple):
    """What one structure, or some of its samples, adds to the sums of an output.

    The quantities are V, ||z||^2, and ||P_{l,sigma} u||^2 for l = 0, sigma = +1, -1,
    and so on; they are sums over samples, components and irreps of the representation.
    For several structures, arrays have a leading axis and ``count`` is an array.

    Attributes:
      values: Unbiased estimates, ``(quantities,)``.
      squares: Squared standard errors within the structure; NaN with two turns.
      products: Covariances with ||z||^2; NaN with two turns.
      count: Number of components.
    """

    values: Float[np.ndarray, "*items quantities"]
    squares: Float[np.ndarray, "*items quantities"]
    products: Float[np.ndarray, "*items quantities"]
    count: Any

    @classmethod
    def of_rows(cls, rows: Float[np.ndarray, "items numbers"]) -> "Sums":
        """Sums from rows that list values, squares, products and count."""
        values, squares, products = np.split(rows[:, :-1], 3, axis=1)
        return cls(values, squares, products, rows[:, -1])


Key = tuple[str, int | str]
"""Name of an output, and a selection of its samples: an atomic number or class; 0 for
all of them; or the name of a group, for all of them after an average over it."""


@dataclasses.dataclass(frozen=True)
class Sampled:
    """The estimates of a survey for one structure.

    Attributes:
      label: Its label.
      size: Number of its atoms or points.
      sums: Sums by output and selection of samples.
      samples: A^2 of every sample, by name, for outputs with one sample per atom or
        point.

    Example:
      >>> from symjax.metrics import Sampled, pool
      >>> pool([Sampled("water", 3, {}), Sampled("methane", 5, {})]).labels
      ('water', 'methane')
    """

    label: str
    size: int
    sums: Mapping[Key, Sums]
    samples: Mapping[str, Float[np.ndarray, "samples"]] = dataclasses.field(
        default_factory=dict
    )


def place_of(key: Key) -> float:
    """Sort key: all samples first, then atomic numbers, then averages."""
    return math.inf if isinstance(key[1], str) else key[1]


class Interval(NamedTuple):
    """An estimate with its 95 % confidence interval.

    Attributes:
      value: The estimate.
      low: Lower end of the interval.
      high: Upper end of the interval.
      error: Standard error of the estimate.

    Example:
      >>> from symjax.metrics.pooling import Interval
      >>> round(Interval(1.0, 0.9, 1.12, 0.05).relative_width, 6)
      0.11
    """

    value: float
    low: float
    high: float
    error: float

    @property
    def relative_width(self) -> float:
        """Half of the interval divided by the value; infinite for 0."""
        return (self.high - self.low) / 2 / self.value if self.value else math.inf


@dataclasses.dataclass(frozen=True)
class Pool:
    """All visited structures of a survey, with averages over them.

    Attributes:
      labels: Labels of the structures.
      sizes: Their numbers of atoms.
      columns: Sums for each output and selection of samples, with a leading axis over
        the structures; 0 where a structure has no such samples.
      strata: The stratum of each structure, and the sizes of the strata.
      clusters: Index of the cluster of each structure, such as its trajectory; None for
        independent structures.
      samples: For outputs with one sample per atom, unbiased estimates of A^2 of every
        sample of each structure; None for a structure without this output.

    Example:
      >>> import numpy as np
      >>> from symjax.metrics.gathering import pool
      >>> from symjax.metrics.pooling import Sampled, Sums
      >>> def item(label, variance):
      ...     values = np.array([variance, 4.0, 4.0, 0.0])
      ...     sums = Sums(values, 0 * values, 0 * values, 1.0)
      ...     return Sampled(label, 1, {("e", 0): sums})
      >>> both = pool([item("a", 0.5), item("b", 1.5)])
      >>> both.error("e").value, round(both.error("e", relative=True).value, 3)
      (1.0, 0.5)
      >>> both.error("e", of="data").error  # visited, and exact: nothing is left
      0.0
    """

    labels: tuple[str, ...]
    sizes: np.ndarray
    columns: Mapping[Key, Sums]
    strata: Strata
    clusters: Int[np.ndarray, "items"] | None = None
    samples: Mapping[str, Sequence[np.ndarray | None]] = dataclasses.field(
        default_factory=dict
    )

    @property
    def total(self) -> int:
        """Number of structures of the data set, visited or not."""
        return int(self.strata.totals.sum())

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the outputs."""
        return tuple(name for name, group in self.columns if group == 0)

    def groups(self, name: str) -> tuple[int, ...]:
        """Atomic numbers, or classes of points, among the samples of an output."""
        found = [g for other, g in self.columns if other == name and g]
        return tuple(sorted(g for g in found if isinstance(g, int)))

    def response(self, name: str, unit: str) -> SampledResponse:
        """A of an output after averages over groups, with errors for this data set.

        Args:
          name: Name of the output.
          unit: Its unit.

        Returns:
          Estimates for the averages that the turns of the survey allow.
        """
        found = {}
        groups: list[int | str] = [0, *self.averages(name)]
        for average in groups:
            interval = self.error(name, average, of="data")
            order = finite_group(average).order if isinstance(average, str) else 1
            # The standard error of A^2.
            error = interval.high**2 / 2
            if interval.value > 0 and math.isfinite(error):
                error = 2 * interval.value * interval.error
            found[str(average or "none")] = AveragedVariance(
                order, interval.value**2, error**2
            )
        return SampledResponse(name, unit, found, 1, 0.0)

    def averages(self, name: str) -> tuple[str, ...]:
        """Groups for whose averages the survey has estimates."""
        return tuple(
            group
            for other, group in self.columns
            if other == name and isinstance(group, str)
        )

    def error(
        self,
        name: str,
        group: int | str = 0,
        *,
        relative: bool = False,
        of: str = "population",
        select: Bool[np.ndarray, "items"] | None = None,
    ) -> Interval:
        """A = sqrt(sum V / number of components), in the unit of the output.

        Args:
          name: Name of the output.
          group: Selection of samples: an atomic number or class; 0 for all; or the name
            of a group in :meth:`averages`, for all of them after an average over it.
          relative: Whether to return the relative error sqrt(sum V / sum ||z||^2).
          of: Kind of interval, one of :data:`QUESTIONS`.
          select: Boolean array that selects structures, for instance of one size.

        Returns:
          A and its interval. The interval is that of A^2 on a logarithmic scale if A^2
          differs significantly from 0; otherwise it starts at 0.

        Raises:
          ArgumentError: There is no such output, selection or kind of interval, or no
            structure is selected.
        """
        part = self._part(name, group)
        below = "norm" if relative else "count"
        return _root(self._ratio(part, 0, below, of, select))

    def root_mean_square(self, name: str, group: int = 0) -> float:
        """Root mean square of the components of an output, over all structures."""
        part, weights = self._part(name, group), self.strata.weights
        count = float((weights * part.count).sum())
        norm = float((weights * part.values[:, 1]).sum())
        return math.sqrt(max(norm, 0.0) / count) if count else 0.0

    def content(
        self,
        name: str,
        degree: int,
        sigma: int,
        group: int = 0,
        *,
        of: str = "population",
        select: Bool[np.ndarray, "items"] | None = None,
    ) -> Interval:
        """B of one sector; noise can make the estimate negative or larger than 1.

        Args:
          name: Name of the output.
          degree: Degree l of the sector.
          sigma: +1 or -1.
          group: Atomic number or class of the samples; 0 for all.
          of: Kind of interval, one of :data:`QUESTIONS`.
          select: Boolean array that selects structures.

        Returns:
          B and its interval.

        Raises:
          ArgumentError: The degree was not projected; there is no such sector, output,
            selection or kind of interval; or no structure is selected.
        """
        part, irrep = self._part(name, group), Irrep(degree, sigma)
        column = 2 + 2 * degree + (0 if irrep.sigma == 1 else 1)
        if column >= part.values.shape[1]:
            raise ArgumentError(
                "degree",
                degree,
                f"was not projected, only 0 to {part.values.shape[1] // 2 - 2}",
                "Survey with a larger max_degree",
            )
        value, error, freedom = self._ratio(part, column, "norm", of, select)
        half = _quantile(freedom) * error
        return Interval(value, value - half, value + half, error)

    def by_item(self, name: str) -> Float[np.ndarray, "items"]:
        """Unbiased A^2 of every structure, possibly negative; NaN without samples."""
        part = self._part(name, 0)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(part.values[:, 0] / part.count)

    def by_item_errors(self, name: str) -> Float[np.ndarray, "items"]:
        """Standard errors of :meth:`by_item`; NaN with two turns per structure."""
        part = self._part(name, 0)
        return np.asarray(np.sqrt(part.squares[:, 0]) / part.count)

    def _part(self, name: str, group: int | str) -> Sums:
        if (name, group) not in self.columns:
            raise ArgumentError(
                "name",
                (name, group),
                "was not surveyed",
                f"Use one of {', '.join(self.names)}, and 0 for all samples",
            )
        return self.columns[name, group]

    def _ratio(
        self,
        part: Sums,
        column: int,
        over: str,
        of: str,
        select: Bool[np.ndarray, "items"] | None,
    ) -> tuple[float, float, float]:
        """A ratio of sums, its standard error, and the degrees of freedom of that."""
        check_choice("of", of, QUESTIONS)
        a = part.values[:, column]
        b = part.count if over == "count" else part.values[:, 1]
        if select is not None:
            select = as_mask("select", select, a.shape)
            if not select.any():
                raise ArgumentError(
                    "select", select, "selects no structure", "Select one or more"
                )
            a, b = a * select, b * select
        weights = self.strata.weights
        below = float((weights * b).sum())
        value = float((weights * a).sum()) / below if below > 0 else 0.0
        if below <= 0:
            return value, math.inf, 1.0
        own = _left_out(a, b, self.strata)
        if of == "data":
            within = part.squares[:, column]
            if over == "norm":
                within = within + (
                    value**2 * part.squares[:, 1] - 2 * value * part.products[:, column]
                )
            noise = float((weights * within)[b != 0].sum()) / below**2
            # With two turns the noise is unknown; the spread of structures bounds it.
            if math.isfinite(noise):
                return value, *own.of_data(self.strata, noise, int((b != 0).sum()))
        if self.clusters is not None:
            num = self.clusters.max() + 1
            one = Strata(np.zeros(num, int), np.array([num]))
            a, b = (np.bincount(self.clusters, weights * part, num) for part in (a, b))
            own = _left_out(a, b, one)
            return value, *own.error(0.0, 1.0)
        apart = np.bincount(
            self.strata.of, a - value * b, len(self.strata.totals)
        ) / np.maximum(self.strata.visited, 1)
        return value, *own.of_population(self.strata.totals, apart / below)


class _Spread(NamedTuple):
    """Contribution of each stratum to the variance of a ratio, and its sample size."""

    squares: Float[np.ndarray, "strata"]
    num: Int[np.ndarray, "strata"]

    def error(self, extra: float, freedom: float) -> tuple[float, float]:
        """A standard error, and its degrees of freedom after Satterthwaite.

        Args:
          extra: Another term of the variance.
          freedom: Its degrees of freedom.
        """
        total = self.squares.sum() + extra
        if not (math.isfinite(total) and total > 0):
            return math.sqrt(total), max(float(self.num.sum()) - 1, 1.0)
        uncertain = np.square(self.squares) / np.maximum(self.num - 1, 1)
        return math.sqrt(total), total**2 / (uncertain.sum() + extra**2 / freedom)

    def of_data(
        self, strata: Strata, noise: float, present: int
    ) -> tuple[float, float]:
        """The error for this data set, including noise within structures."""
        left = 1 - strata.visited / strata.totals
        if not left.any():
            return math.sqrt(max(noise, 0.0)), max(float(present), 1.0)
        squares = left * np.where(left > 0, self.squares, 0.0)
        total = squares.sum() + noise
        _, freedom = _Spread(squares, self.num).error(0.0, 1.0)
        return math.sqrt(max(total, 0.0)), freedom

    def of_population(
        self, totals: Int[np.ndarray, "strata"], apart: Float[np.ndarray, "strata"]
    ) -> tuple[float, float]:
        """The error for the population; strata deviate by ``apart`` from the ratio."""
        if not np.isfinite(self.squares).all():
            return self.error(0.0, 1.0)
        num = totals.sum()
        chance = totals * np.square(apart)
        # The means are noisy themselves; for a single stratum this term is 0.
        chance = chance - (1 - totals / num) * self.squares / totals
        extra = max(float(chance.sum()), 0.0)
        return self.error(extra, float(max(num - 1, 1)))


def _left_out(a: np.ndarray, b: np.ndarray, strata: Strata) -> _Spread:
    """Variance of a ratio, by leaving out one structure of a stratum at a time."""
    weights = strata.totals / np.maximum(strata.visited, 1)
    present = b != 0
    if len(strata.totals) > 1:
        # Structures without the quantity show how large their part of a stratum is.
        present = np.isin(strata.of, strata.of[present])
    a, b, of = a[present], b[present], strata.of[present]
    num = np.bincount(of, minlength=len(weights))
    unknown = _Spread(np.where(num > 0, math.inf, 0.0), num)
    if (num == 1).any():
        return unknown

    def without(each: np.ndarray) -> np.ndarray:
        sums = np.bincount(of, each, len(weights))
        others = (num / np.maximum(num - 1, 1))[of] * (sums[of] - each)
        return np.asarray(weights @ sums + weights[of] * (others - sums[of]))

    below = without(b)
    if not (below > 0).all():
        return unknown
    ratios = without(a) / below
    ratios = ratios - (np.bincount(of, ratios, len(num)) / np.maximum(num, 1))[of]
    squares = np.bincount(of, np.square(ratios), len(num))
    return _Spread((num - 1) / np.maximum(num, 1) * squares, num)


def _quantile(freedom: float) -> float:
    return float(stdtrit(freedom, (1 + CONFIDENCE) / 2))


def _root(squared: tuple[float, float, float]) -> Interval:
    """The interval of a square root, from that of the square."""
    value, error, freedom = squared
    if not math.isfinite(error):
        return Interval(math.sqrt(max(value, 0.0)), 0.0, math.inf, math.inf)
    half = _quantile(freedom) * error
    if value <= half:
        low, high = 0.0, math.sqrt(max(value + half, 0.0))
        root = math.sqrt(max(value, 0.0))
        return Interval(root, low, high, (high - low) / 2 / _quantile(freedom))
    factor = math.exp(half / value / 2)
    root = math.sqrt(value)
    return Interval(root, root / factor, root * factor, error / 2 / root)
