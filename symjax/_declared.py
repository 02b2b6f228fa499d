"""What a class declares of its fields, held against a file: errors that say where."""

import dataclasses
import functools
import json
from collections.abc import Sequence
from typing import Any, Self, dataclass_transform

import pydantic
import pydantic.dataclasses

from symjax.errors import ArgumentError, ModelError, SymjaxError

STRICT = pydantic.ConfigDict(strict=True, allow_inf_nan=False)
"""A number is no text and a truth no number; what is not finite is refused."""


@dataclass_transform(frozen_default=True)
class Declared:
    """Base of frozen, hashable dataclasses whose annotations say what they may hold.

    Values are held against them when an object is made, in Python or from JSON, and
    integers stand for numbers; what holds between fields is checked in
    ``__post_init__``.

    Raises:
      ModelError: A field is unknown, missing or has an impossible value.

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
        """Inverse of :meth:`to_json`, in which fields with a default may be missing.

        Args:
          data: What ``to_json`` returned, possibly read from a file.
          source: Name of the file, for errors.

        Returns:
          The object.

        Raises:
          ModelError: A field is unknown, missing or has an impossible value.
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
    """The first thing that is wrong with a value, as an error of symjax.

    Args:
      error: What pydantic found.
      kind: Class of the result.
      source: Name of the file, which then stands before the path of the field.
      remedy: What to do; of keys that are unknown or missing it follows from that.
      whole: What the value itself is called, where no field of it is wrong.

    Returns:
      An error with the path of the field, such as ``leaves[2].totals.norm``, and its
      value. Without a source, an error of symjax within a validator is returned as it
      is, since it names its argument.
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
        return kind("path", source, f"is truncated or no JSON ({problem})", remedy)
    where = _path_of(first["loc"])
    if source:
        where = f"{source}: {where}" if where else source
    return kind(where or whole, value, problem, remedy)


def _path_of(steps: Sequence[str | int]) -> str:
    """Path of a field as in Python: ``structures[1].leaves[2].name``."""
    path = "".join(f"[{s}]" if isinstance(s, int) else f".{s}" for s in steps)
    return path.removeprefix(".")
