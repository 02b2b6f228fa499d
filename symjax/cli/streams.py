"""The terminal is a courtesy: files are written whoever listens."""

import io
import os
import signal
import sys
import threading
from types import FrameType
from typing import Any, TextIO

import typer

from symjax._text import visible


def say(text: object, err: bool = False) -> None:
    """Writes one line, whatever the names from files and models in it hold."""
    encoding = getattr(sys.stderr if err else sys.stdout, "encoding", None) or "utf-8"
    shown = visible(text).encode(encoding, "backslashreplace").decode(encoding)
    typer.echo(shown, err=err)


class Courtesy:
    """A stream that goes silent where nobody reads it any more.

    Args:
      stream: Standard output or error; None where it is closed.

    Example:
      >>> from symjax.cli.streams import Courtesy
      >>> Courtesy(None).write("into nothing")
      12
    """

    def __init__(self, stream: TextIO | None):
        self._stream = open(os.devnull, "w") if stream is None else stream  # noqa: SIM115

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Writes a text, if somebody reads it."""
        try:
            self._stream.write(text)
        except BrokenPipeError:
            self._hush()
        return len(text)

    def flush(self) -> None:
        """Passes on what was written, if somebody reads it."""
        try:
            self._stream.flush()
        except BrokenPipeError:
            self._hush()

    def _hush(self) -> None:
        # By its number, so that what the stream still holds goes nowhere either.
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self._stream.fileno())
        os.close(null)


# Methods by which JAX finds compiled code again.
_KEYS = ("__eq__", "__hash__")


def interrupt(number: int, frame: FrameType | None) -> None:
    """Handles a signal to stop: raises KeyboardInterrupt where it is not lost.

    Python ignores exceptions of callbacks of its garbage collector, of which JAX has
    one, and JAX turns those of comparisons of its keys into errors of its own: a signal
    that strikes there is sent again a little later.
    """
    names = []
    while frame is not None:
        names.append(frame.f_code.co_name)
        frame = frame.f_back
    if any(name in _KEYS or name.endswith("gc_callback") for name in names):
        # To the thread that has to wake up, which may be waiting for something else.
        main = threading.main_thread().ident
        again = threading.Timer(0.05, signal.pthread_kill, (main, number))
        again.daemon = True
        again.start()
        return
    raise KeyboardInterrupt


def prepare_process() -> None:
    """Streams that may be closed, and an end by SIGTERM as by Ctrl-C."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            # What an encoding does not have is escaped: no name ends a command.
            stream.reconfigure(errors="backslashreplace")
        setattr(sys, name, Courtesy(getattr(sys, name)))
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupt)
    # Batch systems end jobs by this signal.
    signal.signal(signal.SIGTERM, interrupt)
    # Warnings of torch's C++ code, which no filter of Python's reaches.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
