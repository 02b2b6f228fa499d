"""How fields of a report are written: numbers, arrays, and classes of other packages.

Classes of ``symjax.metrics`` know nothing about files; the annotations here say how
each is read, validated and written.
"""

import dataclasses
import math
import typing
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NotRequired

import numpy as np
from ase.data import chemical_symbols
from pydantic import (
    AfterValidator,
    Field,
    GetCoreSchemaHandler,
    with_config,
)
from pydantic import PlainSerializer as Written
from pydantic_core import CoreSchema, core_schema
from typing_extensions import TypedDict

from symjax._declared import STRICT
from symjax._text import file_text
from symjax.metrics import (
    AveragedError,
    Certificate,
    Convergence,
    RuleTotals,
    Totals,
)
from symjax.metrics.consistency import LabelConsistency
from symjax.metrics.verdicts import PhysicalCheck
from symjax.report.scales import Spread
from symjax.so3.irreps import Irrep

# Beyond that, float64 does not hold every integer.
_LARGEST = 2**53
Count = Annotated[int, Field(ge=0, le=_LARGEST)]
Positive = Annotated[int, Field(ge=1, le=_LARGEST)]
Size = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
# Names of files may hold bytes that are no text.
Text = Annotated[str, Written(file_text)]


def _checked_irrep(label: str) -> str:
    Irrep.parse(label)
    return label


IrrepLabel = Annotated[str, AfterValidator(_checked_irrep)]


class Marker:
    """Base of annotations whose methods read and write a field."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self._read,
            serialization=core_schema.plain_serializer_function_ser_schema(self._write),
        )

    def _read(self, value: Any) -> Any:
        raise NotImplementedError

    def _write(self, value: Any) -> Any:
        raise NotImplementedError


class _Label(Marker):
    """Marks an irrep that is written as its label."""

    def _read(self, value: Any) -> Irrep:
        return Irrep.parse(value)

    def _write(self, value: Irrep) -> str:
        return str(value)


StoredIrrep = Annotated[Irrep, _Label()]


@dataclasses.dataclass(frozen=True)
class Numbers(Marker):
    """Marks an array that is written as nested lists.

    Attributes:
      minimum: Smallest allowed number.
      integer: Whether the numbers are integers.
    """

    minimum: float = 0.0
    integer: bool = False

    def _read(self, value: Any) -> np.ndarray:
        try:
            array = np.array(value, float)
        except (TypeError, ValueError, OverflowError):
            array = np.array(np.nan)
        allowed = np.isfinite(array) & (array >= self.minimum)
        if self.integer:
            allowed &= (array == np.rint(array)) & (abs(array) <= _LARGEST)
        if not isinstance(value, list) or not allowed.all():
            kind = "integers" if self.integer else "numbers"
            raise ValueError(f"is not an array of {kind} >= {self.minimum:g}")
        return array.astype(int) if self.integer else array

    def _write(self, array: Any) -> Any:
        return np.asarray(array, int if self.integer else float).tolist()


def closed_object(name: str, fields: Mapping[str, Any]) -> Any:
    """The type of an object of JSON with these fields and no others."""
    make: Any = TypedDict
    return with_config({**STRICT, "extra": "forbid"})(make(name, fields))


@dataclasses.dataclass(frozen=True, eq=False)
class Stored:
    """Marks a class of another package that is written as an object with its fields.

    Attributes:
      fields: Annotations that replace those of the class, by field.
      filled: Fields that are not written, and their values after reading.
      derived: Properties that are written for other readers and not read back.
    """

    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    filled: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    derived: Sequence[str] = ()

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        hints = {**typing.get_type_hints(source, include_extras=True), **self.fields}
        hints = {name: hints[name] for name in hints if name not in self.filled}
        # Also fields with a default: a file that lacks one is damaged.
        known = hints | dict.fromkeys(self.derived, NotRequired[Any])
        inner = handler.generate_schema(closed_object(source.__name__, known))

        def read(fields: dict[str, Any]) -> Any:
            own = {name: fields[name] for name in hints}
            return source(**own, **self.filled)

        def write(value: Any, further: Any) -> Any:
            plain = further({name: getattr(value, name) for name in hints})
            return plain | {name: getattr(value, name) for name in self.derived}

        return core_schema.no_info_after_validator_function(
            read,
            inner,
            serialization=core_schema.wrap_serializer_function_ser_schema(
                write, schema=inner
            ),
        )


class Record:
    """Base of the classes of a report; each is written as an object with its fields.

    Example:
      >>> import dataclasses, pydantic
      >>> from symjax.report.stored import Count, Record
      >>> @dataclasses.dataclass(frozen=True)
      ... class Timing(Record):
      ...     steps: Count = 0
      >>> pydantic.TypeAdapter(Timing).validate_json('{"steps": 3}')
      Timing(steps=3)
    """

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return Stored().__get_pydantic_core_schema__(source, handler)


def _null_is(value: float) -> Any:
    """A number that is written as null if it is not finite, which JSON cannot hold."""
    return Annotated[
        float | None,
        AfterValidator(lambda number: value if number is None else number),
        Written(lambda number: number if math.isfinite(number) else None),
    ]


# A single rule says nothing about its error; energies have no size, as their zero is a
# convention; labels without truth have no accuracy.
OrInfinite, OrUnknown = _null_is(math.inf), _null_is(math.nan)

Sums = Annotated[np.ndarray, Numbers()]
AnyNumbers = Annotated[np.ndarray, Numbers(-math.inf)]
AtomicNumber = Annotated[int, Field(ge=0, lt=len(chemical_symbols))]
# Unbiased estimates, from random elements, of what vanishes may be negative.
StoredTotals = Annotated[
    Totals,
    Stored(
        {"variance": AnyNumbers, "norm": Sums, "power": AnyNumbers, "count": Sums},
    ),
]
StoredRule = Annotated[
    RuleTotals,
    Stored({"degree": Count, "num_elements": Count, "totals": StoredTotals}),
]
StoredAverage = Annotated[
    AveragedError,
    Stored({"num_elements": Positive, "error": Size, "uncertainty": Size}),
]
StoredSpread = Annotated[
    Spread, Stored({"count": Size, "first": AnyNumbers, "second": Size})
]
StoredVerdict = Annotated[
    Convergence, Stored({"degree_to_try": Count, "excluded": Share})
]
StoredCertificate = Annotated[
    Certificate,
    Stored(
        {
            **dict.fromkeys(
                ("degree", "projected_degree", "degree_to_try", "samples"), Count
            ),
            **dict.fromkeys(("content_uncertainty", "error_uncertainty"), OrInfinite),
            "excluded": Share,
            "confidence": Share,
            "noise": Size,
        }
    ),
]
StoredCheck = Annotated[
    PhysicalCheck,
    Stored(
        dict.fromkeys(("deviation", "error", "scale"), OrUnknown), derived=("holds",)
    ),
]
StoredLabels = Annotated[
    LabelConsistency,
    Stored(
        {
            **dict.fromkeys(("changing", "disagreement"), Size),
            **dict.fromkeys(("accuracy", "majority_accuracy"), OrUnknown),
            "accuracy_range": tuple.__class_getitem__((OrUnknown, OrUnknown)),
            "num_elements": Positive,
        },
        filled={"frequencies": np.zeros((0, 0))},
    ),
]
