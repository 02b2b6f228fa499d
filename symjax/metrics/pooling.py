"""Sums over many structures: A, B and ratios with intervals, and when to stop.

Every structure i contributes unbiased estimates of its V, ||z||^2 and ||P u||^2, noisy
ones, of which V can be negative: it stays in the sums. A and B are ratios of sums,

    A^2 = sum_i V_i / sum_i c_i,    B = sum_i P_i / sum_i ||z_i||^2,

and there are two questions about them. *The population* that the structures were drawn
from: the variance of a ratio r is that of leaving out one structure (or one cluster,
such as a trajectory, whose frames are not independent),

    s_p^2 = (n-1)/n sum_i (r_(i) - mean of r_(i))^2.

*This data set* of N structures, of which n were visited in random order: what was not
visited, and the noise within the structures,

    s_d^2 = (1 - n/N) s_p^2 + n/N s_w^2,
    s_w^2 = sum_i Var[a_i - r b_i] / (sum_i b_i)^2,

which is exact for simple random samples (Cochran, Sampling Techniques, 1977, Sec.
10.4). With all structures visited, s_w is left, which new elements reduce.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy import stats

from symjax.errors import ArgumentError
from symjax.metrics.turn_averages import AveragedVariance, SampledResponse
from symjax.so3.finite_groups import finite_group

QUESTIONS = ("data", "population")
"""What an interval is about: this data set, or the population it was drawn from."""
CONFIDENCE = 0.95
"""Of all intervals."""


class Sums(NamedTuple):
    """What one structure, or some of its samples, adds to the sums of an output.

    Quantities are V, ||z||^2, and ||P_{l,sigma} u||^2 for l = 0, sigma = +1, -1, and so
    on; they are sums over samples, components and irreps of the representation.

    Attributes:
      values: Unbiased estimates, ``(quantities,)``.
      squares: Squared standard errors within the structure; NaN with two turns.
      products: Covariances with ||z||^2; NaN with two turns.
      count: Number of components.
    """

    values: Float[np.ndarray, "quantities"]
    squares: Float[np.ndarray, "quantities"]
    products: Float[np.ndarray, "quantities"]
    # Hides tuple.count, which nobody calls on sums.
    count: float  # type: ignore[assignment]


class Columns(NamedTuple):
    """The sums of all structures side by side, as those of :class:`Sums`.

    Attributes:
      values: Estimates, ``(items, quantities)``.
      squares: Squared standard errors.
      products: Covariances with ||z||^2.
      count: Numbers of components, ``(items,)``.
    """

    values: Float[np.ndarray, "items quantities"]
    squares: Float[np.ndarray, "items quantities"]
    products: Float[np.ndarray, "items quantities"]
    count: Float[np.ndarray, "items"]  # type: ignore[assignment]


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


def mean_of_rounds(rounds: Sequence[Sampled]) -> Sampled:
    """One structure from its estimates in several rounds of new elements."""
    num, first = len(rounds), rounds[0]
    sums = {}
    for key, own in first.sums.items():
        parts = [each.sums[key] for each in rounds]
        sums[key] = Sums(
            np.mean([part.values for part in parts], axis=0),
            np.sum([part.squares for part in parts], axis=0) / num**2,
            np.sum([part.products for part in parts], axis=0) / num**2,
            own.count,
        )
    samples = {
        name: np.mean([each.samples[name] for each in rounds], axis=0)
        for name in first.samples
    }
    return Sampled(first.label, first.size, sums, samples)


def _place(key: Key) -> float:
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
      total: Number of structures of the data set; None if all are here.
      clusters: For each structure what it depends on, such as its trajectory; None for
        independent structures.
      samples: For outputs with one sample for each atom, A^2 of every sample, unbiased,
        of all structures, one after another.

    Example:
      >>> import numpy as np
      >>> from symjax.metrics.pooling import Sampled, Sums, pool
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
    columns: Mapping[Key, Columns]
    total: int | None = None
    clusters: np.ndarray | None = None
    samples: Mapping[str, Float[np.ndarray, "samples"]] = dataclasses.field(
        default_factory=dict
    )

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
          ArgumentError: There is no such output or question.
        """
        part = self._part(name, group, select)
        below = "norm" if relative else "count"
        return _root(self._ratio(part, 0, below, of, select))

    def root_mean_square(self, name: str, group: int = 0) -> float:
        """Root-mean-square component of an output, over orbits and structures."""
        part = self._part(name, group, None)
        count = float(np.sum(part.count))
        return math.sqrt(max(part.values[:, 1].sum(), 0.0) / count) if count else 0.0

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
          ArgumentError: The degree was not projected.
        """
        part = self._part(name, group, select)
        column = 2 + 2 * degree + (0 if sigma == 1 else 1)
        if not degree >= 0 or column >= part.values.shape[1]:
            raise ArgumentError(
                "degree",
                degree,
                f"was not projected: {part.values.shape[1] // 2 - 1} degrees were",
                "Survey with a larger max_degree",
            )
        value, error, freedom = self._ratio(part, column, "norm", of, select)
        half = _quantile(freedom) * error
        return Interval(value, value - half, value + half, error)

    def by_item(self, name: str, group: int = 0) -> Float[np.ndarray, "items"]:
        """A^2 of every structure, unbiased: may be negative; NaN without samples."""
        part = self._part(name, group, None)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(part.values[:, 0] / part.count)

    def by_item_errors(self, name: str) -> Float[np.ndarray, "items"]:
        """Standard errors of :meth:`by_item`; NaN with two turns a structure."""
        part = self._part(name, 0, None)
        return np.asarray(np.sqrt(part.squares[:, 0]) / part.count)

    def _part(
        self, name: str, group: int | str, select: Bool[np.ndarray, "items"] | None
    ) -> Columns:
        if (name, group) not in self.columns:
            raise ArgumentError(
                "name",
                (name, group),
                "was not surveyed",
                f"Use one of {', '.join(self.names)}, and 0 for all samples",
            )
        part = self.columns[name, group]
        if select is None:
            return part
        values, squares, products, count = (array[select] for array in part)
        return Columns(values, squares, products, count)

    def _ratio(
        self,
        part: Columns,
        column: int,
        over: str,
        of: str,
        select: Bool[np.ndarray, "items"] | None,
    ) -> tuple[float, float, float]:
        """A ratio of sums, its standard error, and the degrees of freedom of that."""
        if of not in QUESTIONS:
            raise ArgumentError(
                "of", of, "is unknown", f"Use one of {', '.join(QUESTIONS)}"
            )
        a = part.values[:, column]
        b = np.asarray(part.count, float) if over == "count" else part.values[:, 1]
        value = float(a.sum() / b.sum()) if b.sum() > 0 else 0.0
        if not len(a) or b.sum() <= 0:
            return value, math.inf, 1.0
        clusters = self.clusters
        if clusters is not None and select is not None:
            clusters = clusters[select]
        between, freedom = _left_out(a, b, clusters)
        if of == "population":
            return value, math.sqrt(between), freedom
        within = part.squares[:, column].sum()
        if over == "norm":
            within += (
                value**2 * part.squares[:, 1] - 2 * value * part.products[:, column]
            ).sum()
        within /= b.sum() ** 2
        visited = len(self.labels) / (self.total or len(self.labels))
        if not np.isfinite(within):  # two turns: the spread of structures bounds it
            return value, math.sqrt(between), freedom
        independent, alone = _left_out(a, b, None)
        if visited < 1:
            within = (1 - visited) * independent + visited * within
            return value, math.sqrt(max(within, 0.0)), alone
        return value, math.sqrt(max(within, 0.0)), max(float(len(a)), 1.0)


def pool(
    items: Iterable[Sampled],
    total: int | None = None,
    clusters: Mapping[str, object] | None = None,
) -> Pool:
    """Puts structures side by side.

    Args:
      items: The structures.
      total: Number of structures of the data set; None if all are here.
      clusters: For each label what its structure depends on, such as the name of its
        trajectory.

    Returns:
      The pool.

    Raises:
      ArgumentError: There is no structure, or fewer in all than are here.

    Example:
      >>> from symjax.metrics import pool
      >>> pool([])
      Traceback (most recent call last):
      ...
      symjax.errors.ArgumentError: items=[]: is empty. Survey one structure or more.
    """
    items = list(items)
    if not items:
        raise ArgumentError("items", items, "is empty", "Survey one structure or more")
    if total is not None and total < len(items):
        raise ArgumentError(
            "total",
            total,
            f"is less than the {len(items)} structures that were visited",
            "Pass the size of the data set, or None",
        )
    keys = {key: own for item in items for key, own in item.sums.items()}
    columns = {}
    for key, own in sorted(keys.items(), key=lambda pair: _place(pair[0])):
        zero = np.zeros_like(own.values)
        none = Sums(zero, zero, zero, 0.0)
        parts = [item.sums.get(key, none) for item in items]
        columns[key] = Columns(
            np.array([part.values for part in parts]),
            np.array([part.squares for part in parts]),
            np.array([part.products for part in parts]),
            np.array([part.count for part in parts]),
        )
    named = None
    if clusters is not None:
        known: dict[object, int] = {}
        named = np.array(
            [known.setdefault(clusters[item.label], len(known)) for item in items]
        )
    everywhere = set.intersection(*(set(item.samples) for item in items))
    return Pool(
        tuple(item.label for item in items),
        np.array([item.size for item in items]),
        columns,
        total,
        named,
        {
            name: np.concatenate([item.samples[name] for item in items])
            for name in items[0].samples
            if name in everywhere
        },
    )


def _left_out(
    a: np.ndarray, b: np.ndarray, clusters: np.ndarray | None
) -> tuple[float, float]:
    """Variance of a ratio by leaving out one structure, and degrees of freedom."""
    if clusters is not None:
        a, b = np.bincount(clusters, a), np.bincount(clusters, b)
    present = b != 0
    a, b = a[present], b[present]
    num = len(a)
    if num < 2:
        return math.inf, 1.0
    rest = b.sum() - b
    if not (rest > 0).all():
        return math.inf, 1.0
    without = (a.sum() - a) / rest
    return float((num - 1) / num * np.square(without - without.mean()).sum()), num - 1.0


def _quantile(freedom: float) -> float:
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom))


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
