"""Errors on labels compared with A: how much averaging over rotations can improve them.

For a label y that transforms correctly, the squared error of a prediction, averaged
over orientations g, splits exactly:

    <RMSE^2>_g = RMSE^2[mean] + A^2,

with mean the prediction averaged over O(3). So A^2 / <RMSE^2>_g is the share of the
squared error that averaging over O(3) removes, and (A^2 - A_H^2) / <RMSE^2>_g the share
that averaging over a group H removes, with A_H the error that is left; all over the
same structures and components, with the same weights.
"""

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from symjax.errors import ArgumentError
from symjax.metrics.arguments import as_labels, check_fraction, check_type
from symjax.metrics.response_spectrum import ResponseSpectrum, add_spectra
from symjax.metrics.results import LeafMeasurement
from symjax.metrics.turn_averages import SampledResponse

# Labels have another zero if the part of label - prediction that composition explains
# is this many times larger than their own spread and than the rest.
_FAR = 3.0
# A fit of constants of elements needs this many structures more than constants.
_MORE_THAN_FITTED = 3
# Draws of the bootstrap, the same in every run.
_DRAWS, _SEED = 2000, 22
# Tolerance on the logarithm of the factor between two units.
_SAME_FACTOR = 0.15
LEAST_CORRELATION = 0.9
"""Smallest correlation at which labels count as a multiple of predictions."""
UNIT_FACTORS: Mapping[str, float] = {
    "kcal/mol": 23.0605,
    "kJ/mol": 96.4853,
    "Hartree": 1 / 27.2114,
    "meV": 1000.0,
    "Hartree and bohr": 1 / 51.4221,
    "kcal/mol and bohr": 12.2031,
    "nm": 10.0,
    "bohr": 0.529177,
    "GPa": 160.2177,
    "kbar": 1602.177,
}
"""Factor by which a number is larger in another unit than in eV and angstrom."""
OPPOSITE = "the opposite sign"
"""Labels that are minus the predictions, such as gradients instead of forces."""

SUMS = (
    *("squared", "variance", "count", "atoms"),
    *("label", "prediction", "label_square", "prediction_square", "product"),
    "uncertainty",
)
"""Columns of :class:`LabelErrors`."""


@dataclasses.dataclass(frozen=True, eq=False)
class LabelErrors:
    """Sums from which the errors of an output on labels follow, one row per structure.

    Attributes:
      sums: Columns :data:`SUMS`, over the samples with a label: the squared error of
        the mean prediction; V; the number of components; the number of atoms by which
        errors are divided (1 if they are not); the sums of labels, of mean predictions,
        of their squares, and of their products; and the sum of the squares of the
        model's own uncertainty (NaN if it has none).
      composition: Number of atoms of each element in each structure, by atomic number,
        if labels have an arbitrary zero for each element; otherwise empty.
      response: Spectrum of the response of the same structures, per atom if errors are.

    Raises:
      ArgumentError: ``sums`` does not have these columns.

    Example:
      >>> import numpy as np
      >>> from symjax.metrics import LabelErrors
      >>> sums = np.array([[3.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, np.nan]])
      >>> errors = LabelErrors(sums, {})
      >>> errors.error, errors.share
      (2.0, 0.25)
    """

    sums: Float[np.ndarray, "structures columns"]
    composition: Mapping[str, Float[np.ndarray, "structures"]]
    response: ResponseSpectrum | SampledResponse | None = None

    def __post_init__(self) -> None:
        if np.ndim(self.sums) != 2 or self.sums.shape[1] != len(SUMS):
            raise ArgumentError(
                "sums",
                np.shape(self.sums),
                "does not have the columns of LabelErrors",
                f"Pass {', '.join(SUMS)}",
            )

    def with_response(
        self, response: ResponseSpectrum | SampledResponse | None
    ) -> "LabelErrors":
        """Adds the response of one structure, divided by the number of atoms."""
        if self.response is not None or response is None:
            return self
        weight = 1 / float(self.column("atoms")[0]) ** 2
        return dataclasses.replace(self, response=response.weighted(weight))

    def column(self, name: str) -> Float[np.ndarray, "structures"]:
        """One of the columns :data:`SUMS`, one value per structure."""
        return self.sums[:, SUMS.index(name)]

    @functools.cached_property
    def zero(self) -> "Zero":
        """Whether labels and predictions have the same zero.

        By the criterion by which fine-tuning refuses labels with another zero.
        """
        label, prediction = self.column("label"), self.column("prediction")
        apart = label - prediction
        if not self.composition:
            return Zero(0.0, 0, False, apart)
        counts = np.stack(list(self.composition.values()), axis=1)
        atoms = counts.sum(axis=1)

        def left(values: np.ndarray) -> np.ndarray:
            return values - counts @ np.linalg.lstsq(counts, values, rcond=None)[0]

        def size(values: np.ndarray) -> float:
            return float(np.sqrt(np.mean(np.square(values / atoms))))

        residual = left(apart)
        explained = size(apart - residual)
        rank = int(np.linalg.matrix_rank(counts))
        if len(label) < rank + _MORE_THAN_FITTED:
            # Too few to fit: only differences above any model's errors are detected.
            far = explained > max(1.0, _FAR * size(left(label)))
            return Zero(explained, 0, far, apart)
        if explained <= _FAR * max(size(left(label)), size(residual)):
            return Zero(explained, 0, False, apart)
        return Zero(explained, rank, False, residual)

    @functools.cached_property
    def other_unit(self) -> str:
        """The unit that labels seem to have instead of the output's; empty if none."""
        product = self.column("product")
        label, prediction = (
            self.column("label_square"),
            self.column("prediction_square"),
        )
        if self.composition:
            if len(product) < _MORE_THAN_FITTED:
                return ""
            # Energies: only what composition does not explain.
            counts = np.stack(list(self.composition.values()), axis=1)
            pair = np.stack([self.column("label"), self.column("prediction")], axis=1)
            pair = pair - counts @ np.linalg.lstsq(counts, pair, rcond=None)[0]
            label, prediction, product = (
                pair[:, 0] ** 2,
                pair[:, 1] ** 2,
                pair.prod(axis=1),
            )
        return apparent_unit(
            float(label.sum()), float(prediction.sum()), float(product.sum())
        )

    @property
    def usable(self) -> bool:
        """Whether errors are meaningful: same unit, and same zero or a fitted one."""
        return not self.other_unit and not self.zero.unknown

    @property
    def squared(self) -> Float[np.ndarray, "structures"]:
        """Squared error of the mean prediction, after a fit of the zero if needed."""
        if self.zero.constants:
            return np.square(self.zero.left)
        return self.column("squared")

    def _rms(self, squares: np.ndarray, per_atom: bool) -> float:
        weights = 1 / self.column("atoms") ** 2 if per_atom else 1.0
        count = self.column("count").sum()
        return math.sqrt(float((squares * weights).sum()) / count) if count else 0.0

    def error_of(self, *, mean: bool = False, per_atom: bool = False) -> float:
        """Root-mean-square error on labels, in the unit of the output.

        Args:
          mean: Whether to return the error of the prediction averaged over O(3), and
            not that of the model, averaged over orientations.
          per_atom: Whether errors are first divided by the number of atoms.
        """
        squares = self.squared + (0.0 if mean else self.column("variance"))
        return self._rms(squares, per_atom)

    @property
    def error(self) -> float:
        """sqrt(<RMSE^2>_g), in the unit of the output."""
        return self.error_of()

    def equivariance_error(self, *, per_atom: bool = False) -> float:
        """A over the same samples, in the unit of the output.

        With ``per_atom``, errors are first divided by the number of atoms.
        """
        return self._rms(self.column("variance"), per_atom)

    @property
    def divided(self) -> bool:
        """Whether errors per atom differ from errors."""
        return bool((self.column("atoms") > 1).any())

    @property
    def uncertainty(self) -> float | None:
        """Root mean square of the model's own uncertainty; None where it has none."""
        squares = self.column("uncertainty")
        known = np.isfinite(squares)
        if not known.any():
            return None
        count = self.column("count")[known].sum()
        return math.sqrt(float(squares[known].sum() / count))

    @property
    def share(self) -> float:
        """Share of the squared error that averaging over O(3) removes."""
        return float(self._shares(np.ones((1, len(self.sums))))[0])

    def _shares(self, times: Float[np.ndarray, "draws structures"]) -> np.ndarray:
        weights = times / self.column("atoms") ** 2
        variance = weights @ self.column("variance")
        total = variance + weights @ self.squared
        return np.divide(variance, total, out=np.zeros(len(variance)), where=total > 0)

    def interval(self, confidence: float = 0.95) -> tuple[float, float] | None:
        """Confidence interval of ``share``, by the bootstrap over structures.

        Returns:
          Lower and upper end; None for fewer than three structures.

        Raises:
          ArgumentError: ``confidence`` is not between 0 and 1.

        Example:
          >>> import numpy as np
          >>> from symjax.metrics import LabelErrors
          >>> sums = np.ones((20, 10))
          >>> LabelErrors(sums, {}).interval()
          (0.5, 0.5)
        """
        check_fraction("confidence", confidence)
        num = len(self.sums)
        if num < 3:
            return None
        generator = np.random.default_rng(_SEED)
        times = generator.multinomial(num, np.full(num, 1 / num), size=_DRAWS)
        ends = np.quantile(
            self._shares(times), [(1 - confidence) / 2, (1 + confidence) / 2]
        )
        return float(ends[0]), float(ends[1])

    def share_of_error(self, left: float) -> float:
        """Share of the squared error that an average over rotations removes.

        Args:
          left: A after the average, from ``response.after``; per atom if errors are.

        Returns:
          (A^2 - left^2) / <RMSE^2>_g, with the weights of ``share``.

        Raises:
          ArgumentError: ``left`` is not a number of at least 0.

        Example:
          >>> import numpy as np
          >>> from symjax.metrics import LabelErrors
          >>> errors = LabelErrors(np.ones((1, 10)), {})
          >>> errors.share_of_error(0.5)  # of A = 1, RMSE^2 = 2
          0.375
        """
        before = self.equivariance_error(per_atom=True)
        if not isinstance(left, int | float) or not left >= 0:
            raise ArgumentError("left", left, "is not an error", "Pass 0 or more")
        return self.share * (1 - (left / before) ** 2) if before > 0 else 0.0


@dataclasses.dataclass(frozen=True, eq=False)
class Zero:
    """Whether labels and predictions have the same zero.

    Attributes:
      apart: Root mean square per atom of the part of label - prediction that
        composition explains.
      constants: Number of constants of elements that were fitted; 0 if none.
      unknown: Whether the zero differs, but there are too few structures to fit it.
      left: Labels minus predictions, after the fit if there was one.
    """

    apart: float
    constants: int
    unknown: bool
    left: np.ndarray


def apparent_unit(label: float, prediction: float, product: float) -> str:
    """The unit that labels seem to have instead of that of the predictions.

    If labels correlate strongly with predictions, the ratio of their sizes is compared
    with :data:`UNIT_FACTORS`, and its sign with -1; empty if labels are not such a
    multiple. Given are the sums of squares of both, and that of their products.

    Example:
      >>> from symjax.metrics.errors_on_labels import apparent_unit
      >>> apparent_unit(23.06**2, 1.0, -23.06), apparent_unit(3.4**2, 1.0, 3.4)
      ('kcal/mol with the opposite sign', '')
    """
    if not min(label, prediction) > 0:
        return ""
    correlation = product / math.sqrt(label * prediction)
    factor = math.sqrt(label / prediction)
    if correlation <= -LEAST_CORRELATION and abs(math.log(factor)) < _SAME_FACTOR:
        return OPPOSITE
    unit, size = min(
        UNIT_FACTORS.items(), key=lambda one: abs(math.log(factor / one[1]))
    )
    # For small factors, a poor model is a likelier explanation than another unit.
    small = abs(math.log(size)) < 1
    limit = _SAME_FACTOR / 5 if small else _SAME_FACTOR
    least = 1 - (1 - LEAST_CORRELATION) / 10 if small else LEAST_CORRELATION
    if abs(correlation) <= least or abs(math.log(factor / size)) >= limit:
        return ""
    return unit if correlation > 0 else f"{unit} with {OPPOSITE}"


def label_errors(
    leaf: LeafMeasurement,
    labels: np.ndarray,
    numbers: np.ndarray,
    uncertainty: LeafMeasurement | None = None,
) -> LabelErrors | None:
    """Errors of an output of one structure on labels.

    Args:
      leaf: The measurement of the output.
      labels: Labels of the real samples, in the unit of the output and with the zero of
        the model; NaN where unknown.
      numbers: Atomic numbers of the structure if labels have an arbitrary zero for each
        element; otherwise empty.
      uncertainty: The measurement of the model's own standard deviation of the output.

    Returns:
      The errors over the samples with a label; None if no sample has one.

    Raises:
      ArgumentError: Labels or atomic numbers have the wrong shape or type, or the
        uncertainty belongs to other samples.

    Example:
      >>> import jax.numpy as jnp, numpy as np
      >>> from symjax.metrics import label_errors, measure
      >>> from symjax.so3 import VECTOR
      >>> leaf = measure(lambda x: x, jnp.eye(3), representations=VECTOR,
      ...                max_degree=1)["output"]
      >>> found = label_errors(leaf, np.zeros((3, 3)), np.zeros(0, int))
      >>> round(found.error, 6)  # of nine components, three are 1
      0.57735
    """
    check_type("leaf", leaf, LeafMeasurement, "Pass measure(...)['name of the output']")
    m = np.asarray(leaf.mean, np.float64)[leaf.mask]
    y = as_labels("labels", labels, m.shape)
    numbers = np.asarray(numbers)
    if numbers.ndim != 1 or (numbers.size and numbers.dtype.kind not in "iu"):
        raise ArgumentError(
            "numbers",
            numbers,
            "are not the atomic numbers of a structure",
            "Pass atoms.numbers, or numpy.zeros(0, int) if labels have a fixed zero",
        )
    known = np.isfinite(y.reshape(len(y), -1)).all(axis=1)
    if not y.size or not known.any():
        return None
    select = np.zeros(leaf.mask.shape, bool)
    select[leaf.mask] = known
    totals = leaf.totals(select)
    own = math.nan
    m, y = m[known], y[known]
    if uncertainty is not None:
        remedy = "Pass the measurement of the output that has the standard deviation"
        check_type("uncertainty", uncertainty, LeafMeasurement, remedy)
        # One uncertainty may serve all components of a sample.
        each = np.asarray(uncertainty.mean, np.float64)[uncertainty.mask]
        if len(each) != len(known):
            raise ArgumentError(
                "uncertainty",
                each.shape,
                f"does not have the {len(known)} samples of {leaf.name!r}",
                remedy,
            )
        if known.all():
            own = float(np.square(each).sum()) * y.size / each.size
    sums = [
        float(np.square(m - y).sum()),
        float(totals.variance.sum()),
        float(totals.count.sum()),
        float(len(numbers)) or 1.0,
        float(y.sum()),
        float(m.sum()),
        float(np.square(y).sum()),
        float(np.square(m).sum()),
        float((y * m).sum()),
        own,
    ]
    kinds, counts = np.unique(numbers, return_counts=True)
    composition = {
        str(kind): np.array([float(count)])
        for kind, count in zip(kinds.tolist(), counts, strict=True)
    }
    # The response spectrum is a sum over all samples.
    response = leaf.response if known.all() else None
    return LabelErrors(np.array([sums]), composition).with_response(response)


def add_label_errors(parts: Sequence[LabelErrors | None]) -> LabelErrors | None:
    """Joins the errors of several structures.

    Args:
      parts: Errors of each structure, None for structures without labels.

    Returns:
      The errors of all structures with labels; None if there are none. The response is
      kept if all of these have one.

    Example:
      >>> import numpy as np
      >>> from symjax.metrics import LabelErrors, add_label_errors
      >>> one = LabelErrors(np.ones((1, 10)), {"1": np.ones(1)})
      >>> len(add_label_errors([one, None, one]).sums), add_label_errors([None])
      (2, None)
    """
    found = [part for part in parts if part is not None]
    if not found:
        return None
    symbols = sorted({symbol for part in found for symbol in part.composition}, key=int)
    composition = {
        symbol: np.concatenate(
            [part.composition.get(symbol, np.zeros(len(part.sums))) for part in found]
        )
        for symbol in symbols
    }
    responses = [part.response for part in found if part.response is not None]
    return LabelErrors(
        np.concatenate([part.sums for part in found]),
        composition,
        add_spectra(responses) if len(responses) == len(found) else None,
    )
