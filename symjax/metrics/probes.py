"""Which tensors can be decoded from features, by ridge regression per sector.

Content of a layer in (l, sigma) means that features change with the orientation as such
a tensor does, not that a tensor of the environment can be decoded from them. A probe
tests this: the best linear map from features x to a tensor T of degree l and parity
sigma,

    T = W x + b,   W = argmin sum |T - W x - b|^2 + lambda |W|^2,

over all environments at random elements of O(3), so that what is constant in one
orientation does not help. A sector is *decodable* if, on held-out structures, the probe
predicts better than the mean, and better than probes trained on the tensors of other
structures. Both gains must be above 0 at the stated level, corrected for the number of
sectors, layers and kinds of probe.

Probes of *products* read x x^T in addition to x, through the kernel (1 + x . x')^2 of
standardised features (Saunders, Gammerman and Vovk, ICML 1998).
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int
from scipy.special import stdtrit

from symjax.errors import ArgumentError
from symjax.metrics.arguments import check_fraction, check_type
from symjax.so3._arguments import check_integer
from symjax.so3.irreps import Irrep

LEVEL = 0.05
"""Probability of finding a decodable sector in features that hold none."""

_FEWEST = 8
"""Smallest number of structures; half of them are for training, half are held out."""
_FOLDS = 4
_PERMUTATIONS = 4
# Ridge parameters, relative to the largest squared singular value; infinity predicts
# the mean.
_RIDGES = np.array([*10.0 ** np.arange(-16, 2), np.inf])
# Singular values of features below this many epsilon of the largest are round-off. It
# depends on the orientation too, so that a probe could read it.
_ROUND_OFF = 8.0
# Relative to the largest variance of a tensor: below it a tensor vanishes by symmetry.
_VANISHES = 1e-20


@dataclasses.dataclass(frozen=True)
class Decoded:
    """How well a probe decodes one sector from one layer, on held-out structures.

    Scores are ``1 - sum |T - W x - b|^2 / sum |T - mean|^2``, with every channel of T
    scaled to unit variance.

    Attributes:
      score: Score of the probe: 1 is perfect, 0 no better than the mean.
      permuted: Score of probes that were trained on the tensors of other structures.
      low: Lower bound of the gain over the mean and over the permuted probes, whichever
        is smaller, at the level corrected for all comparisons.

    Example:
      >>> from symjax.metrics import Decoded
      >>> Decoded(0.9, 0.0, 0.7).decodable, Decoded(0.02, -0.1, -0.01).decodable
      (True, False)
    """

    score: float
    permuted: float
    low: float

    @property
    def decodable(self) -> bool:
        """Whether the probe beats both baselines."""
        return self.low > 0


@dataclasses.dataclass(frozen=True, eq=False)
class Probes:
    """Results of probes of several layers.

    Attributes:
      sectors: Results of linear probes, by layer and sector. Sectors whose tensor does
        not vary between environments are left out.
      products: The same for probes that read products of two features; empty unless
        requested.
      structures: Numbers of structures for training and held out.
      comparisons: Number of comparisons by which the level was divided.

    Example:
      >>> from symjax.metrics import Decoded, Probes
      >>> from symjax.so3 import Irrep
      >>> held = {Irrep(0, 1): Decoded(0.9, 0.1, 0.5), Irrep(1, 1): Decoded(0, 0, -1)}
      >>> Probes({"layer": held}, {}, (4, 4), 2).largest("layer", 1)
      0
    """

    sectors: Mapping[str, Mapping[Irrep, Decoded]]
    products: Mapping[str, Mapping[Irrep, Decoded]]
    structures: tuple[int, int]
    comparisons: int

    def largest(self, layer: str, sigma: int, *, products: bool = False) -> int | None:
        """The largest degree that can be decoded from a layer; None if there is none.

        Args:
          layer: Name of the layer.
          sigma: +1 for proper tensors, -1 for pseudotensors.
          products: Whether probes may read products of two features.
        """
        held = (self.products if products else self.sectors)[layer]
        return max(
            (i.degree for i, d in held.items() if i.sigma == sigma and d.decodable),
            default=None,
        )


def probe(
    features: Mapping[str, Float[np.ndarray, "samples features"]],
    tensors: Mapping[Irrep, Float[np.ndarray, "samples components channels"]],
    structures: Int[np.ndarray, "samples"] | Sequence[int],
    *,
    products: bool = False,
    epsilon: float | None = None,
    level: float = LEVEL,
    seed: int = 0,
) -> Probes:
    """Tests which tensors can be decoded from the features of layers.

    A random half of the structures is used for training, where the ridge parameter of
    each sector is chosen by cross-validation over whole structures. The gain on the
    other half is a ratio of sums over its structures. Its lower bound is that of
    Student's t at ``level`` divided by the number of layers, sectors and kinds of probe
    (Bonferroni). For the permuted baseline, whole structures are permuted.

    Args:
      features: Features by layer, one row per sample at each of several elements of
        O(3).
      tensors: Tensors by sector, of the same samples at the same elements.
      structures: Index of the structure to which each row belongs.
      products: Whether to add probes of products of two features, at a cost of the
        third power of the number of samples.
      epsilon: Relative round-off of the features; what is below eight times that is
        ignored. By default the machine epsilon of their dtype.
      level: Probability of finding anything if there is nothing.
      seed: Seed of the halves, folds and permutations.

    Returns:
      Scores and bounds.

    Raises:
      ArgumentError: There are fewer than eight structures, numbers of rows differ, an
        array has the wrong shape or values that are not finite, or ``level``,
        ``epsilon`` or ``seed`` has an invalid value.

    Example:
      >>> import jax, jax.numpy as jnp, numpy as np
      >>> from symjax.metrics import probe
      >>> from symjax.so3 import Irrep, spherical_harmonics
      >>> units = jax.random.normal(jax.random.key(0), (400, 3))
      >>> y = np.asarray(spherical_harmonics(3, units))
      >>> tensors = {Irrep(l, 1): y[:, l * l : (l + 1) ** 2, None] for l in (1, 2, 3)}
      >>> layers = {"through 2": y[:, :9], "vectors": y[:, 1:4]}
      >>> found = probe(layers, tensors, np.arange(400) // 20, products=True)
      >>> [found.largest(name, 1) for name in layers]
      [2, 1]
      >>> found.largest("vectors", 1, products=True)
      2
    """
    owner = np.asarray(structures)
    check_fraction("level", level)
    check_integer("seed", seed, 0)
    if epsilon is not None:
        check_fraction("epsilon", epsilon)
    _check(features, tensors, owner)
    random = np.random.default_rng(seed)
    names = random.permutation(np.unique(owner))
    half = len(names) // 2
    split = _Split(
        owner,
        training=np.isin(owner, names[:half]),
        folds=tuple(
            np.isin(owner, part) for part in np.array_split(names[:half], _FOLDS)
        ),
        orders=tuple(
            _permuted(owner, names[:half], random) for _ in range(_PERMUTATIONS)
        ),
    )
    asked = _Tensors.of(tensors, split.training)
    comparisons = len(features) * len(asked.parts) * (1 + products)
    freedom = len(names) - half - 1
    quantile = -float(stdtrit(freedom, level / max(comparisons, 1)))
    kinds = {"sectors": _linear, **({"products": _products} if products else {})}
    found: dict[str, dict[str, dict[Irrep, Decoded]]] = {kind: {} for kind in kinds}
    for name, rows in features.items():
        own = np.finfo(np.result_type(rows, np.float32)).eps
        floor = _ROUND_OFF * (float(own) if epsilon is None else epsilon)
        kept = _above(floor, np.asarray(rows, np.float64), split.training)
        for kind, regression in kinds.items():
            found[kind][name] = _decode(regression, kept, asked, split, quantile)
    return Probes(
        found["sectors"],
        found.get("products", {}),
        (half, len(names) - half),
        comparisons,
    )


def check_enough(num: int) -> None:
    """Raises unless there are at least eight structures."""
    if num < _FEWEST:
        raise ArgumentError(
            "structures",
            num,
            "are too few to train on one half and test on the other",
            f"Pass {_FEWEST} or more",
        )


def _check(
    features: Mapping[str, np.ndarray],
    tensors: Mapping[Irrep, np.ndarray],
    owner: np.ndarray,
) -> None:
    check_type("features", features, Mapping, "Pass {layer: features}")
    check_type("tensors", tensors, Mapping, "Pass {Irrep(1, 1): tensors}")
    check_enough(len(np.unique(owner)))
    arrays = {f"features[{name!r}]": (rows, 2) for name, rows in features.items()}
    arrays |= {f"tensors[{irrep}]": (rows, 3) for irrep, rows in tensors.items()}
    for irrep, rows in tensors.items():
        check_type("tensors", irrep, Irrep, "Use Irrep(degree, sigma) as keys")
        if np.shape(rows)[1:2] != (irrep.dimension,):
            raise ArgumentError(
                f"tensors[{irrep}]",
                np.shape(rows),
                f"does not have the {irrep.dimension} components of {irrep}",
                "Pass (samples, components, channels)",
            )
    for name, (rows, rank) in arrays.items():
        if np.asarray(rows).dtype.kind not in "iuf":
            raise ArgumentError(
                name,
                np.asarray(rows).dtype,
                "are not real numbers",
                "Pass real and imaginary parts as two arrays",
            )
        if np.ndim(rows) != rank or len(rows) != len(owner) or not np.size(rows):
            raise ArgumentError(
                name,
                np.shape(rows),
                f"does not have one row for each of {len(owner)} samples",
                "Pass as many rows as entries of structures",
            )
        if not np.isfinite(rows).all():
            raise ArgumentError(name, "nan", "is not finite", "Check the model")


@dataclasses.dataclass(frozen=True)
class _Split:
    """Which samples are for training, their folds, and permutations of all samples."""

    owner: np.ndarray
    training: np.ndarray
    folds: tuple[np.ndarray, ...]
    orders: tuple[np.ndarray, ...]


def _permuted(
    owner: np.ndarray, names: np.ndarray, random: np.random.Generator
) -> np.ndarray:
    """Row indices that give each structure the rows of another of about its size.

    If sizes differ, rows are repeated or left out at the end.
    """
    order = np.arange(len(owner))
    rows = {name: np.flatnonzero(owner == name) for name in names}
    # One cycle through all structures, sorted by size: none keeps its own rows.
    cycle = sorted(random.permutation(names), key=lambda name: len(rows[name]))
    for name, other in zip(cycle, np.roll(cycle, 1), strict=True):
        order[rows[name]] = np.resize(rows[other], len(rows[name]))
    return order


@dataclasses.dataclass(frozen=True)
class _Tensors:
    """All tensors side by side, with channels scaled to unit variance in training."""

    values: Float[np.ndarray, "samples columns"]
    parts: Mapping[Irrep, slice]

    @classmethod
    def of(
        cls, tensors: Mapping[Irrep, np.ndarray], training: np.ndarray
    ) -> "_Tensors":
        parts, columns, start = {}, [], 0
        sizes = {
            irrep: np.var(rows[training], axis=0).mean(axis=0)
            for irrep, rows in tensors.items()
        }
        largest = max(
            (float(size.max(initial=0)) for size in sizes.values()), default=0
        )
        for irrep, rows in tensors.items():
            there = sizes[irrep] > _VANISHES * largest
            if not there.any():
                continue
            kept = rows[..., there] / np.sqrt(sizes[irrep][there])
            columns.append(kept.reshape(len(rows), -1))
            parts[irrep] = slice(start, start + columns[-1].shape[1])
            start = parts[irrep].stop
        empty = np.zeros((len(training), 0))
        return cls(np.concatenate([empty, *columns], axis=1), parts)


def _above(floor: float, rows: np.ndarray, training: np.ndarray) -> np.ndarray:
    """Features without the directions in which they only hold round-off."""
    fitted = rows[training]
    mean = fitted.mean(axis=0)
    _, sizes, directions = np.linalg.svd(fitted - mean, full_matrices=False)
    # Constants are rounded too.
    largest = np.hypot(sizes[0], np.linalg.norm(mean) * np.sqrt(len(fitted)))
    kept = directions[sizes > floor * largest]
    return np.asarray((rows - mean) @ kept.T @ kept)


@dataclasses.dataclass(frozen=True)
class _Modes:
    """A ridge regression in diagonal form, to predict other samples.

    Predictions are ``others @ (modes^T Y / (squares + ridge))``.
    """

    modes: Float[np.ndarray, "training modes"]
    squares: Float[np.ndarray, "modes"]
    others: Float[np.ndarray, "others modes"]

    def predictions(self, values: np.ndarray, ridge: float) -> np.ndarray:
        """Predictions for the other samples, from centred training values."""
        # Constant features and an infinite ridge predict 0.
        with np.errstate(divide="ignore", invalid="ignore"):
            factors = 1 / (self.squares + ridge * self.squares.max(initial=0.0))
        factors = np.where(np.isfinite(factors), factors, 0.0)
        return self.others @ (factors[:, None] * (self.modes.T @ values))


def _linear(training: np.ndarray, others: np.ndarray) -> _Modes:
    mean = training.mean(axis=0)
    modes, sizes, directions = np.linalg.svd(training - mean, full_matrices=False)
    return _Modes(modes, sizes**2, (others - mean) @ directions.T * sizes)


def _products(training: np.ndarray, others: np.ndarray) -> _Modes:
    mean, size = training.mean(axis=0), training.std(axis=0)
    size = np.where(size > 0, size, 1.0) * np.sqrt(training.shape[1])
    a, b = ((rows - mean) / size for rows in (training, others))
    own, far = (1 + a @ a.T) ** 2, (1 + b @ a.T) ** 2
    # Centred at the mean of the training samples in the space of products.
    column = own.mean(axis=0)
    far = far - far.mean(axis=1, keepdims=True) - column + column.mean()
    own = own - column - column[:, None] + column.mean()
    squares, modes = np.linalg.eigh(own)
    return _Modes(modes, np.maximum(squares, 0.0), far @ modes)


_Regression = Callable[[np.ndarray, np.ndarray], _Modes]


def _decode(
    regression: _Regression,
    rows: np.ndarray,
    tensors: _Tensors,
    split: _Split,
    quantile: float,
) -> dict[Irrep, Decoded]:
    """Results for all sectors of one layer."""
    training, values = split.training, tensors.values
    width = values.shape[1]
    # The tensors, followed by the permuted ones, in blocks of columns.
    every = np.concatenate([values, *(values[order] for order in split.orders)], axis=1)
    errors = np.zeros((len(_RIDGES), every.shape[1]))
    for fold in split.folds:
        fitted = training & ~fold
        mean = every[fitted].mean(axis=0)
        modes = regression(rows[fitted], rows[fold])
        for number, ridge in enumerate(_RIDGES):
            guess = mean + modes.predictions(every[fitted] - mean, ridge)
            errors[number] += np.square(every[fold] - guess).sum(axis=0)
    mean = every[training].mean(axis=0)
    modes = regression(rows[training], rows[~training])
    true, owner = values[~training], split.owner[~training]
    _, owner = np.unique(owner, return_inverse=True)

    def lost(guess: np.ndarray, part: slice) -> np.ndarray:
        """Sum of squared errors of each structure."""
        return np.bincount(owner, np.square(true[:, part] - guess).sum(axis=1))

    found = {}
    for irrep, part in tensors.parts.items():
        losses = []
        for block in range(1 + len(split.orders)):
            own = slice(part.start + block * width, part.stop + block * width)
            ridge = float(_RIDGES[errors[:, own].sum(axis=1).argmin()])
            centred = every[training, own] - mean[own]
            losses.append(lost(mean[own] + modes.predictions(centred, ridge), part))
        nothing, permuted = lost(mean[part], part), np.mean(losses[1:], axis=0)
        total = nothing.sum()
        if total == 0:  # constant in these structures
            continue
        found[irrep] = Decoded(
            score=float(1 - losses[0].sum() / total),
            permuted=float(1 - permuted.sum() / total),
            low=min(
                _lower(other - losses[0], nothing, quantile)
                for other in (nothing, permuted)
            ),
        )
    return found


def _lower(gains: np.ndarray, sizes: np.ndarray, quantile: float) -> float:
    """Lower bound of the ratio of sums of gains and sizes over structures."""
    num, total = len(gains), sizes.sum()
    ratio = gains.sum() / total
    error = np.sqrt(num / (num - 1) * np.square(gains - ratio * sizes).sum()) / total
    return float(ratio - quantile * error)
