"""Digests that identify structures and events."""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import ase
import numpy as np

from symjax.data.point_clouds import PointCloud


def structure_digest(atoms: ase.Atoms) -> str:
    """SHA-256 of everything in a structure that a model or calculator can read.

    It covers atomic numbers, positions, cell and periodicity; all other arrays, such as
    initial charges, magnetic moments, masses, momenta and tags; and ``atoms.info``.
    Constraints and the attached calculator do not enter.
    """
    digest = hashlib.sha256()
    for array, dtype in (
        (atoms.numbers, "<i8"),
        (atoms.positions, "<f8"),
        (atoms.cell[:], "<f8"),
        (atoms.pbc, "<i8"),
    ):
        digest.update(np.ascontiguousarray(array, dtype).tobytes())
    others = {k: v for k, v in atoms.arrays.items() if k not in _ALWAYS_PRESENT}
    for value in (others, atoms.info):
        for part in _parts(value):
            # Prefixed by its length, so that different parts never concatenate alike.
            digest.update(f"{len(part)} ".encode() + part)
    return digest.hexdigest()


# Arrays that every structure has.
_ALWAYS_PRESENT = ("numbers", "positions")


def _parts(value: Any) -> Iterator[bytes]:
    """A value of ``info`` or ``arrays`` as bytes that are the same in every process."""
    if isinstance(value, Mapping):
        yield f"{len(value)} entries".encode()
        for key in sorted(value, key=lambda key: (str(key), type(key).__name__)):
            yield str(key).encode(errors="surrogatepass")
            yield from _parts(value[key])
    elif isinstance(value, set | frozenset):
        yield from _parts(sorted(value, key=repr))
    elif isinstance(value, list | tuple):
        yield f"{len(value)} values".encode()
        for element in value:
            yield from _parts(element)
    elif isinstance(value, np.ndarray) and value.dtype != object:
        yield f"{value.dtype.str} {value.shape}".encode()
        yield np.ascontiguousarray(value).tobytes()
    elif isinstance(value, np.ndarray | np.generic):
        yield from _parts(value.tolist())
    elif type(value).__repr__ is object.__repr__:
        # The default text contains the address, which differs between processes.
        yield type(value).__qualname__.encode()
    else:
        yield repr(value).encode(errors="surrogatepass")


def event_digest(cloud: PointCloud) -> str:
    """SHA-256 of the positions, energies and semantic labels of an event.

    Padding does not enter.
    """
    digest = hashlib.sha256()
    real = np.asarray(cloud.mask)
    for array, dtype in zip(cloud[:3], ("<f8", "<f8", "<i8"), strict=True):
        digest.update(np.ascontiguousarray(np.asarray(array)[real], dtype).tobytes())
    return digest.hexdigest()
