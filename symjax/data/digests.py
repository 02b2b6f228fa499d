"""Whether an item is the one that was measured."""

import hashlib

import ase
import numpy as np

from symjax.data.point_clouds import PointCloud


def structure_digest(atoms: ase.Atoms) -> str:
    """SHA-256 of all that a model can read of a structure.

    Args:
      atoms: The structure.

    Returns:
      64 hexadecimal digits.

    Example:
      >>> import ase.build
      >>> from symjax.data.digests import structure_digest
      >>> water = ase.build.molecule("H2O")
      >>> moved = water.copy()
      >>> moved.positions += 1e-9
      >>> structure_digest(water) == structure_digest(moved)
      False
    """
    digest = hashlib.sha256()
    for array, dtype in (
        (atoms.numbers, "<i8"),
        (atoms.positions, "<f8"),
        (atoms.cell[:], "<f8"),
        (atoms.pbc, "<i8"),
    ):
        digest.update(np.ascontiguousarray(array, dtype).tobytes())
    for key in ("charge", "spin_multiplicity"):
        digest.update(f"{key} {atoms.info.get(key)}".encode())
    for key in ("total_charge", "multiplicity"):
        if key in atoms.info:
            digest.update(f"{key} {atoms.info[key]}".encode())
    return digest.hexdigest()


def event_digest(cloud: PointCloud) -> str:
    """SHA-256 of all that a model can read of an event, and of its labels.

    Args:
      cloud: One event, padded or not.

    Returns:
      64 hexadecimal digits.

    Example:
      >>> from symjax.data.point_clouds import SMALL, generate_event, pad_cloud
      >>> from symjax.data.digests import event_digest
      >>> event = generate_event(0, SMALL)
      >>> event_digest(event) == event_digest(pad_cloud(event, 999))
      True
    """
    digest = hashlib.sha256()
    real = np.asarray(cloud.mask)
    for array, dtype in zip(cloud[:3], ("<f8", "<f8", "<i8"), strict=True):
        digest.update(np.ascontiguousarray(np.asarray(array)[real], dtype).tobytes())
    return digest.hexdigest()
