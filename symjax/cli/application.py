"""The application: exit codes, errors, and how options are named in messages."""

import contextlib
import errno
import functools
import inspect
import logging
import shlex
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

import symjax
from symjax._signals import interruptions
from symjax._text import file_text
from symjax.cli.streams import say
from symjax.errors import ArgumentError, SymjaxError

OK, INTERNAL, BAD_INPUT, UNRESOLVED, FAILED, ABOVE_LIMIT = 0, 1, 2, 3, 4, 5
INTERRUPTED = 130
"""Exit codes; ``docs/cli.md`` lists what they mean."""

GIB = 2**30
# Errors of the file system, which are not bugs of symjax.
_OF_THE_SYSTEM = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES),
    *(errno.EPERM, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.ELOOP),
)
_REMEDY = (
    "Free some space, or choose another place; files written before are complete, and "
    "--resume continues from them"
)
EXIT_CODES = """\b
Exit codes:
    0  done
    1  internal error (see it with --debug)
    2  bad input or usage; the message says what to change
    3  a result is not resolved by the grid; the report is written
       and says which --grid to try
    4  some structures failed; the report is written without them
    5  an error is above --fail-above, or no average reaches --reach
  130  interrupted; continue with --resume
"""

app = typer.Typer(
    name="symjax",
    help="Measures how well models have learned the symmetry of three-dimensional "
    "space.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_DEBUG = inspect.Parameter(
    "debug",
    inspect.Parameter.KEYWORD_ONLY,
    default=False,
    annotation=Annotated[
        bool, typer.Option("--debug", help="Print the traceback of an error.")
    ],
)


class _Messages(logging.Handler):
    """Writes log messages of the library to the current standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        say(self.format(record), err=True)


def _show_messages() -> None:
    """Shows log messages of symjax; those of other packages are left alone."""
    logger = logging.getLogger("symjax")
    if not any(isinstance(handler, _Messages) for handler in logger.handlers):
        logger.addHandler(_Messages())
    logger.setLevel(logging.INFO)
    logger.propagate = False


def guarded(command: Callable[..., None]) -> Callable[..., None]:
    """Turns exceptions of a command into a message and an exit code.

    It also gives the command the option ``--debug``, which prints tracebacks.
    """

    def stop(code: int, debug: bool, *lines: str) -> typer.Exit:
        if debug:
            typer.echo(traceback.format_exc(), err=True)
        for line in lines:
            say(line, err=True)
        return typer.Exit(code)

    def internal(error: Exception, debug: bool) -> typer.Exit:
        return stop(
            *(INTERNAL, debug, f"Internal error: {type(error).__name__}: {error}"),
            "This is a bug in symjax or in a library below it. Run the command again "
            "with --debug and report what it prints.",
        )

    @functools.wraps(command)
    def wrapper(debug: bool = False, **given: Any) -> None:
        _show_messages()
        try:
            with interruptions():
                command(**given)
        except SymjaxError as error:
            spell = functools.partial(_spell, {})
            message = f"Error: {error.spelled(error.argument, error.value, spell)}"
            raise stop(BAD_INPUT, debug, message) from error
        except KeyboardInterrupt as error:
            message = str(error) or "Interrupted."
            raise stop(INTERRUPTED, debug, message) from error
        except (typer.Exit, typer.Abort, BrokenPipeError):
            raise
        except OSError as error:
            if error.errno not in _OF_THE_SYSTEM or error.filename is None:
                raise internal(error, debug) from error
            message = f"Error: {error.filename!r}: {error.strerror}. {_REMEDY}."
            raise stop(BAD_INPUT, debug, message) from error
        except Exception as error:
            raise internal(error, debug) from error

    own = inspect.signature(command).parameters.values()
    wrapper.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [*own, _DEBUG]
    )
    return wrapper


def _show_version(value: bool) -> None:
    if value:
        say(f"symjax {symjax.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_show_version,
            is_eager=True,
            help="Show the version and exit.",
        ),
    ] = False,
) -> None:
    pass


@contextlib.contextmanager
def options_as_typed(names: dict[str, str], **typed: Any) -> Iterator[None]:
    """Within this block, errors name options as they are typed, not arguments.

    Args:
      names: The option for each argument of the library.
      typed: The text of an option, by argument, if the library converts it before it
        refuses it.
    """
    try:
        yield
    except SymjaxError as error:
        name = names.get(error.argument, error.argument)
        value = typed.get(error.argument, error.value)
        if name == "--memory" and isinstance(value, int):
            value /= GIB
        raise error.spelled(name, value, functools.partial(_spell, names)) from error


def _spell(names: dict[str, str], name: str, value: Any) -> str:
    """An argument and its value as they are typed."""
    option = names.get(name, f"--{name.replace('_', '-')}")
    if value is True:
        return option
    if value is False:
        return option.replace("--", "--no-", 1)
    if name == "memory":
        # The option is in GiB, the library counts bytes; rounded up.
        value = f"{1.01 * value / GIB:.3g}"
    return f"{option} {value}"


def option_names(context: typer.Context) -> dict[str, str]:
    """How the parameters of a command are typed, by name of the parameter."""
    return {
        parameter.name or "": parameter.metavar or ""
        if parameter.param_type_name == "argument"
        else max(parameter.opts, key=len)
        for parameter in context.command.params
    }


def is_typed(context: typer.Context, name: str) -> bool:
    """Whether the user set a parameter, rather than it having its default."""
    origin = context.get_parameter_source(name)
    return origin is not None and origin.name != "DEFAULT"


def refuse_typed(
    context: typer.Context, names: Iterable[str], problem: str, remedy: str
) -> None:
    """Raises ArgumentError if one of these parameters was typed."""
    for name in names:
        if is_typed(context, name):
            value = context.params[name]
            value = str(value) if isinstance(value, Path) else value
            raise ArgumentError(option_names(context)[name], value, problem, remedy)


def command_line(context: typer.Context) -> str:
    """The command with the arguments and options that were typed."""
    words = ["symjax", context.info_name or ""]
    for parameter in context.command.params:
        name = parameter.name or ""
        origin = context.get_parameter_source(name)
        if origin is None or origin.name != "COMMANDLINE":
            continue
        value = context.params[name]
        if parameter.param_type_name == "argument":
            words.append(str(value))
        elif isinstance(value, bool):
            names = parameter.opts if value else parameter.secondary_opts
            words.append(max(names, key=len))
        else:
            for one in value if isinstance(value, list | tuple) else [value]:
                words += [max(parameter.opts, key=len), str(one)]
    return file_text(shlex.join(words))
