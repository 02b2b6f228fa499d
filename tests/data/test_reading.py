"""Reading structures: files of many formats, frames of them, names; and refusals."""

import pathlib

import ase
import ase.build
import ase.io
import numpy as np
import pytest
from refusals import refused

from symjax.data import (
    find_structure,
    read_structures,
)
from symjax.errors import ArgumentError, StructureError

WATER = ase.build.molecule("H2O")
XYZ = "2\nenergy=1.0\nH 0.0 0.0 0.0\nH 0.0 0.0 0.7\n"
BLANK = 2 * XYZ + "\n" + XYZ


@pytest.fixture
def trajectory(tmp_path):
    """Six frames of one to six helium atoms, so that a frame tells its number."""
    path = tmp_path / "frames.xyz"
    ase.io.write(path, [ase.Atoms(f"He{n}", np.eye(6, 3)[:n] + n) for n in range(1, 7)])
    return path


INDICES = [":", 0, "0", -1, "-2", "2:", ":3", "1:5:2", "-3:", "::-1", slice(4), "4:-1"]


@pytest.mark.parametrize("index", INDICES)
def test_index_selects_as_python_does(trajectory, index):
    frames = read_structures(trajectory, index=index)
    if isinstance(index, str) and ":" in index:
        parts = [int(part) if part else None for part in index.split(":")]
        expected = list(range(6))[slice(*parts)]
    elif isinstance(index, slice):
        expected = list(range(6))[index]
    else:
        expected = [list(range(6))[int(index)]]
    assert [len(atoms) - 1 for atoms in frames] == expected
    labels = [f"frames.xyz:{k}" for k in expected]
    assert list(find_structure(trajectory, index=index)) == labels


@pytest.mark.parametrize("name", ["a.cif", "POSCAR", "a.traj", "a.json", "a.xyz.gz"])
def test_formats(tmp_path, name):
    copper = ase.build.bulk("Cu", cubic=True)
    ase.io.write(tmp_path / name, copper)
    (atoms,) = read_structures(tmp_path / name)
    # POSCAR and CIF store decimals, at least 8 of them.
    np.testing.assert_allclose(atoms.positions, copper.positions, atol=1e-6)
    assert atoms.pbc.all()
    assert list(find_structure(tmp_path / name)) == [f"{name}:0"]


@pytest.mark.parametrize("name", ["run@3.xyz", "postgres.xyz", "H2O"])
def test_awkward_file_names(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    ase.io.write(name, ase.Atoms("He"), format="extxyz")
    # The last one is a molecule's name too: the file goes first.
    assert list(find_structure(name)) == [f"{name}:0"]
    assert len(read_structures(name)) == 1


def test_molecules_by_name():
    ((label, atoms),) = find_structure("CH3CH2OH").items()
    assert label == "CH3CH2OH"
    assert str(atoms.symbols) == str(ase.build.molecule("CH3CH2OH").symbols)
    assert len(find_structure("C60")["C60"]) == 60


def test_format_overrides_the_name(tmp_path):
    path = tmp_path / "frames.dat"
    ase.io.write(path, ase.Atoms("He2", [[0, 0, 0], [0, 0, 3]]), format="extxyz")
    assert len(read_structures(path, format="extxyz")[0]) == 2


def test_blank_lines_that_lose_nothing(tmp_path):
    path = tmp_path / "a.xyz"
    path.write_text(BLANK)
    assert len(read_structures(path, index=":2")) == 2
    path.write_text(2 * XYZ + "\n \n")
    assert len(read_structures(path)) == 2


# name of the file, content (None: no file), keyword arguments, argument, words
FILES = {
    "missing": ("a.xyz", None, {}, "path", "does not exist"),
    "missing folder": ("no/such/a.xyz", None, {}, "path", "does not exist"),
    "directory": (".", None, {}, "path", "is not a file"),
    "empty": ("a.xyz", "", {}, "path", "is empty"),
    "blank": ("a.xyz", "\n\n", {}, "path", "has no structures"),
    "unknown format": ("a.nonsense", "hello", {}, "path", "does not recognize"),
    "no suffix": ("nonsense", "hello", {}, "path", "does not recognize"),
    "truncated": ("a.xyz", XYZ + XYZ[:24], {}, "path", "truncated"),
    "truncated within a line": ("a.xyz", XYZ[:-8], {}, "path", "truncated"),
    "no number of atoms": ("a.xyz", "H 0 0 0\n", {}, "path", "damaged"),
    "not a number": ("a.xyz", XYZ.replace("0.7", "zero"), {}, "path", "damaged"),
    "no element": ("a.xyz", XYZ.replace("H", "Qq"), {}, "path", "'Qq' in line 3"),
    "binary": ("a.traj", "not a trajectory", {}, "path", "damaged"),
    "blank line between": ("a.xyz", XYZ + "\n" + XYZ, {}, "path", "frame 0"),
    "blank line, most frames": ("a.xyz", BLANK, {"index": ":5"}, "path", "frame 1"),
    "blank line, later frames": ("a.xyz", BLANK, {"index": "1:"}, "path", "frame 1"),
    "blank line, every other": ("a.xyz", BLANK, {"index": "::2"}, "path", "frame 1"),
    "wrong format": ("a.xyz", XYZ, {"format": "cif"}, "path", "no cif file"),
    "no such format": ("a.xyz", XYZ, {"format": "extxy"}, "format", "extxyz"),
    "format of wrong type": ("a.xyz", XYZ, {"format": 3}, "format", "not a format"),
    "index beyond": ("a.xyz", XYZ, {"index": 1}, "path", "no frames with index 1"),
    "index before": ("a.xyz", XYZ, {"index": -2}, "path", "no frames with index -2"),
    "slice beyond": ("a.xyz", XYZ, {"index": "5:"}, "path", "no frames with index"),
    "index of words": ("a.xyz", XYZ, {"index": "all"}, "index", "number or slice"),
    "index empty": ("a.xyz", XYZ, {"index": ""}, "index", "number or slice"),
    "index fractional": ("a.xyz", XYZ, {"index": 0.5}, "index", "number or slice"),
    "index boolean": ("a.xyz", XYZ, {"index": True}, "index", "number or slice"),
    "index of four": ("a.xyz", XYZ, {"index": "1:2:3:4"}, "index", "number or slice"),
    "step zero": ("a.xyz", XYZ, {"index": "::0"}, "index", "step 0"),
    "slice of words": ("a.xyz", XYZ, {"index": slice("a")}, "index", "integers"),
}


@pytest.mark.parametrize("case", FILES)
def test_files(tmp_path, case):
    name, content, options, argument, words = FILES[case]
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    error = StructureError if argument == "path" else ArgumentError
    refused(lambda: read_structures(path, **options), error, argument, words)
    if path.exists():
        refused(lambda: find_structure(path, **options), error, argument, words)


NAMES = {
    "other case": ("ch3ch2oh", "close: CH3CH2OH"),
    "digit for letter": ("H20", "H2O"),
    "trivial name": ("ethanol", "formulas such as CH3CH2OH"),
    "missing file": ("water.xzy", "close: water.xyz"),
    "missing folder": ("no/such/water.xyz", "does not exist"),
}


@pytest.mark.parametrize("case", NAMES)
def test_names(tmp_path, monkeypatch, case):
    monkeypatch.chdir(tmp_path)
    pathlib.Path("water.xyz").write_text(XYZ)
    name, words = NAMES[case]
    for both in ("neither a file", "nor a molecule", words):
        refused(lambda: find_structure(name), StructureError, "name_or_path", both)


@pytest.mark.parametrize("value", ["", None, 3, WATER])
def test_paths(value):
    refused(lambda: read_structures(value), ArgumentError, "path", "must be a path")
    refused(
        lambda: find_structure(value), ArgumentError, "name_or_path", "must be a path"
    )
