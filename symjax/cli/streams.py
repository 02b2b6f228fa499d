"""Standard streams that may be closed by their reader."""

import io
import os
import sys
from typing import Any, TextIO

import typer

from symjax._signals import handle_signals
from symjax._text import visible


def say(text: object, err: bool = False) -> None:
    """Writes one line, with characters escaped that the stream cannot show."""
    encoding = getattr(sys.stderr if err else sys.stdout, "encoding", None) or "utf-8"
    shown = visible(text).encode(encoding, "backslashreplace").decode(encoding)
    typer.echo(shown, err=err)


class QuietStream:
    """A stream that ignores what is written once its reader has gone.

    Args:
      stream: Standard output or error; None where it is closed.

    Example:
      >>> from symjax.cli.streams import QuietStream
      >>> QuietStream(None).write("into nothing")
      12
    """

    def __init__(self, stream: TextIO | None):
        self._stream = open(os.devnull, "w") if stream is None else stream  # noqa: SIM115

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Writes a text, unless its reader has gone."""
        try:
            self._stream.write(text)
        except BrokenPipeError:
            self._hush()
        return len(text)

    def flush(self) -> None:
        """Flushes the stream, unless its reader has gone."""
        try:
            self._stream.flush()
        except BrokenPipeError:
            self._hush()

    def _hush(self) -> None:
        # By its number, so that what the stream still holds goes nowhere either.
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self._stream.fileno())
        os.close(null)


def prepare_process() -> None:
    """Lets streams be closed by their reader, and treats SIGTERM like Ctrl-C."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            # What an encoding does not have is escaped: no name ends a command.
            stream.reconfigure(errors="backslashreplace")
        setattr(sys, name, QuietStream(getattr(sys, name)))
    handle_signals()
    # Warnings of torch's C++ code, which no filter of Python's reaches.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
