"""How second moments of responses and errors on labels are stored in a report."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np

from symjax.metrics import LabelErrors, ResponseSpectrum, SampledResponse
from symjax.metrics.errors_on_labels import SUMS
from symjax.metrics.turn_averages import AveragedVariance
from symjax.report.stored import AnyNumbers, Count, Marker, Size, Stored


@dataclasses.dataclass(frozen=True)
class _Triangles(Marker):
    """Marks symmetric moments of all degrees, which are stored as upper triangles."""

    def _read(self, value: Any) -> tuple[np.ndarray, ...]:
        if not isinstance(value, list) or not value:
            raise ValueError("is no list of moments")
        gram = []
        for degree, pair in enumerate(value):
            size = 2 * degree + 1
            try:
                rows = np.array(pair, float)
            except (TypeError, ValueError, OverflowError) as error:
                raise ValueError("is no array of numbers") from error
            if rows.shape != (2, size * (size + 1) // 2) or not np.isfinite(rows).all():
                raise ValueError(f"are no moments of degree {degree}")
            whole = np.zeros((2, size, size))
            above = np.triu_indices(size)
            whole[:, above[0], above[1]] = rows
            whole[:, above[1], above[0]] = rows
            gram.append(whole)
        return tuple(gram)

    def _write(self, gram: Any) -> Any:
        return [part[:, *np.triu_indices(part.shape[1])].tolist() for part in gram]


@dataclasses.dataclass(frozen=True)
class _Rows(Marker):
    """Marks the sums of :class:`LabelErrors`: one object for each structure."""

    def _read(self, value: Any) -> np.ndarray:
        if not isinstance(value, list) or not value:
            raise ValueError("is no list of structures")
        rows = []
        for row in value:
            if not isinstance(row, dict) or set(row) != set(SUMS):
                raise ValueError(f"is no object with the fields {', '.join(SUMS)}")
            numbers = []
            for name in SUMS:
                number = math.nan if row[name] is None else row[name]
                known = isinstance(number, int | float) and not isinstance(number, bool)
                if not known or (name != "uncertainty" and not math.isfinite(number)):
                    raise ValueError(f"has no number {name}")
                numbers.append(float(number))
            if min(numbers[SUMS.index(n)] for n in ("count", "atoms")) < 1:
                raise ValueError("counts no value")
            rows.append(numbers)
        return np.array(rows)

    def _write(self, sums: Any) -> Any:
        return [
            {
                name: None if math.isnan(number) else number
                for name, number in zip(SUMS, row, strict=True)
            }
            for row in np.asarray(sums, float).tolist()
        ]


_Spectrum = Annotated[
    ResponseSpectrum,
    Stored(
        {
            "gram": Annotated[tuple[np.ndarray, ...], _Triangles()],
            "variance": Size,
            "count": Count,
            "noise": Size,
        }
    ),
]
_Estimate = Annotated[AveragedVariance, Stored({"num_elements": Count, "square": Size})]
_Sampled = Annotated[
    SampledResponse,
    Stored({"estimates": Mapping[str, _Estimate], "count": Count, "noise": Size}),
]
StoredResponse = _Spectrum | _Sampled
StoredLabelErrors = Annotated[
    LabelErrors,
    Stored(
        {
            "sums": Annotated[np.ndarray, _Rows()],
            "composition": Mapping[str, AnyNumbers],
        },
        filled={"response": None},
    ),
]
