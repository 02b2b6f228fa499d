"""HDF5 files of others: locks, links, and what leads out of the file."""

import errno
import fcntl

import h5py
import numpy as np
import pytest

from symjax.data.point_clouds import find_events, write_events
from symjax.data.point_clouds.pilarnet import EventFile
from symjax.errors import StructureError


def num_events(path):
    with EventFile(path) as file:
        return file.count


@pytest.fixture
def path(tmp_path, events):
    write_events(tmp_path / "events.h5", events[:4])
    return tmp_path / "events.h5"


def test_a_locked_file_is_said_to_be_locked(path):
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(StructureError, match="is locked: another process"):
            find_events(path)
    assert len(find_events(path).events) == 4


def test_a_file_system_without_locks(path, monkeypatch):
    open_file = h5py.File

    def without_locks(*args, locking=True, **options):
        if locking:
            raise OSError(errno.ENOLCK, "unable to lock file, No locks available")
        return open_file(*args, locking=locking, **options)

    monkeypatch.setattr(h5py, "File", without_locks)
    assert num_events(path) == 4


def test_links_within_a_file_are_followed_and_others_are_not(tmp_path, path):
    inner, loop, outer = (tmp_path / f"{name}.h5" for name in ("in", "loop", "out"))
    with h5py.File(path) as source, h5py.File(inner, "w") as file:
        for name in ("point", "cluster"):
            source.copy(name, file, f"data/{name}")
            file[name] = h5py.SoftLink(f"/other/{name}")
        file["other"] = h5py.SoftLink("/data")
    assert num_events(inner) == 4
    with h5py.File(loop, "w") as file:
        file["point"], file["cluster"] = (h5py.SoftLink(f"/{n}") for n in ("a", "a"))
        file["a"] = h5py.SoftLink("/point")
    with pytest.raises(StructureError, match="are circular"):
        num_events(loop)
    for target in (h5py.ExternalLink(path, "/point"), h5py.SoftLink("/group/point")):
        with h5py.File(outer, "w") as file:
            file["group"] = h5py.ExternalLink(path, "/")
            file["point"] = target
        with pytest.raises(StructureError, match="is in another file"):
            num_events(outer)
    layout = h5py.VirtualLayout((4,), h5py.vlen_dtype(np.float32))
    layout[:] = h5py.VirtualSource(
        str(path), "point", (4,), dtype=h5py.vlen_dtype(np.float32)
    )
    with h5py.File(outer, "w") as file:
        file.create_virtual_dataset("point", layout)
    with pytest.raises(StructureError, match="in other files"):
        num_events(outer)
