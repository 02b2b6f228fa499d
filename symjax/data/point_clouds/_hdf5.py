"""Opens HDF5 files safely: locks, links, and data sets stored in other files."""

import errno
import posixpath
from pathlib import Path

import h5py

from symjax.errors import StructureError

# Errors of file systems without locks.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)
_MOST_LINKS = 16


def open_hdf5(path: str | Path, remedy: str) -> h5py.File:
    """Opens a file for reading; without a lock on file systems that have none.

    Raises:
      StructureError: The file does not exist, is locked for writing by another process,
        or cannot be read, for which ``remedy`` is the remedy.
    """
    path = Path(path)
    if not path.is_file():
        raise StructureError("path", str(path), "there is no such file", remedy)
    try:
        try:
            return h5py.File(path, "r")
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            return h5py.File(path, "r", locking=False)
    except OSError as error:
        problem = f"is truncated or no HDF5 file ({error})"
        if error.errno in (errno.EAGAIN, errno.EACCES) and "lock" in str(error):
            problem = "is locked: another process has it open for writing"
            remedy = "Wait until it is written, or pass a copy"
        elif "already open for write" in str(error):
            problem = "is being written, or was when its writer ended"
            remedy = "Wait until it is written; if nothing writes it, run 'h5clear -s'"
        elif error.errno in (errno.EACCES, errno.EPERM):
            problem, remedy = "may not be read", "Change its permissions"
        raise StructureError("path", str(path), problem, remedy) from error


def dataset_of(file: h5py.File, name: str, path: str, remedy: str) -> h5py.Dataset:
    """Returns a one-dimensional data set of the root group, with one row per event.

    Links within the file are followed. Links and data sets that lead to other files
    raise an error, as otherwise the author of the file could choose which files of this
    machine are read.
    """

    def refuse(problem: str) -> StructureError:
        return StructureError("path", path, problem, remedy)

    try:
        data = _follow(file, name)
    except _ElsewhereError as error:
        raise refuse(f"{name!r} is in another file ({error})") from None
    except (KeyError, RuntimeError, OSError) as error:
        raise refuse(f"{name!r} cannot be read ({error})") from error
    if not isinstance(data, h5py.Dataset) or data.ndim != 1:
        raise refuse(
            f"has no data set {name!r} with one row per event, only {sorted(file)}"
        )
    if data.is_virtual or data.external:
        raise refuse(f"{name!r} stores its data in other files")
    return data


class _ElsewhereError(Exception):
    """A link leads out of the file."""


def _follow(file: h5py.File, name: str) -> h5py.HLObject | None:
    """The object of this name, through links; None if there is none."""
    parts, here, links = [name], "/", 0
    while parts:
        part = parts.pop(0)
        group = file[here]
        link = group.get(part, getlink=True) if isinstance(group, h5py.Group) else None
        if link is None:
            return None
        if isinstance(link, h5py.ExternalLink):
            raise _ElsewhereError(link.filename)
        if isinstance(link, h5py.SoftLink):
            links += 1
            if links > _MOST_LINKS:
                raise RuntimeError("its links are circular")
            target = posixpath.normpath(posixpath.join(here, link.path))
            parts = [step for step in target.split("/") if step] + parts
            here = "/"
        else:
            here = posixpath.join(here, part)
    return file[here]
