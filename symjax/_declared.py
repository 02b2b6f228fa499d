"""What a class declares of its fields, held against a file: errors that say where."""

from collections.abc import Sequence

import pydantic

from symjax.errors import ArgumentError, SymjaxError


def refusal(
    error: pydantic.ValidationError,
    kind: type[SymjaxError] = ArgumentError,
    *,
    source: str = "",
    remedy: str = "Correct this key",
) -> SymjaxError:
    """The first thing that is wrong with a value, as an error of symjax.

    Args:
      error: What pydantic found.
      kind: Class of the result.
      source: Name of the file, which then stands before the path of the field.
      remedy: What to do; of keys that are unknown or missing it follows from that.

    Returns:
      An error with the path of the field, such as ``leaves[2].totals.norm``, and its
      value. Without a source, an error of symjax within a validator is returned as it
      is, since it names its argument.
    """
    # Misspelt keys first: they explain missing ones.
    first = min(
        error.errors(include_url=False),
        key=lambda problem: problem["type"] != "extra_forbidden",
    )
    value, problem = first["input"], first["msg"].removeprefix("Value error, ")
    problem = problem.rstrip(".").replace("Input should", "should", 1)
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, SymjaxError):
        if not source:
            return cause
        value, problem = cause.value, cause.problem
    elif first["type"] == "extra_forbidden":
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
    return kind(where or "run", value, problem, remedy)


def _path_of(steps: Sequence[str | int]) -> str:
    """Path of a field as in Python: ``structures[1].leaves[2].name``."""
    path = "".join(f"[{s}]" if isinstance(s, int) else f".{s}" for s in steps)
    return path.removeprefix(".")
