"""Files: whole or absent when written, regular and of bounded size when read."""

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

# What a compressed file may unpack to: trained weights hardly compress, so that a file
# that grows more than this was made to fill the memory. Small ones are left alone.
_MOST_GROWTH, SMALL = 20, 2**27

# No space, no quota left, a file larger than the system or the user's limit allows.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

_LOCK, _TEMPORARY = ".symjax.lock", ".symjax-"


def is_full(error: BaseException) -> bool:
    """Whether a write has failed for want of space, quota or permitted size.

    HDF5 and orbax say it in their words only.
    """
    text = str(error)
    return getattr(error, "errno", None) in _FULL or any(
        f"rrno {number}" in text or f"errno = {number}" in text for number in _FULL
    )


def no_space(path: Path, needed: str, given_back: int = 0) -> OSError:
    """The error of a full disk: which file, how much it needs, how much there is.

    Args:
      path: The file.
      needed: What it needs, such as ``"120 bytes"``.
      given_back: Bytes that are about to be freed.
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
    """The error of a path that cannot be written, for whoever chose it."""
    return kind(
        argument,
        str(path),
        f"cannot be written ({getattr(error, 'strerror', None) or error})",
        "Choose a folder that can be written to, with space left",
    )


def reserve(path: Path, size: int) -> None:
    """Raises OSError where a file cannot grow by so many bytes, before it is touched.

    For libraries that leave half a file, or end the process, when a disk is full.
    """
    held = path.stat().st_size if path.exists() else 0
    try:
        with tempfile.TemporaryFile(dir=path.parent) as file:
            # A limit of the size of a file counts what it has.
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

    What a full disk did not take is not tried again, neither later nor when the file
    is closed: the file ends with a part of the data, which a reader of whole records
    drops.
    """
    path = Path(os.fsdecode(file.name))
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[file.write(rest) :]
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
    """Lets a function write a temporary file, then renames it.

    A link stays one: the file that it points to is replaced. What is no regular file,
    such as a device or a pipe, is not replaced but written to.

    Args:
      path: The file to be written.
      write: Called with the path of a temporary file on the same file system and with
        the same name.
      size: Says how many bytes are written; asked where there is no space for them.

    Raises:
      OSError: The file cannot be written; an older one is still there. On a full disk
        it says how much is needed.
    """
    # /dev/stdout resolves to a name that is none where it is a pipe: ask first.
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
        raise no_space(path, "a folder for the time of writing") from error
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
    """Holds a folder for one process, so that no other writes the same files.

    The lock is one of the operating system, which lets go of it when a process ends,
    however it ends. What a killed process has left of files that it was writing is
    removed. The folder is made if needed, and removed at the end if still empty.

    Raises:
      ArgumentError: Another process holds it; the message says which, since when.
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
    """Size of a regular file; refuses what is none, which could block or never end."""
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
      OSError: There is no such file, it is no regular file, too large, damaged, or
        grows beyond what data of its kind can when it is unpacked.
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
    """Memory of this machine in bytes; 2^46 where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # no POSIX system
        return 2**46


def user_cache(part: str) -> Path | None:
    """The user's own folder for what can be made again: ``"jax"`` or ``"models"``.

    It need not exist; None where there is none.
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
