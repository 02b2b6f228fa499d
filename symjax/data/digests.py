"""Whether an item is the one that was measured."""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import ase
import numpy as np

from symjax.data.point_clouds import PointCloud


def structure_digest(atoms: ase.Atoms) -> str:
    """SHA-256 of all that a model or a calculator can read of a structure.

    Numbers, positions, cell and periodicity; every other array of the atoms, such as
    initial charges, magnetic moments, masses, momenta and tags; and ``atoms.info``,
    whose keys for charge and spin differ from package to package.
    """
    digest = hashlib.sha256()
    for array, dtype in (
        (atoms.numbers, "<i8"),
        (atoms.positions, "<f8"),
        (atoms.cell[:], "<f8"),
        (atoms.pbc, "<i8"),
    ):
        digest.update(np.ascontiguousarray(array, dtype).tobytes())
    others = {k: v for k, v in atoms.arrays.items() if k not in _OF_ALL}
    for value in (others, atoms.info):
        for part in _parts(value):
            # Its length first: no two sequences of parts run together to one.
            digest.update(f"{len(part)} ".encode() + part)
    return digest.hexdigest()


# Arrays that every structure has.
_OF_ALL = ("numbers", "positions")


def _parts(value: Any) -> Iterator[bytes]:
    """A value of ``info`` or ``arrays`` as bytes that another process finds too."""
    if isinstance(value, Mapping):
        yield f"{len(value)} entries".encode()
        for key in sorted(value, key=lambda key: (str(key), type(key).__name__)):
            yield str(key).encode(errors="surrogatepass")
            yield from _parts(value[key])
    elif isinstance(value, set | frozenset):
        yield from _parts(sorted(value, key=repr))
    elif isinstance(value, list | tuple):
        yield f"{len(value)} values".encode()
        for one in value:
            yield from _parts(one)
    elif isinstance(value, np.ndarray) and value.dtype != object:
        yield f"{value.dtype.str} {value.shape}".encode()
        yield np.ascontiguousarray(value).tobytes()
    elif isinstance(value, np.ndarray | np.generic):
        yield from _parts(value.tolist())
    elif type(value).__repr__ is object.__repr__:
        # Such a text holds an address, which is another in every process.
        yield type(value).__qualname__.encode()
    else:
        yield repr(value).encode(errors="surrogatepass")


def event_digest(cloud: PointCloud) -> str:
    """SHA-256 of all that a model can read of an event, and of its labels."""
    digest = hashlib.sha256()
    real = np.asarray(cloud.mask)
    for array, dtype in zip(cloud[:3], ("<f8", "<f8", "<i8"), strict=True):
        digest.update(np.ascontiguousarray(np.asarray(array)[real], dtype).tobytes())
    return digest.hexdigest()
