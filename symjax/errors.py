"""Errors that say what is wrong, with which value, and what to do about it."""

import reprlib

__all__ = [
    "AliasingError",
    "ArgumentError",
    "GridError",
    "ModelError",
    "RepresentationError",
    "StructureError",
    "SymjaxError",
]

_REPR = reprlib.Repr()
_REPR.maxstring = 120
_REPR.maxother = 120


class SymjaxError(ValueError):
    """Base class of every error that symjax raises about its input.

    The message always has the form ``argument=value: problem. remedy.``, so that
    a reader who sees only the last line of a log knows what to change.

    Args:
      argument: Name of the offending argument, option or file field.
      value: Its value; long values are shortened in the message.
      problem: What is wrong with the value, without a final full stop.
      remedy: What the caller can do, without a final full stop.

    Example:
      >>> from symjax.errors import SymjaxError
      >>> print(SymjaxError("degree", -1, "must not be negative", "Pass 0 or more"))
      degree=-1: must not be negative. Pass 0 or more.
    """

    def __init__(self, argument: str, value: object, problem: str, remedy: str):
        self.argument = argument
        self.value = value
        self.problem = problem
        self.remedy = remedy
        super().__init__(f"{argument}={_REPR.repr(value)}: {problem}. {remedy}.")

    def __reduce__(self) -> tuple[type, tuple[str, object, str, str]]:
        # BaseException pickles only the formatted message; worker processes need
        # all four fields back.
        return type(self), (self.argument, self.value, self.problem, self.remedy)


class ArgumentError(SymjaxError):
    """An argument or option has a value that cannot be used.

    Example:
      >>> from symjax.errors import ArgumentError
      >>> print(ArgumentError("num", 0, "is not a count", "Pass 1 or more"))
      num=0: is not a count. Pass 1 or more.
    """


class RepresentationError(SymjaxError):
    """A representation does not fit the array, or is unknown.

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.errors import RepresentationError
      >>> from symjax.so3 import VECTOR, act
      >>> try:
      ...     act(VECTOR, jnp.eye(3), jnp.ones(2))
      ... except RepresentationError as error:
      ...     print(error.argument)
      values
    """


class GridError(SymjaxError):
    """A quadrature rule is unavailable, or too coarse for what was asked.

    Example:
      >>> from symjax.errors import GridError
      >>> from symjax.so3 import lebedev_product
      >>> try:
      ...     lebedev_product(500)
      ... except GridError as error:
      ...     print(error.value)
      500
    """


class AliasingError(GridError):
    """The grid does not resolve the response; the remedy names the degree to try.

    Example:
      >>> from symjax.errors import AliasingError, GridError
      >>> issubclass(AliasingError, GridError)
      True
    """


class StructureError(SymjaxError):
    """A structure or a structure file cannot be used.

    Example:
      >>> from symjax.data import find_structure
      >>> from symjax.errors import StructureError
      >>> try:
      ...     find_structure("unobtainium")
      ... except StructureError as error:
      ...     print(error.value)
      unobtainium
    """


class ModelError(SymjaxError):
    """A model, its hyperparameters or its file cannot be used.

    Example:
      >>> from symjax.errors import ModelError
      >>> from symjax.models import load_model
      >>> try:
      ...     load_model("no-such-model")
      ... except ModelError as error:
      ...     print(error.value)
      no-such-model
    """
