"""Checks the number of atoms that a structure file announces before it is read.

Readers trust the number of atoms at the head of a file. A wrong one makes them read
past the end, or allocate more memory than there is. It is compared with the size of the
file first.
"""

import lzma
import re
import zlib
from pathlib import Path
from typing import TextIO

from ase.io.formats import open_with_compression

from symjax._files import LARGEST, unpacked_limit
from symjax.errors import StructureError

_COMPRESSED = (".gz", ".bz2", ".xz")
# Where formats write the number of atoms, in their first lines.
_HEADS = {
    "cube": r".*\n.*\n\s*-?(\d+)",
    "gromacs": r".*\n\s*(\d+)",
    "lammps-data": r"(?:.*\n)*?\s*(\d+)\s+atoms",
    "lammps-dump-text": r"(?:.*\n)*?ITEM: NUMBER OF ATOMS.*\n\s*(\d+)",
    "vasp": r"(?:.*\n){5,6}?((?:[ \t]*\d+)+)[ \t]*\r?\n",
}


def check_announced(path: Path, format: str, frames: int | None = None) -> None:
    """Raises if a file announces more atoms than its size allows, or frames are lost.

    Numbers of atoms are checked for XYZ, LAMMPS, VASP, Gromacs and cube (``format`` is
    ASE's name). Compressed files must not unpack to much more than such files usually
    do. XYZ files must not end within one of the first ``frames`` frames, nor continue
    after a blank line, where ASE stops.
    """
    packed = path.suffix in _COMPRESSED
    size = path.stat().st_size
    most = unpacked_limit(size, LARGEST) if packed else size
    if packed:
        _check_unpacked(path, most)
    try:
        with open_with_compression(str(path.absolute()), "r") as file:
            if format in ("xyz", "extxyz"):
                _check_frames(file, path, most, frames)
            elif format in _HEADS:
                found = re.match(_HEADS[format], file.read(2**14))
                if found:
                    _check(sum(map(int, found[1].split())), most, path)
    except (OSError, EOFError, UnicodeDecodeError):
        return  # the reader reports it


def _check_unpacked(path: Path, most: int) -> None:
    """Raises if a compressed file is too large when unpacked, before it is read."""
    total = 0
    try:
        with open_with_compression(str(path.absolute()), "rb") as file:
            while piece := file.read(2**20):
                total += len(piece)
                if total > most:
                    raise StructureError(
                        "path",
                        str(path),
                        f"unpacks to more than {most:,} bytes",
                        "Unpack it first, if it is from a source that you trust",
                    )
    except (OSError, EOFError, lzma.LZMAError, zlib.error):
        return  # the reader reports it


def _check(number: int, most: int, path: Path) -> None:
    if number > most:
        raise StructureError(
            "path",
            str(path),
            f"announces {number} atoms and has at most {most} bytes",
            "Check the number of atoms, and that the file is whole",
        )


def _check_frames(file: TextIO, path: Path, most: int, frames: int | None) -> None:
    number = 0
    while frames is None or number < frames:
        line = file.readline(most)
        if line.lstrip().startswith("VEC"):
            continue
        if not re.fullmatch(r"\s*[0-9]{1,18}\s*", line):
            # ASE stops at a blank line, whatever follows it.
            following = next((text for text in file if text.strip()), "")
            if number and not line.strip() and following.strip().isdigit():
                raise StructureError(
                    "path",
                    str(path),
                    f"continues after a blank line that follows frame {number - 1}; "
                    "ASE would leave out the rest",
                    "Remove blank lines between frames",
                )
            return
        _check(int(line), most, path)
        for row in range(int(line) + 1):
            line = file.readline(most)
            # Spaces may follow the last frame, or a comment line be empty.
            if not line:
                raise StructureError(
                    "path",
                    str(path),
                    f"ends within frame {number}, after {max(row - 1, 0)} atoms",
                    "Check that the file is whole",
                )
        number += 1
