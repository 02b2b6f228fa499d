"""Classes that validate their annotated fields, with errors that name the field."""

import dataclasses
import functools
import json
from collections.abc import Sequence
from typing import Any, Self, dataclass_transform

import pydantic
import pydantic.dataclasses

from symjax.errors import ArgumentError, ModelError, SymjaxError

STRICT = pydantic.ConfigDict(strict=True, allow_inf_nan=False)
"""No conversion between text, numbers and booleans; NaN and infinity are refused."""


@dataclass_transform(frozen_default=True)
class Declared:
    """Base of frozen, hashable dataclasses whose fields are validated.

    Values are checked against the annotations when an object is made, in Python or from
    JSON; integers are accepted as floats. ``__post_init__`` checks conditions between
    fields.

    Raises:
      ModelError: A field is unknown, missing or has an invalid value.

    Example:
      >>> from symjax._declared import Declared
      >>> class Cutoff(Declared):
      ...     radius: float = 4.5
      >>> Cutoff(5).to_json(), Cutoff.from_json({}) == Cutoff()
      ({'radius': 5.0}, True)
      >>> Cutoff("5")
      Traceback (most recent call last):
      ...
      symjax.errors.ModelError: radius='5': should be a valid number. ...
    """

    def __init_subclass__(cls) -> None:
        made: Any = pydantic.dataclasses.dataclass(
            cls, frozen=True, config={**STRICT, "extra": "forbid"}
        )
        check, names = made.__init__, made.__dataclass_fields__

        @functools.wraps(check)
        def init(self: Any, *values: Any, **fields: Any) -> None:
            named = dict(zip(names, values, strict=False))
            try:
                check(self, *values[len(names) :], **named, **fields)
            except pydantic.ValidationError as error:
                raise refusal(error, ModelError, remedy="Correct this value") from None

        made.__init__ = init

    def to_json(self) -> dict[str, Any]:
        """Its fields as data that JSON can hold."""
        return dataclasses.asdict(self)  # type: ignore[call-overload]

    @classmethod
    def from_json(cls, data: Any, source: str = "") -> Self:
        """Inverse of :meth:`to_json`; fields with a default may be missing.

        Args:
          data: What ``to_json`` returned, possibly read from a file.
          source: Name of the file, for errors.

        Returns:
          The object.

        Raises:
          ModelError: A field is unknown, missing or has an invalid value.
        """
        try:
            text = json.dumps(data, default=repr)
            return pydantic.TypeAdapter(cls).validate_json(text)
        except pydantic.ValidationError as error:
            raise refusal(error, ModelError, source=source, whole="config") from None


_UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")


def refusal(
    error: pydantic.ValidationError,
    kind: type[SymjaxError] = ArgumentError,
    *,
    source: str = "",
    remedy: str = "Correct this key",
    whole: str = "run",
) -> SymjaxError:
    """Converts the first validation error to an error of symjax.

    Args:
      error: The error of pydantic.
      kind: Class of the result.
      source: Name of the file, which is put before the path of the field.
      remedy: What to do. Without a source, unknown and missing keys have their own.
      whole: Name of the value itself, if no field of it is wrong.

    Returns:
      An error with the path of the field, such as ``leaves[2].totals.norm``, and its
      value. Without a source, an error of symjax that a validator raised is returned
      unchanged, since it names its argument.
    """
    # Misspelt keys first: they explain missing ones.
    first = min(
        error.errors(include_url=False),
        key=lambda problem: problem["type"] not in _UNKNOWN,
    )
    value, problem = first["input"], first["msg"].removeprefix("Value error, ")
    problem = problem.rstrip(".").replace("Input should", "should", 1)
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, SymjaxError):
        if not source:
            return cause
        value, problem = cause.value, cause.problem
    elif first["type"] in _UNKNOWN:
        problem = "is an unknown key"
        remedy = remedy if source else "Correct its name or leave it out"
    elif first["type"] == "missing":
        value, problem = None, "is missing"
        remedy = remedy if source else "Add this key"
    elif first["type"] == "json_invalid":
        return kind("path", source, f"is truncated or not JSON ({problem})", remedy)
    where = _path_of(first["loc"])
    if source:
        where = f"{source}: {where}" if where else source
    return kind(where or whole, value, problem, remedy)


def _path_of(steps: Sequence[str | int]) -> str:
    """Path of a field as in Python: ``structures[1].leaves[2].name``."""
    path = "".join(f"[{s}]" if isinstance(s, int) else f".{s}" for s in steps)
    return path.removeprefix(".")
