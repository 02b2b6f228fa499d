"""Sums over many structures: A, B and ratios with intervals, and when to stop.

Every structure i contributes unbiased estimates of its V, ||z||^2 and ||P u||^2, noisy
ones, of which V can be negative: it stays in the sums. A and B are ratios of sums,

    A^2 = sum_i w_i V_i / sum_i w_i c_i,    B = sum_i w_i P_i / sum_i w_i ||z_i||^2,

where n_h of the N_h structures of a stratum h (:mod:`symjax.metrics.groups`) were
visited in random order and each stands for w_i = N_h / n_h. Leaving out one structure
after another, the rest of its stratum taking its place, gives what a stratum adds to
the variance of a ratio r = sum w a / sum w b,

    s_h^2 = (n_h - 1) / n_h sum_{i in h} (r_(i) - mean of r_(i))^2.

There are two questions. *This data set*: what was not visited, and the noise within the
structures,

    s_d^2 = sum_h (1 - n_h / N_h) s_h^2 + sum_i w_i Var[a_i - r b_i] / (sum w b)^2,

exact for stratified random samples, of which a single stratum is one (Cochran,
Sampling Techniques, 1977, Sec. 5 and 10.4). With all structures visited, new elements
reduce what is left. *The population* that the data were drawn from, in which the
N = sum_h N_h structures fell into strata by chance (two-phase sampling, Sec. 12.2),

    s_p^2 = sum_h s_h^2 + sum_h (N_h d_h^2 / (sum w b)^2 - (1 - N_h / N) s_h^2 / N_h),

with d_h the mean of a - r b in a stratum. Where frames depend on each other, whole
clusters, such as trajectories, are left out instead, and strata gain nothing.
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
"""What an interval is about: this data set, or the population it was drawn from."""
CONFIDENCE = 0.95
"""Of all intervals."""


class Sums(NamedTuple):
    """What one structure, or some of its samples, adds to the sums of an output.

    Quantities are V, ||z||^2, and ||P_{l,sigma} u||^2 for l = 0, sigma = +1, -1, and so
    on; they are sums over samples, components and irreps of the representation. Arrays
    of several structures have a first axis over these, and ``count`` is one of them.

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
        """From rows with values, squares, products and count one after another."""
        values, squares, products = np.split(rows[:, :-1], 3, axis=1)
        return cls(values, squares, products, rows[:, -1])


Key = tuple[str, int | str]
"""Name of an output, and what its samples are: an atomic number; 0 for all of them; the
name of a group for all of them after an average over it."""


@dataclasses.dataclass(frozen=True)
class Sampled:
    """What a survey says of one structure.

    Attributes:
      label: Its name.
      size: Number of its atoms, or of its points.
      sums: By output and by what samples are.
      samples: A^2 of every sample, an atom or a point, of outputs that have one each.

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
    """All samples first, then by what they are, then after averages."""
    return math.inf if isinstance(key[1], str) else key[1]


class Interval(NamedTuple):
    """A figure of many structures.

    Attributes:
      value: The estimate.
      low: Lower end of its 95 % interval.
      high: Upper end.
      error: Standard error.

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
        """Half of the interval over the value; infinite for 0."""
        return (self.high - self.low) / 2 / self.value if self.value else math.inf


@dataclasses.dataclass(frozen=True)
class Pool:
    """All structures of a survey; figures of it are ratios of sums.

    Attributes:
      labels: Of the structures.
      sizes: Their numbers of atoms.
      columns: For each output and kind of samples, sums with a leading axis over the
        structures; 0 where a structure has no such samples.
      strata: Of what kind each structure is, and how many of each there are.
      clusters: For each structure what it depends on, such as its trajectory; None for
        independent structures.
      samples: For outputs with one sample for each atom, A^2 of every sample, unbiased,
        of each structure; None where it has no such output.

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
        """Structures of the data set, visited or not."""
        return int(self.strata.totals.sum())

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the outputs."""
        return tuple(name for name, group in self.columns if group == 0)

    def groups(self, name: str) -> tuple[int, ...]:
        """What samples of an output are, without 0 for all of them.

        Atomic numbers, or classes of points.
        """
        found = [g for other, g in self.columns if other == name and g]
        return tuple(sorted(g for g in found if isinstance(g, int)))

    def response(self, name: str, unit: str) -> SampledResponse:
        """What averages leave of an output, with the error within this data set.

        Args:
          name: Name of the output.
          unit: Its unit.

        Returns:
          The averages that the turns of the survey tell.
        """
        found = {}
        groups: list[int | str] = [0, *self.averages(name)]
        for average in groups:
            interval = self.error(name, average, of="data")
            order = finite_group(average).order if isinstance(average, str) else 1
            # Of A^2, which is added up.
            error = interval.high**2 / 2
            if interval.value > 0 and math.isfinite(error):
                error = 2 * interval.value * interval.error
            found[str(average or "none")] = AveragedVariance(
                order, interval.value**2, error**2
            )
        return SampledResponse(name, unit, found, 1, 0.0)

    def averages(self, name: str) -> tuple[str, ...]:
        """Groups of which the turns tell what an average over them leaves."""
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
          group: What its samples are; 0 for all of them; the name of a group for all
            of them after an average over it, where the turns of the survey tell it.
          relative: Whether the relative error sqrt(sum V / sum ||z||^2) is meant.
          of: What the interval is about, one of :data:`QUESTIONS`.
          select: Which structures, for instance those of one size.

        Returns:
          A and its interval, from one of A^2 on a logarithmic scale where that is
          told from 0; else from 0.

        Raises:
          ArgumentError: There is no such output or question, or no structure is picked.
        """
        part = self._part(name, group)
        below = "norm" if relative else "count"
        return _root(self._ratio(part, 0, below, of, select))

    def root_mean_square(self, name: str, group: int = 0) -> float:
        """Root-mean-square component of an output, over orbits and structures."""
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
        """B of one sector, which noise may move below 0 or above 1.

        Args:
          name: Name of the output.
          degree: Degree l of the sector.
          sigma: +1 or -1.
          group: What its samples are.
          of: What the interval is about.
          select: Which structures.

        Returns:
          B and its interval.

        Raises:
          ArgumentError: The degree was not projected, or there is no such sector.
        """
        part, irrep = self._part(name, group), Irrep(degree, sigma)
        column = 2 + 2 * degree + (0 if irrep.sigma == 1 else 1)
        if column >= part.values.shape[1]:
            raise ArgumentError(
                "degree",
                degree,
                f"was not projected: {part.values.shape[1] // 2 - 1} degrees were",
                "Survey with a larger max_degree",
            )
        value, error, freedom = self._ratio(part, column, "norm", of, select)
        half = _quantile(freedom) * error
        return Interval(value, value - half, value + half, error)

    def by_item(self, name: str) -> Float[np.ndarray, "items"]:
        """A^2 of every structure, unbiased: may be negative; NaN without samples."""
        part = self._part(name, 0)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(part.values[:, 0] / part.count)

    def by_item_errors(self, name: str) -> Float[np.ndarray, "items"]:
        """Standard errors of :meth:`by_item`; NaN with two turns a structure."""
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
                    "select", select, "picks no structure", "Pick one or more"
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
            # With two turns it is not known: the spread of structures bounds it.
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
    """What each stratum adds to the variance of a ratio, from how many structures."""

    squares: Float[np.ndarray, "strata"]
    num: Int[np.ndarray, "strata"]

    def error(self, more: float, freedom: float) -> tuple[float, float]:
        """A standard error, and its degrees of freedom after Satterthwaite.

        Args:
          more: Another term of the variance.
          freedom: Its degrees of freedom.
        """
        total = self.squares.sum() + more
        if not (math.isfinite(total) and total > 0):
            return math.sqrt(total), max(float(self.num.sum()) - 1, 1.0)
        uncertain = np.square(self.squares) / np.maximum(self.num - 1, 1)
        return math.sqrt(total), total**2 / (uncertain.sum() + more**2 / freedom)

    def of_data(
        self, strata: Strata, noise: float, present: int
    ) -> tuple[float, float]:
        """The error of this data set, with noise within the structures."""
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
        """The error of the population, whose strata are ``apart`` from the ratio."""
        if not np.isfinite(self.squares).all():
            return self.error(0.0, 1.0)
        num = totals.sum()
        chance = totals * np.square(apart)
        # The means are noisy themselves. A single stratum has the ratio as its mean.
        chance = chance - (1 - totals / num) * self.squares / totals
        more = max(float(chance.sum()), 0.0)
        return self.error(more, float(max(num - 1, 1)))


def _left_out(a: np.ndarray, b: np.ndarray, strata: Strata) -> _Spread:
    """Variance of a ratio by leaving out one structure of each stratum in turn."""
    weights = strata.totals / np.maximum(strata.visited, 1)
    present = b != 0
    if len(strata.totals) > 1:
        # What a part of a stratum has none of tells how large that part is.
        present = np.isin(strata.of, strata.of[present])
    a, b, of = a[present], b[present], strata.of[present]
    num = np.bincount(of, minlength=len(weights))
    unknown = _Spread(np.where(num > 0, math.inf, 0.0), num)
    if (num == 1).any():
        return unknown

    def without(each: np.ndarray) -> np.ndarray:
        sums = np.bincount(of, each, len(weights))
        rest = (num / np.maximum(num - 1, 1))[of] * (sums[of] - each)
        return np.asarray(weights @ sums + weights[of] * (rest - sums[of]))

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
    """The interval of a square root, from its square with a standard error."""
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
