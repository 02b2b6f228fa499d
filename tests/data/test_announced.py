"""Files that announce more than they hold are refused at once."""

import bz2
import gzip
import lzma

import ase.build
import ase.io
import numpy as np
import pytest

from symjax.data import read_structures
from symjax.errors import StructureError

HUGE = 10**9
ONE = "Properties=species:S:1:pos:R:3\nO 0 0 0\n"


def refused(path, words, **options):
    with pytest.raises(StructureError, match=words):
        read_structures(path, **options)


@pytest.mark.parametrize("name", ["a.xyz", "a.extxyz", "a.xyz.gz", "a.xyz.bz2"])
@pytest.mark.parametrize("before", ["", f"1\n{ONE}"], ids=["first", "second"])
def test_xyz(name, before, tmp_path):
    text = (before + f"{HUGE}\n" + ONE).encode()
    pack = {"gz": gzip.compress, "z2": bz2.compress}.get(name[-2:], bytes)
    (tmp_path / name).write_bytes(pack(text))
    refused(tmp_path / name, "announces 1000000000 atoms")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.gro", f"title\n{HUGE}\n    1SOL     OW    1   0.1   0.1   0.1\n1 1 1\n"),
        ("POSCAR", f"a\n1.0\n3 0 0\n0 3 0\n0 0 3\nO\n{HUGE}\nDirect\n0 0 0\n"),
        ("POSCAR", f"O H\n1.0\n3 0 0\n0 3 0\n0 0 3\n1 {HUGE}\nDirect\n0 0 0\n"),
        (
            "a.lammpstrj",
            "ITEM: TIMESTEP\n2000000000\nITEM: NUMBER OF ATOMS\n"
            f"{HUGE}\nITEM: BOX BOUNDS pp pp pp\n0 1\n0 1\n0 1\nITEM: ATOMS id\n",
        ),
    ],
)
def test_other_formats(name, text, tmp_path):
    (tmp_path / name).write_text(text)
    formats = {"a.lammpstrj": "lammps-dump-text", "POSCAR": "vasp"}
    refused(tmp_path / name, "announces", format=formats.get(name))


def test_ends_within_a_frame(tmp_path):
    path = tmp_path / "a.xyz"
    path.write_text(f"1\n{ONE}3\n{ONE}")
    refused(path, "ends within frame 1, after 1 atoms")
    # Frames that are not asked for are not looked at.
    assert len(read_structures(path, index="0:1")) == 1


def test_bombs(tmp_path):
    path = tmp_path / "a.xyz.gz"
    line = b"O 0 0 0\n"
    number = 2**25
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(b"%d\nProperties=species:S:1:pos:R:3\n" % number)
        for _ in range(number // 2**15):
            file.write(line * 2**15)
    assert path.stat().st_size < 2**22
    refused(path, "unpacks to more than|announces")


def test_what_is_right_is_read(tmp_path):
    copper = ase.build.bulk("Cu", cubic=True)
    for name, format in [
        ("a.xyz", "extxyz"),
        ("b.xyz", "xyz"),
        ("POSCAR", "vasp"),
        ("a.gro", "gromacs"),
        ("a.cube", "cube"),
        ("a.xyz.gz", "extxyz"),
    ]:
        path = tmp_path / name
        options = {"data": np.zeros((2, 2, 2))} if format == "cube" else {}
        ase.io.write(path, copper, format=format, **options)
        assert len(read_structures(path)[0]) == 4, name
    path = tmp_path / "frames.xyz"
    ase.io.write(path, [copper, ase.build.molecule("H2O")] * 2)
    path.write_text(path.read_text() + "\n")
    assert [len(atoms) for atoms in read_structures(path)] == [4, 3, 4, 3]


@pytest.mark.parametrize("name", ["a.xyz.gz", "a.cif.gz", "a.xyz.bz2", "POSCAR.xz"])
def test_what_fills_the_memory_when_unpacked(name, tmp_path, monkeypatch):
    """Whatever it begins with, and before a reader holds it."""
    monkeypatch.setattr("symjax._files.SMALL", 2**16)
    pack = {"gz": gzip.compress, "z2": bz2.compress, "xz": lzma.compress}[name[-2:]]
    (tmp_path / name).write_bytes(pack(bytes(2**21)))
    refused(tmp_path / name, "unpacks to more than", format="extxyz")
