"""Files of JSON lines to which a run appends, and from which it is resumed."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

from symjax._files import append_through, check_readable, unwritable
from symjax.report.leaves import ReportError
from symjax.report.schema import Place
from symjax.report.storage import TruncatedError, write_atomically


class Lines(contextlib.AbstractContextManager["Lines"]):
    r"""A file of JSON lines, each of which is flushed to the disk.

    Args:
      path: The file.
      head: The first line, which identifies the run; without line feed.
      read: None for a new file. For a file to resume, a function that is called for
        each line, the first included, with its name for messages, its text and its
        place in the file. It raises :class:`~symjax.report.storage.TruncatedError` if
        the line is no JSON; at the end of the file, such a line is removed, as it was
        being written when the run was interrupted.

    Raises:
      ReportError: The file cannot be read or written, has no complete line, or is
        refused by ``read``.

    Example:
      >>> import pathlib, tempfile
      >>> from symjax.runs.lines import Lines
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = pathlib.Path(folder) / "a.jsonl"
      ...     with Lines(path, '{"a": 1}') as lines:
      ...         _ = lines.append('{"b": 2}')
      ...     with path.open("a") as file:
      ...         _ = file.write('{"c": ')  # interrupted
      ...     with Lines(path, "", read=lambda name, line, place: print(line)) as lines:
      ...         pass
      {"a": 1}
      {"b": 2}
    """

    def __init__(
        self,
        path: Path,
        head: str,
        read: Callable[[str, str, Place], None] | None = None,
    ):
        self._path = path
        try:
            if read is None:
                text = head + "\n"
                write_atomically(
                    path,
                    lambda part: part.write_text(text, encoding="utf-8"),
                    lambda: len(text.encode()),
                )
            else:
                os.truncate(path, _intact(path, read))
            # Without a buffer: what a full disk did not take is not tried again.
            self._file = path.open("ab", buffering=0)
        except OSError as error:
            raise unwritable(ReportError, "output", path, error) from error

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def append(self, text: str) -> Place:
        """Appends a line, flushes it to the disk, and returns its place in the file.

        Raises:
          ReportError: The disk is full, or another error occurs.
        """
        line = (text + "\n").encode()
        place = Place.of(self._path, self._file.tell(), line)
        try:
            append_through(self._file, line)
        except OSError as error:
            raise unwritable(ReportError, "output", self._path, error) from error
        return place


def _intact(path: Path, read: Callable[[str, str, Place], None]) -> int:
    """Reads all lines; returns the number of bytes of the complete ones."""
    size = 0
    check_readable(path)
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                break
            name, place = f"{path}, line {number}", Place.of(path, size, line)
            try:
                read(name, line.decode("utf-8", "replace").removesuffix("\n"), place)
            except TruncatedError:
                # Some file systems leave zeros at the end after a loss of power.
                if number == 1 or b"\n" in file.read():
                    raise
                break
            size += len(line)
    if not size:
        raise ReportError(
            "output",
            str(path),
            "has no complete line, so there is nothing to resume",
            "Pass {overwrite} to start again",
            overwrite=True,
        )
    return size
