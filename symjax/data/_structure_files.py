"""Reads or refuses what ASE would guess, drop or misread in structure files."""

import io
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import ase
import numpy as np
from ase.data import atomic_numbers, chemical_symbols
from ase.io.formats import open_with_compression

from symjax.errors import StructureError

# Isotopes of hydrogen with their own symbols, and their masses in u (AME2020).
_ISOTOPES = {"D": 2.01410178, "T": 3.01604928}
_PROPERTIES = re.compile(r"(?<!\S)Properties=\"?([^\s\"]+)")
_BOOLEAN = re.compile(r"T|F|True|False|TRUE|FALSE|true|false|0|1")
# The value, and values that follow it without quotes, which ASE reads as other keys.
_PBC = re.compile(
    r"(?<!\S)pbc\s*=\s*(\"[^\"]*\"|'[^']*'|\[[^][]*\]|\S+)"
    rf"((?:\s+(?:{_BOOLEAN.pattern})(?!\S))*)",
    re.IGNORECASE,
)
# Keys that extended XYZ recognizes in this spelling only.
_SPELLINGS = ("Lattice", "pbc", "Properties")


def check_frames(
    absolute: str, path: Path, format: str, frames: Sequence[ase.Atoms]
) -> None:
    """Raises if ASE has dropped or invented something.

    These are partial occupancies of a CIF, elements of a LAMMPS file that names none,
    and a cell or periodicity of an extended XYZ file in a spelling that ASE ignores.
    """
    for number, atoms in enumerate(frames):
        _check_occupancies(path, atoms, number)
        if format == "extxyz":
            _check_spelling(path, atoms, number)
    if format == "extxyz":
        _check_periodicity(absolute, path)
    if format.startswith("lammps"):
        _check_elements(absolute, path, format)


def _check_occupancies(path: Path, atoms: ase.Atoms, number: int) -> None:
    sites = atoms.info.get("occupancy")
    if not isinstance(sites, dict):
        return
    for site in sites.values():
        if isinstance(site, dict) and (
            len(site) != 1 or any(abs(share - 1) > 1e-3 for share in site.values())
        ):
            shares = ", ".join(f"{symbol} {share:g}" for symbol, share in site.items())
            raise StructureError(
                "path",
                str(path),
                f"has partial occupancies in frame {number} ({shares} on one site), "
                "which ASE would read as full atoms",
                "Write a structure in which every site holds one atom, such as an "
                "ordered supercell",
            )


def _check_spelling(path: Path, atoms: ase.Atoms, number: int) -> None:
    for key in atoms.info:
        for known in _SPELLINGS:
            if key != known and str(key).lower() == known.lower():
                if known == "Lattice" and atoms.cell[:].any():
                    continue
                raise StructureError(
                    "path",
                    str(path),
                    f"has the key {key!r} in frame {number}, which extended XYZ spells "
                    f"{known!r}: ASE does not read it",
                    f"Write {known}=",
                )


def _check_periodicity(absolute: str, path: Path) -> None:
    with open_with_compression(absolute, "r") as file:
        for count, line in enumerate(file, start=1):
            for value, following in _PBC.findall(line) if "=" in line else ():
                inner = value[1:-1] if value[0] in "\"'[" else value
                words = inner.replace(",", " ").split()
                good = len(words) in (1, 3) and all(map(_BOOLEAN.fullmatch, words))
                if following or not good:
                    raise StructureError(
                        "path",
                        str(path),
                        f"has pbc={value}{following} in line {count}, which ASE would "
                        "misread",
                        'Write three values with spaces in quotes, such as pbc="T T F"',
                    )


def _check_elements(absolute: str, path: Path, format: str) -> None:
    found = False
    if format == "lammps-dump-text":
        with open_with_compression(absolute, "r") as file:
            heads = [line for line in file if line.startswith("ITEM: ATOMS")]
        found = all({"element", "mass"} & set(head.split()) for head in heads)
    elif format == "lammps-data":
        with open_with_compression(absolute, "r") as file:
            found = any(line.strip().startswith("Masses") for line in file)
    if not found:
        raise StructureError(
            "path",
            str(path),
            "does not name the elements of its atom types: ASE would read type 1 as H, "
            "2 as He",
            "Dump the column 'element' (dump_modify element), or read it with "
            "ase.io.read and set the symbols",
        )


class _Species(NamedTuple):
    """One species of an XYZ file, and its place in the file."""

    frame: int
    atom: int
    line: int
    start: int
    stop: int
    symbol: str


def read_species(
    absolute: str, path: Path, read: Callable[[io.StringIO], list[ase.Atoms]]
) -> list[ase.Atoms]:
    """Reads an (extended) XYZ file with species that ASE does not recognize.

    Deuterium and tritium are read as hydrogen with their own masses. Any other unknown
    species raises an error that names it.
    """
    with open_with_compression(absolute, "r") as file:
        lines = file.read().splitlines()
    isotopes = []
    for entry in _species(lines):
        if entry.symbol in _ISOTOPES:
            isotopes.append(entry)
        elif entry.symbol not in atomic_numbers:
            raise StructureError(
                "path",
                str(path),
                f"has the species {entry.symbol!r} in line {entry.line + 1}, which is "
                "not an element",
                _remedy(entry.symbol),
            )
    for entry in isotopes:
        line = lines[entry.line]
        lines[entry.line] = f"{line[: entry.start]}H{line[entry.stop :]}"
    frames = read(io.StringIO("\n".join(lines) + "\n"))
    for entry in isotopes:
        masses = frames[entry.frame].get_masses()
        masses[entry.atom] = _ISOTOPES[entry.symbol]
        frames[entry.frame].set_masses(masses)
    return frames


def _remedy(species: str) -> str:
    if species.isdigit() and 0 < int(species) < len(chemical_symbols):
        symbol = chemical_symbols[int(species)]
        return f"Write symbols such as {symbol}, or the numbers in a column Z:I:1"
    letters = re.match(r"[A-Z][a-z]?|[a-z]{1,2}", species)
    guess = letters[0].capitalize() if letters else ""
    symbol = next((g for g in (guess, guess[:1]) if g in atomic_numbers), "O")
    return f"Write the symbol of an element, such as {symbol}"


def _species(lines: Sequence[str]) -> Iterator[_Species]:
    """Species of all atoms, up to where the file stops being a valid XYZ file."""
    start, frame = 0, 0
    while start + 1 < len(lines) and lines[start].strip().isdigit():
        count = int(lines[start])
        column = _species_column(lines[start + 1])
        if column is None:
            return
        for atom, line in enumerate(range(start + 2, start + 2 + count)):
            words = list(re.finditer(r"\S+", lines[line])) if line < len(lines) else []
            if len(words) <= column:
                return
            word = words[column]
            yield _Species(frame, atom, line, word.start(), word.end(), word[0])
        start, frame = start + 2 + count, frame + 1


def _species_column(comment: str) -> int | None:
    found = _PROPERTIES.search(comment)
    if not found:
        return 0
    parts = found[1].split(":")
    names, widths = parts[::3], parts[2::3]
    if "species" not in names or len(widths) < len(names):
        return None
    before = widths[: names.index("species")]
    return int(np.sum([int(width) for width in before])) if before else 0
