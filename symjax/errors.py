"""Errors that name an argument, its value, the problem and the remedy."""

import contextlib
import reprlib
from collections.abc import Callable, Iterator
from typing import Any, Self

from symjax._text import visible

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
    the last line of a log is enough to know what to change. It is one line: characters
    that are not printable, such as a line feed in a name, are escaped.

    Args:
      argument: Name of the offending argument, option or file field.
      value: Its value; long values are shortened in the message.
      problem: What is wrong with the value, without a final full stop.
      remedy: What the caller can do, without a final full stop.
      settings: Values of arguments that the remedy mentions: ``{name}`` in the remedy
        becomes ``name=value``, or the option of a command line with this value.

    Example:
      >>> from symjax.errors import SymjaxError
      >>> print(SymjaxError("degree", -1, "must not be negative", "Pass 0 or more"))
      degree=-1: must not be negative. Pass 0 or more.
      >>> error = SymjaxError("grid", 2, "is too coarse", "Use {grid}", grid=13)
      >>> error.remedy
      'Use grid=13'
      >>> print(error.spelled("--grid", 2, lambda name, value: f"--{name} {value}"))
      --grid=2: is too coarse. Use --grid 13.
    """

    def __init__(
        self,
        argument: str,
        value: object,
        problem: str,
        remedy: str,
        **settings: object,
    ):
        self.argument = argument
        self.value = value
        self.problem = problem
        self._remedy, self._settings = remedy, settings
        self.remedy = remedy
        if settings:
            spelled = {name: f"{name}={known!r}" for name, known in settings.items()}
            self.remedy = remedy.format(**spelled)
        message = f"{argument}={_REPR.repr(value)}: {problem}. {self.remedy}."
        super().__init__(visible(message))

    def spelled(
        self, argument: str, value: object, spell: Callable[[str, Any], str]
    ) -> Self:
        """The same error with the options of a command line.

        Args:
          argument: The option for the offending argument.
          value: Its value as typed.
          spell: Writes an argument of the remedy with its value as an option.

        Returns:
          An error of the same class.
        """
        remedy = self._remedy
        if self._settings:
            words = {name: spell(name, known) for name, known in self._settings.items()}
            remedy = remedy.format(**words)
        return type(self)(argument, value, self.problem, remedy)

    def __reduce__(self) -> tuple[Any, ...]:
        # BaseException pickles only the formatted message; worker processes need
        # all fields back.
        fields = self.argument, self.value, self.problem, self._remedy
        return _restored, (type(self), fields, self._settings)


def _restored(
    kind: type[SymjaxError], fields: tuple[Any, ...], settings: dict[str, Any]
) -> SymjaxError:
    return kind(*fields, **settings)


class ArgumentError(SymjaxError):
    """An argument or option has an invalid value.

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
      >>> from symjax.so3 import quadrature
      >>> try:
      ...     quadrature(500, "lebedev")
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


@contextlib.contextmanager
def needs_extra(
    extra: str, argument: str, value: object, kind: type[SymjaxError] = ModelError
) -> Iterator[None]:
    """Raises an error that names an extra if an import in this block fails.

    Args:
      extra: The extra of symjax.
      argument: Name of the argument that needs it.
      value: Its value.
      kind: Class of the error.
    """
    try:
        yield
    except ImportError as error:
        raise kind(
            argument,
            value,
            f"needs {error.name or error}, which is not installed",
            f"Install symjax[{extra}]: pip install 'symjax[{extra}]'",
        ) from error
