"""Signals that stop a run: none is lost, whatever is running when it arrives."""

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

# Methods by which JAX finds compiled code again.
_KEYS = ("__eq__", "__hash__")


class _KeyboardInterrupt(KeyboardInterrupt):
    """Not the class itself: where that passes ``exec`` of a text, as in dataclasses.

    Python then ends by SIGINT, whatever handled it and whatever the exit code is.
    """


def interrupt(number: int, frame: FrameType | None) -> None:
    """Handles a signal to stop: raises KeyboardInterrupt where it cannot get lost.

    JAX turns exceptions in comparisons of its cache keys into other errors. A signal
    that arrives there is sent again a little later.
    """
    while frame is not None:
        if frame.f_code.co_name in _KEYS:
            _interrupt_later()
            return
        frame = frame.f_back
    raise _KeyboardInterrupt


def _interrupt_later() -> None:
    # To the thread that has to wake up, which may be waiting for something else; in the
    # background of a shell, SIGINT is ignored.
    main = threading.main_thread().ident
    again = threading.Timer(0.05, signal.pthread_kill, (main, signal.SIGTERM))
    again.daemon = True
    again.start()


def _raise_again(ignored: Any) -> None:
    """Handles an exception that Python ignores: KeyboardInterrupt is raised again.

    Python ignores exceptions in callbacks of its garbage collector, such as the one of
    JAX, in callbacks of weak references, in ``__del__`` and in callbacks of C code.
    """
    if issubclass(ignored.exc_type, KeyboardInterrupt):
        _interrupt_later()
    else:
        sys.__unraisablehook__(ignored)


def handle_signals() -> None:
    """Raises KeyboardInterrupt on SIGTERM, by which batch systems end jobs, too."""
    # In the background of a shell, SIGINT is ignored.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGTERM, interrupt)
    sys.unraisablehook = _raise_again


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Context in which SIGINT and SIGTERM are delayed until its end."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals reach the main thread only
        return
    came: list[int] = []
    before = {
        number: signal.signal(number, lambda number, frame: came.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        # Also where an error is raised, which may be one that the run survives.
        if came:
            signal.raise_signal(came[0])


# Errors that libraries make of exceptions in functions that they call: JAX in host
# callbacks, pydantic in serializers. By name, as neither may be imported yet.
_CONVERTED = ("JaxRuntimeError", "PydanticSerializationError")


@contextlib.contextmanager
def interruptions() -> Iterator[None]:
    """Context from which errors that a library made of KeyboardInterrupt come as such.

    Raises:
      KeyboardInterrupt: Such an error was raised.

    Example:
      >>> import jax, numpy as np
      >>> from symjax._signals import interruptions
      >>> def pressed(x):
      ...     raise KeyboardInterrupt
      >>> try:
      ...     with interruptions():
      ...         print(jax.pure_callback(pressed, np.ones(2), np.ones(2)))
      ... except KeyboardInterrupt:
      ...     print("interrupted")
      interrupted
    """
    try:
        yield
    except Exception as error:
        converted = type(error).__name__ in _CONVERTED
        if converted and "KeyboardInterrupt" in str(error):
            raise KeyboardInterrupt from error
        raise
