"""How second moments of responses and errors on labels are stored in a report."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from pydantic import AfterValidator, Field
from pydantic import PlainSerializer as Written

from symjax.metrics import LabelErrors, ResponseSpectrum, SampledResponse
from symjax.metrics.errors_on_labels import SUMS
from symjax.metrics.turn_averages import AveragedVariance
from symjax.report.stored import (
    AnyNumbers,
    Count,
    Marker,
    OrUnknown,
    Size,
    Stored,
    closed_object,
)


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


# The sums of a structure; its model need not have an uncertainty.
_ROW: Any = closed_object(
    "LabelSums",
    dict.fromkeys(SUMS, float)
    | dict.fromkeys(("count", "atoms"), Annotated[float, Field(ge=1)])
    | {"uncertainty": OrUnknown},
)


def _table(rows: list[dict[str, float]]) -> np.ndarray:
    return np.array([[row[name] for name in SUMS] for row in rows])


def _rows(sums: np.ndarray) -> list[dict[str, float | None]]:
    known = [[None if math.isnan(one) else one for one in row] for row in sums.tolist()]
    return [dict(zip(SUMS, row, strict=True)) for row in known]


_Sums: Any = Annotated[
    list[_ROW], Field(min_length=1), AfterValidator(_table), Written(_rows)
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
            "sums": _Sums,
            "composition": Mapping[str, AnyNumbers],
        },
        filled={"response": None},
    ),
]
