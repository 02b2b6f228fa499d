"""Several processes of ``jax.distributed`` that measure into one folder.

Each measures its share of the structures and writes a journal of its own; nothing else
passes between them than files in the folder, which all of them must see.
"""

import time
from pathlib import Path

import jax
from jax.experimental import multihost_utils

_SECONDS = 0.5


def process() -> tuple[int, int]:
    """Number of this process, and how many there are: (0, 1) if it is alone.

    Example:
      >>> from symjax.runs.hosts import process
      >>> process()
      (0, 1)
    """
    return jax.process_index(), jax.process_count()


def meet(name: str) -> None:
    """Waits until all processes are at this point; for points they reach together.

    Args:
      name: Name of the point.

    Example:
      >>> from symjax.runs.hosts import meet
      >>> meet("checked")
    """
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(f"symjax {name}")


def finish(folder: Path) -> None:
    """Waits until all processes have measured their share, which may take hours.

    Collective operations of JAX would end such a wait after minutes. Should a process
    die, ``jax.distributed`` ends the others.

    Args:
      folder: The folder of the report.

    Example:
      >>> import pathlib, tempfile
      >>> from symjax.runs.hosts import finish
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     finish(pathlib.Path(folder))
      ...     list(pathlib.Path(folder).iterdir())
      []
    """
    index, number = process()
    own = _mark(folder, index)
    own.touch()
    while not all(_mark(folder, other).exists() for other in range(number)):
        time.sleep(_SECONDS)
    meet("finished")
    own.unlink()


def remove_marks(folder: Path) -> None:
    """Removes what a run that was ended at its end has left.

    Args:
      folder: The folder of the report.

    Example:
      >>> from pathlib import Path
      >>> from symjax.runs.hosts import remove_marks
      >>> remove_marks(Path("nowhere"))
    """
    for path in folder.glob(".finished-*"):
        path.unlink()


def _mark(folder: Path, index: int) -> Path:
    return folder / f".finished-{index}"
