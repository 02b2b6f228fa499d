"""Folders and patterns of structure files."""

import os
import sys

import ase.build
import ase.io
import pytest

from symjax.data import find_structures
from symjax.errors import ArgumentError, StructureError


@pytest.fixture
def folder(tmp_path):
    """Two files with frames, a damaged and an empty one, and other things."""
    for name, count in (("b.xyz", 2), ("a.extxyz", 1)):
        frames = [ase.build.molecule("H2O")] * count
        ase.io.write(tmp_path / name, frames, format="extxyz")
    (tmp_path / "c.xyz").write_text("3\n\nO 0 0 0\n")
    (tmp_path / "d.xyz").write_text("")
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / ".hidden.xyz").write_text("3\n")
    (tmp_path / "sub").mkdir()
    ase.io.write(tmp_path / "sub" / "b.xyz", ase.build.molecule("CH4"))
    return tmp_path


def test_folder(folder):
    found = find_structures(folder)
    assert list(found.structures) == ["a.extxyz:0", "b.xyz:0", "b.xyz:1"]
    assert list(found.unreadable) == ["c.xyz", "d.xyz"]
    assert "is empty" in str(found.unreadable["d.xyz"])
    assert found.ignored == ("notes.txt",)


@pytest.mark.parametrize(
    ("pattern", "labels"),
    [
        ("[ab]*xyz", ["a.extxyz:0", "b.xyz:0", "b.xyz:1"]),
        ("**/b.xyz", ["b.xyz:0", "b.xyz:1", "sub/b.xyz:0"]),
        ("sub/?.xyz", ["b.xyz:0"]),
    ],
)
def test_pattern(folder, pattern, labels):
    found = find_structures(f"{folder}/{pattern}")
    assert list(found.structures) == labels
    assert found.unreadable == {}


def test_what_exists_goes_before_a_pattern(folder):
    (folder / "b.xyz").rename(folder / "[b].xyz")
    found = find_structures(folder / "[b].xyz")
    assert list(found.structures) == ["[b].xyz:0", "[b].xyz:1"]


def test_frames_of_each_file(folder):
    found = find_structures(f"{folder}/*b.xyz", index=-1)
    assert list(found.structures) == ["b.xyz:1"]
    # a file without such a frame is not silently left out
    found = find_structures(f"{folder}/[ab].*xyz", index="1:")
    assert list(found.structures) == ["b.xyz:1"]
    assert "no frames" in str(found.unreadable["a.extxyz"])


@pytest.mark.parametrize("target", ["*.cif", "sub/empty"])
def test_nothing_is_refused(folder, target):
    (folder / "sub" / "empty").mkdir()
    with pytest.raises(StructureError, match=r"no (structure )?file\. Pass"):
        find_structures(f"{folder}/{target}")


def test_bad_index_is_refused_at_once(folder):
    with pytest.raises(ArgumentError, match="index"):
        find_structures(folder, index="a")


def test_names_of_molecules_and_empty_names():
    assert list(find_structures("CH4").structures) == ["CH4"]
    with pytest.raises(ArgumentError, match="name_or_path"):
        find_structures("")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems want Unicode")
def test_a_name_that_is_no_text_has_a_label_that_is(tmp_path):
    name = os.fsdecode(b"a\xff.xyz")
    ase.io.write(tmp_path / "b.xyz", ase.build.molecule("H2O"))
    os.rename(tmp_path / "b.xyz", tmp_path / name)
    for target in (tmp_path, tmp_path / name):
        (label,) = find_structures(target).structures
        assert label == r"a\xff.xyz:0"
        label.encode()
