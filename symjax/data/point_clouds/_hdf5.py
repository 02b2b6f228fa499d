"""Opening HDF5 files of others: locks, links, and what leads out of the file."""

import errno
import posixpath
from pathlib import Path

import h5py

from symjax.errors import StructureError

# What file systems answer that have no locks.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)
_MOST_LINKS = 16


def open_hdf5(path: str | Path, remedy: str) -> h5py.File:
    """Opens a file for reading; an error names ``remedy``.

    A file that another process has locked is being written, and is refused. On a file
    system without locks it is opened without one: reading changes nothing, and nothing
    there can say that the file is being written.
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
        problem, what = f"is truncated or no HDF5 file ({error})", remedy
        if error.errno in (errno.EAGAIN, errno.EACCES) and "lock" in str(error):
            problem = "is locked: another process has it open for writing"
            what = "Wait until it is written, or pass a copy"
        elif "already open for write" in str(error):
            problem = "is being written, or was when its writer ended"
            what = "Wait until it is written; if nothing writes it, run 'h5clear -s'"
        elif error.errno in (errno.EACCES, errno.EPERM):
            problem, what = "may not be read", "Change its permissions"
        raise StructureError("path", str(path), problem, what) from error


def dataset_of(file: h5py.File, name: str, path: str, remedy: str) -> h5py.Dataset:
    """A one-dimensional data set at the root of a file, with one row for each event.

    Links within the file are followed; what leads to other files is refused, as whoever
    wrote the file would choose which file of this machine is read.
    """

    def refuse(problem: str) -> StructureError:
        return StructureError("path", path, problem, remedy)

    try:
        data = _follow(file, name)
    except _ElsewhereError as error:
        raise refuse(f"{name!r} lies in another file ({error})") from None
    except (KeyError, RuntimeError, OSError) as error:
        raise refuse(f"{name!r} cannot be read ({error})") from error
    if not isinstance(data, h5py.Dataset) or data.ndim != 1:
        raise refuse(
            f"has no data set {name!r} with one row for each event, only {sorted(file)}"
        )
    if data.is_virtual or data.external:
        raise refuse(f"{name!r} keeps its numbers in other files")
    return data


class _ElsewhereError(Exception):
    """A link leads out of the file."""


def _follow(file: h5py.File, name: str) -> h5py.HLObject | None:
    """What a name stands for; None if nothing."""
    rest, here, links = [name], "/", 0
    while rest:
        part = rest.pop(0)
        where = file[here]
        link = where.get(part, getlink=True) if isinstance(where, h5py.Group) else None
        if link is None:
            return None
        if isinstance(link, h5py.ExternalLink):
            raise _ElsewhereError(link.filename)
        if isinstance(link, h5py.SoftLink):
            links += 1
            if links > _MOST_LINKS:
                raise RuntimeError("its links run in a circle")
            target = posixpath.normpath(posixpath.join(here, link.path))
            rest = [step for step in target.split("/") if step] + rest
            here = "/"
        else:
            here = posixpath.join(here, part)
    return file[here]
