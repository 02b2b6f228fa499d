"""Files that are whole or absent, whatever happens while they are written."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any


def replace_atomically(path: Path, write: Callable[[Path], Any]) -> None:
    """Lets a function write a temporary file, then renames it.

    Args:
      path: The file to be written.
      write: Called with the path of a temporary file on the same file system and with
        the same name.

    Raises:
      OSError: The file cannot be written; an older one is still there.

    Example:
      >>> import pathlib, tempfile
      >>> from symjax._files import replace_atomically
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = pathlib.Path(folder) / "a.txt"
      ...     replace_atomically(path, lambda part: part.write_text("done"))
      ...     path.read_text(), len(list(path.parent.iterdir()))
      ('done', 1)
    """
    # mkdtemp rather than mkstemp: the file gets the permissions of the umask.
    temporary = Path(tempfile.mkdtemp(prefix=".symjax-", dir=path.parent))
    try:
        part = temporary / path.name
        write(part)
        with open(part, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
