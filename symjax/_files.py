"""Files: complete or absent when written, regular and of bounded size when read."""

import contextlib
import errno
import gzip
import hashlib
import io
import os
import shutil
import socket
import stat
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import filelock

from symjax.errors import ArgumentError, SymjaxError

LARGEST = 2**35
"""Bytes of the largest file that is read whole: 32 GiB."""

# Limits on what a compressed file may unpack to: trained weights hardly compress, so a
# file that grows by more was made to fill the memory. Small files are not limited.
_MOST_GROWTH, SMALL = 20, 2**27

# No space, no quota left, a file larger than the system or the user's limit allows.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

_LOCK, _TEMPORARY = ".symjax.lock", ".symjax-"


def is_full(error: BaseException) -> bool:
    """Whether a write has failed for lack of space, quota or allowed file size.

    HDF5 and orbax only say so in the text of the error.
    """
    text = str(error)
    return getattr(error, "errno", None) in _FULL or any(
        f"rrno {number}" in text or f"errno = {number}" in text for number in _FULL
    )


def no_space(path: Path, needed: str, given_back: int = 0) -> OSError:
    """The error for a full disk, with the space that is needed and available.

    Args:
      path: The file.
      needed: Space that it needs, such as ``"120 bytes"``.
      given_back: Bytes that are about to be freed.

    Returns:
      The error.
    """
    folder = path.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    text = f"no space is left: it needs {needed}"
    with contextlib.suppress(OSError):
        free = shutil.disk_usage(folder).free + given_back
        text += f", and {free:,} bytes are free, or fewer are allowed"
    return OSError(errno.ENOSPC, text, str(path))


def unwritable(
    kind: type[SymjaxError], argument: str, path: Path, error: Exception
) -> SymjaxError:
    """The error for a path that cannot be written, of the given class."""
    return kind(
        argument,
        str(path),
        f"cannot be written ({getattr(error, 'strerror', None) or error})",
        "Choose a folder that can be written to, with space left",
    )


def reserve(path: Path, size: int) -> None:
    """Raises OSError if a file cannot grow by this many bytes, before it is touched.

    For libraries that leave an incomplete file, or end the process, on a full disk.
    """
    held = path.stat().st_size if path.exists() else 0
    try:
        with tempfile.TemporaryFile(dir=path.parent) as file:
            # A limit on the size of a file includes its present contents.
            file.seek(held)
            for start in range(0, size, 2**20):
                file.write(bytes(min(2**20, size - start)))
            file.flush()
    except OSError as error:
        if not is_full(error):
            raise
        raise no_space(path, f"{size:,} bytes") from error


def append_through(file: io.FileIO, data: bytes, *, sync: bool = True) -> None:
    """Appends to a file opened with ``buffering=0``, through to the disk.

    On a full disk the file ends with part of the data, which a reader of complete
    records drops; the rest is not written later, nor when the file is closed.

    Raises:
      OSError: The data could not be written.
    """
    path = Path(os.fsdecode(file.name))
    try:
        remaining = memoryview(data)
        while remaining:
            remaining = remaining[file.write(remaining) :]
        if sync:
            os.fsync(file.fileno())
    except OSError as error:
        if is_full(error):
            raise no_space(path, f"{len(data):,} bytes more") from error
        error.filename = str(path)
        raise


def replace_atomically(
    path: Path, write: Callable[[Path], Any], size: Callable[[], int] | None = None
) -> None:
    """Calls a function that writes a temporary file, then renames that file.

    If the path is a symbolic link, the file that it points to is replaced. Devices and
    pipes are not replaced but written to.

    Args:
      path: The file to be written.
      write: Called with the path of a temporary file on the same file system and with
        the same name.
      size: Returns the number of bytes to write; called if there is no space for them.

    Raises:
      OSError: The file cannot be written; an existing one is unchanged. On a full disk
        the message says how much space is needed.
    """
    # If /dev/stdout is a pipe, it resolves to a name that does not exist: ask first.
    special = path.exists() and not path.is_file()
    if special and path.is_dir():
        raise IsADirectoryError(f"{path} is a folder")
    path = path if special else Path(os.path.realpath(path))
    # mkdtemp rather than mkstemp: the file gets the permissions of the umask.
    home = None if special else path.parent
    try:
        temporary = Path(tempfile.mkdtemp(prefix=_TEMPORARY, dir=home))
    except OSError as error:
        if not is_full(error):
            raise
        raise no_space(path, "a temporary folder") from error
    part = temporary / path.name
    try:
        write(part)
        if special:
            with open(part, "rb") as source, open(path, "wb") as device:
                shutil.copyfileobj(source, device)
            return
        with open(part, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        if not is_full(error):
            raise
        written = part.stat().st_size if part.exists() else 0
        needed = f"more than {written:,} bytes" if size is None else f"{size():,} bytes"
        raise no_space(path, needed, written) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def held(folder: Path, argument: str) -> Iterator[None]:
    """Locks a folder for one process, so that no other writes the same files.

    The operating system releases the lock when the process ends, however it ends.
    Temporary files that a killed process has left are removed. The folder is made if
    necessary, and removed at the end if it is still empty.

    Args:
      folder: The folder.
      argument: Name of the argument, for errors.

    Raises:
      ArgumentError: Another process holds the lock, which the message names, or the
        folder cannot be written.
    """
    new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(folder / _LOCK)
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        raise ArgumentError(
            argument,
            str(folder),
            f"is in use by {_holder(folder / _LOCK)}",
            "Wait until it is done, or choose another folder",
        ) from error
    except (OSError, NotImplementedError) as error:
        raise unwritable(ArgumentError, argument, folder, error) from error
    try:
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        owner = f"process {os.getpid()} on {socket.gethostname()} since {since}"
        with contextlib.suppress(OSError):  # no space: the lock holds without a name
            (folder / _LOCK).write_text(owner)
        for path in folder.glob(f"{_TEMPORARY}*"):
            shutil.rmtree(path, ignore_errors=True)
        yield
    finally:
        (folder / _LOCK).unlink(missing_ok=True)
        lock.release()
        if new:
            with contextlib.suppress(OSError):  # there is something in it
                folder.rmdir()


def _holder(path: Path) -> str:
    with contextlib.suppress(OSError, ValueError):
        return path.read_text().strip() or "another process"
    return "another process"


def check_readable(path: Path, largest: int = LARGEST) -> int:
    """Size of a regular file in bytes.

    Raises:
      OSError: It is not a regular file, so that reading could block or never end, or it
        is too large.
    """
    status = os.stat(path)
    kinds = (
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISFIFO, "a pipe"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISCHR, "a device"),
        (stat.S_ISBLK, "a device"),
    )
    for is_kind, name in kinds:
        if is_kind(status.st_mode):
            raise OSError(f"it is {name}, not a regular file")
    if status.st_size > largest:
        raise OSError(f"it has {status.st_size:,} bytes, more than {largest:,}")
    return status.st_size


def read_bounded(path: Path, largest: int = LARGEST) -> bytes:
    """Contents of a regular file, unpacked if it is compressed with gzip.

    Raises:
      OSError: The file is missing, not regular, too large or damaged, or unpacks to
        more than :func:`unpacked_limit`.
    """
    size = check_readable(path, largest)
    with open(path, "rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        if not packed:
            return file.read()
        most = unpacked_limit(size, largest)
        return _unpack(file, most)


def unpacked_limit(size: int, largest: int = LARGEST) -> int:
    """Bytes, at most ``largest``, that a compressed file of a size may unpack to."""
    return min(max(_MOST_GROWTH * size, SMALL), largest)


def _unpack(file: BinaryIO, most: int) -> bytes:
    pieces, total = [], 0
    try:
        with gzip.open(file) as source:
            while piece := source.read(2**20):
                total += len(piece)
                if total > most:
                    raise OSError(f"it unpacks to more than {most:,} bytes")
                pieces.append(piece)
    except (EOFError, zlib.error) as error:
        raise OSError(str(error)) from error
    return b"".join(pieces)


def file_digest(path: Path) -> str:
    """SHA-256 digest of a regular file, in hexadecimal digits."""
    check_readable(path)
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def physical_memory() -> int:
    """Memory of this machine in bytes; 2^46 if the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # no POSIX system
        return 2**46


def user_cache(part: str) -> Path | None:
    """The user's cache folder of symjax for ``"jax"`` or ``"models"``.

    It need not exist. None if the user has no home folder.
    """
    base = os.environ.get("XDG_CACHE_HOME")
    # The standard asks to ignore relative paths.
    if base and os.path.isabs(base):
        return Path(base) / "symjax" / part
    with contextlib.suppress(RuntimeError):
        home = Path.home()
        if sys.platform == "darwin":
            return home / "Library" / "Caches" / "symjax" / part
        if sys.platform == "win32":
            local = os.environ.get("LOCALAPPDATA")
            return (Path(local) if local else home) / "symjax" / "cache" / part
        return home / ".cache" / "symjax" / part
    return None
