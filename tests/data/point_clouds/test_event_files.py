"""Event files of a folder or a pattern: labels, order, and what is read."""

import pytest

from symjax.data.point_clouds import (
    find_events,
    pilarnet,
    write_events,
)
from symjax.errors import StructureError


@pytest.fixture
def folder(tmp_path, events):
    (tmp_path / "sub").mkdir()
    write_events(tmp_path / "b.h5", events[:2])
    write_events(tmp_path / "a.hdf5", events[:3])
    write_events(tmp_path / "sub" / "c.h5", events[2:3])
    write_events(tmp_path / ".hidden.h5", events[:3])
    (tmp_path / "notes.txt").write_text("no events")
    return tmp_path


A = ["a.hdf5:0", "a.hdf5:1", "a.hdf5:2"]
B = ["b.h5:0", "b.h5:1"]


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("", A + B),
        ("*.h5", B),
        ("?.h*", A + B),
        ("**/*.h5", [*B, "sub/c.h5:0"]),
        ("b.h5", B),
    ],
)
def test_labels(folder, target, expected):
    assert list(find_events(folder / target).events) == expected


def test_a_choice_of_each_file(folder):
    found = find_events(folder, index=slice(1, None))
    assert list(found.events) == ["a.hdf5:1", "a.hdf5:2", "b.h5:1"]


def test_links_of_folders_in_a_circle_end(folder):
    (folder / "sub" / "up").symlink_to(folder, target_is_directory=True)
    (folder / "sub" / "down").symlink_to(folder / "sub", target_is_directory=True)
    assert list(find_events(folder / "**/*.h5").events) == [*B, "sub/c.h5:0"]
    (folder / "self.h5").symlink_to("self.h5")
    assert list(find_events(folder / "*.h5").events) == B
    with pytest.raises(StructureError, match="no such file"):
        find_events(folder / "self.h5")


def test_only_what_is_asked_for_is_read(folder, events, monkeypatch):
    read = []
    one = pilarnet.EventFile.read

    def counted(self, number):
        read.append((self.path, number))
        return one(self, number)

    monkeypatch.setattr(pilarnet.EventFile, "read", counted)
    found = find_events(folder).events
    assert read == []
    assert found["b.h5:1"].num_points == events[1].num_points
    assert read == [(str(folder / "b.h5"), 1)]


def test_files_that_cannot_be_used_are_named(folder):
    (folder / "c.h5").write_text("no HDF5")
    found = find_events(folder)
    assert list(found.events) == A + B
    assert list(found.unreadable) == ["c.h5"]
    with pytest.raises(StructureError, match="no HDF5 file"):
        find_events(folder / "c.h5")
    with pytest.raises(StructureError, match="matches no event file"):
        find_events(folder / "x*.h5")
