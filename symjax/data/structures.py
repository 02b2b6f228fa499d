"""Reading structures, and checks before anything is computed from them."""

import difflib
import numbers
import re
from collections.abc import Sequence
from pathlib import Path

import ase
import ase.build
import ase.io
import numpy as np
from ase.collections import g2
from ase.data import chemical_symbols
from ase.geometry import minkowski_reduce
from ase.io.formats import (
    UnknownFileTypeError,
    filetype,
    ioformats,
    open_with_compression,
)
from jaxtyping import Float, Int

from symjax._text import file_text
from symjax.data._pairs import find_pairs
from symjax.data._structure_files import check_frames, read_species
from symjax.data.announced import check_announced
from symjax.data.conditions import spin_multiplicity, structure_name, total_charge
from symjax.errors import ArgumentError, StructureError

MINIMUM_DISTANCE = 1e-3
"""Atoms closer than this (angstrom) count as the same atom given twice.

The shortest bond there is, H-H, has 0.74 angstrom. At 1e-3 angstrom, float32
positions 100 angstrom from the origin (spacing 7.6e-6) fix the direction of the edge
to one per cent only, and what a model makes of it says nothing about the model.
"""

MAXIMUM_COORDINATE = 1e6
"""Largest coordinate in angstrom (0.1 mm); float32 resolves 0.06 angstrom there."""

# Sine of the angle below which cell vectors are called linearly dependent: far
# below the most acute cell in use, far above rounding.
_SINGULAR = 1e-6


def read_structures(
    path: str | Path,
    *,
    index: int | str | slice = ":",
    format: str | None = None,
) -> list[ase.Atoms]:
    """Reads structures from any file that ASE reads.

    Structures are not checked; ``check_structure`` and ``build_graph`` do that.

    Args:
      path: File such as an (extended) XYZ file, a trajectory, CIF or POSCAR.
      index: Frames to read, as a number or a slice (``0``, ``"-1"``, ``":10"``);
        by default all.
      format: ASE's name of the format; by default recognized from name and content.

    Returns:
      The structures, at least one.

    Raises:
      ArgumentError: ``index`` is no number or slice, ``path`` no path, or ``format``
        unknown.
      StructureError: The file does not exist, is a directory or empty, has a format
        that ASE does not read, is truncated or damaged, or has no such frame; or ASE
        would read something else than it says: sites of a CIF that are shared or not
        full, types of LAMMPS without elements, a cell or periodicity of extended XYZ
        in another spelling (``lattice=``, ``pbc="TTF"``), species that are no elements
        (deuterium ``D`` and tritium ``T`` are hydrogen with their masses).

    Example:
      >>> import pathlib, tempfile
      >>> import ase.build, ase.io
      >>> from symjax.data import read_structures
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = pathlib.Path(folder) / "water.xyz"
      ...     ase.io.write(path, [ase.build.molecule("H2O")] * 3)
      ...     frames = read_structures(path, index="1:")
      >>> len(frames), str(frames[0].symbols)
      (2, 'OH2')
    """
    return list(_read_frames(path, index, format).values())


def find_structure(
    name_or_path: str | Path,
    *,
    index: int | str | slice = ":",
    format: str | None = None,
) -> dict[str, ase.Atoms]:
    """Structures of a file, or else the molecule of this name, with labels.

    Args:
      name_or_path: An existing file, or a molecule of ``ase.build.molecule`` such
        as ``"CH3CH2OH"``. A file goes first.
      index: Frames of a file to read, as in ``read_structures``.
      format: ASE's name of the file format; by default recognized.

    Returns:
      The structures by label: the molecule's name, or the file's name and the number
      of the frame, ``"ethanol.xyz:0"``.

    Raises:
      ArgumentError: As in ``read_structures``.
      StructureError: Neither a file nor a molecule, or a file that
        ``read_structures`` refuses.

    Example:
      >>> from symjax.data import find_structure
      >>> find_structure("CH3CH2OH")
      {'CH3CH2OH': Atoms(symbols='C2OH6', pbc=False)}
    """
    path = _checked_path("name_or_path", name_or_path)
    if not path.is_file():
        name = str(name_or_path)
        try:
            return {name: ase.build.molecule(name)}
        except KeyError:
            pass
        if not path.exists():
            raise _neither_file_nor_molecule(path, name)
    frames = _read_frames(path, index, format)
    name = file_text(path.name)
    return {f"{name}:{number}": atoms for number, atoms in frames.items()}


def _read_frames(
    path: str | Path, index: int | str | slice, format: str | None
) -> dict[int, ase.Atoms]:
    """Frames of a file by their number."""
    selection = _checked_index(index)
    path = _checked_file(path)
    # Absolute, as ASE takes some beginnings of a name for the address of a database.
    absolute = str(path.absolute())
    if format is not None and str(format) not in ioformats:
        raise ArgumentError(
            "format",
            format,
            "is not a format of ASE",
            _close(
                "Pass None, or a name listed by 'ase info --formats'",
                str(format),
                [*ioformats],
            ),
        )
    try:
        format = format or filetype(absolute)
        multiple = format in ioformats and not ioformats[format].single
        negative = any((n or 0) < 0 for n in (selection.start, selection.stop))
        # Frames are read to the end where their number is needed, or no choice.
        everything = negative or not multiple or (selection.step or 1) < 0
        check_announced(path, format, None if everything else selection.stop)
        frames = _read(absolute, path, format, slice(None) if everything else selection)
    except UnknownFileTypeError as error:
        raise StructureError(
            "path",
            str(path),
            f"has a format that ASE does not recognize ({error})",
            "Convert it to extended XYZ, or name its format (format='extxyz')",
        ) from error
    except StructureError:
        raise
    # Readers fail in their own ways: ASE's formats raise OSError, ValueError,
    # KeyError, IndexError, AssertionError and errors of other libraries.
    except Exception as error:
        raise StructureError(
            "path",
            str(path),
            f"is truncated, damaged or no {format} file "
            f"({type(error).__name__}: {str(error) or 'no message'})",
            "Repair or rewrite it, or name its format (format='extxyz')",
        ) from error
    if frames and format == "extxyz" and (everything or selection == slice(None)):
        _check_read_to_the_end(absolute, path, frames)
    check_frames(absolute, path, format, frames)
    if everything:
        numbers_read = list(range(len(frames)))[selection]
        frames = [frames[k] for k in numbers_read]
    else:
        start, step = selection.start or 0, selection.step or 1
        numbers_read = [start + step * k for k in range(len(frames))]
    if not frames and selection == slice(None):
        raise StructureError(
            "path",
            str(path),
            f"has no structures, read as {format}",
            "Check the file, or name its format (format='extxyz')",
        )
    if not frames:
        raise StructureError(
            "path",
            str(path),
            f"has no frames with index {index!r}",
            "Pass an index within the file, or ':' for all frames",
        )
    return dict(zip(numbers_read, frames, strict=True))


def _read(absolute: str, path: Path, format: str, selection: slice) -> list[ase.Atoms]:
    try:
        return ase.io.read(
            absolute, index=selection, format=format, do_not_split_by_at_sign=True
        )
    except KeyError:
        if format not in ("xyz", "extxyz"):
            raise
    # Species that are no symbols of ASE's, such as D.
    return read_species(
        absolute, path, lambda text: ase.io.read(text, index=":", format=format)
    )[selection]


def _checked_file(path: str | Path) -> Path:
    path = _checked_path("path", path)
    if not path.exists():
        raise StructureError(
            "path", str(path), "does not exist", "Check the name and the folder"
        )
    if not path.is_file():
        raise StructureError(
            "path", str(path), "is not a file", "Pass one structure file"
        )
    if path.stat().st_size == 0:
        raise StructureError(
            "path", str(path), "is empty", "Check the program that wrote it"
        )
    return path


def _check_read_to_the_end(
    absolute: str, path: Path, frames: Sequence[ase.Atoms]
) -> None:
    """Refuses frames after a blank line, where ASE silently stops reading."""
    with open_with_compression(absolute, "r") as file:
        lines = [line for line in file if not line.lstrip().startswith("VEC")]
    lines = lines[sum(len(atoms) + 2 for atoms in frames) :]
    if next((line for line in lines if line.strip()), "").strip().isdigit():
        raise StructureError(
            "path",
            str(path),
            f"continues after a blank line that follows frame {len(frames) - 1}; "
            "ASE would leave out the rest",
            "Remove blank lines between frames",
        )


def _checked_path(name: str, path: str | Path) -> Path:
    # An empty string would be the current folder.
    if not isinstance(path, str | Path) or str(path) == "":
        raise ArgumentError(
            name, path, "must be a path", "Pass a non-empty string or a pathlib.Path"
        )
    return Path(path)


def _checked_index(index: int | str | slice) -> slice:
    remedy = "Pass a number such as 0 or -1, or a slice such as ':10' or '::2'"
    if isinstance(index, str) and re.fullmatch(r"\s*[+-]?\d+\s*", index):
        index = int(index)
    if isinstance(index, str) and re.fullmatch(r"(-?\d+)?(:(-?\d+)?){1,2}", index):
        index = slice(*(int(part) if part else None for part in index.split(":")))
    if isinstance(index, numbers.Integral) and not isinstance(index, bool):
        return slice(int(index), int(index) + 1 or None)
    if not isinstance(index, slice):
        raise ArgumentError("index", index, "is not a number or slice", remedy)
    for part in (index.start, index.stop, index.step):
        if part is not None and not isinstance(part, numbers.Integral):
            raise ArgumentError("index", index, "must hold integers", remedy)
    if index.step == 0:
        raise ArgumentError("index", index, "has step 0", remedy)
    return index


def _neither_file_nor_molecule(path: Path, name: str) -> StructureError:
    folder = path.parent
    files = [p.name for p in folder.iterdir()] if folder.is_dir() else []
    return StructureError(
        "name_or_path",
        name,
        f"is neither a file ({path.absolute()} does not exist) nor a molecule of "
        "ase.build.molecule, whose names are formulas such as CH3CH2OH",
        _close(
            "Pass an existing file or such a name",
            path.name,
            [*g2.names, *files],
        ),
    )


def _close(remedy: str, word: str, known: list[str]) -> str:
    """Extends a remedy by the known words that a mistyped one is close to."""
    lower = {name.lower(): name for name in known}
    matches = difflib.get_close_matches(word.lower(), lower, n=5)
    return (
        f"{remedy}; close: {', '.join(lower[m] for m in matches)}"
        if matches
        else remedy
    )


def periodic_cell(atoms: ase.Atoms) -> Float[np.ndarray, "3 3"]:
    """Cell vectors of the periodic directions; rows of the others are zero.

    Args:
      atoms: A structure.

    Returns:
      Cell vectors as rows in angstrom, shape ``(3, 3)``, float64.

    Example:
      >>> import ase.build
      >>> from symjax.data import periodic_cell
      >>> slab = ase.build.fcc111("Cu", (1, 1, 2), vacuum=5.0)
      >>> periodic_cell(slab).any(axis=1)
      array([ True,  True, False])
    """
    return np.where(atoms.pbc[:, None], atoms.cell[:], 0.0).astype(np.float64)


def check_structure(
    atoms: ase.Atoms,
    known_species: Sequence[int] | None = None,
    index: int | None = None,
) -> None:
    """Raises if a model cannot be evaluated on a structure; says why.

    Args:
      atoms: The structure. Left-handed cells, atoms outside the cell and partial
        periodicity are fine.
      known_species: Atomic numbers that the model was trained on; ``None`` accepts
        all.
      index: Number of the structure in the list it comes from, for the message.

    Raises:
      ArgumentError: ``atoms`` is not an ``ase.Atoms``, or ``known_species`` does not
        hold atomic numbers.
      StructureError: No atoms; positions or cell not finite, or coordinates or cell
        vectors above ``MAXIMUM_COORDINATE``; species that are no elements or that
        the model does not know; no cell vector, or linearly dependent ones, along
        periodic directions; two atoms, or an atom and an image, closer than
        ``MINIMUM_DISTANCE``; total charge or spin multiplicity not an integer.

    Example:
      >>> import ase.build
      >>> from symjax.data import check_structure
      >>> check_structure(ase.build.molecule("H2O"), known_species=[1, 8])
      >>> check_structure(ase.build.molecule("H2O"), known_species=[1, 6])
      Traceback (most recent call last):
      ...
      symjax.errors.StructureError: atoms.numbers='O': the model does not know this...
    """
    check_without_distances(atoms, known_species, index)
    positions = atoms.positions.astype(np.float64)
    pairs = find_pairs(positions, periodic_cell(atoms), atoms.pbc, MINIMUM_DISTANCE)
    check_distances(pairs.first, pairs.second, pairs.distances, index)


def check_without_distances(
    atoms: ase.Atoms,
    known_species: Sequence[int] | None = None,
    index: int | None = None,
) -> None:
    """The checks of ``check_structure`` that need no neighbor list."""
    name = structure_name(index)
    if not isinstance(atoms, ase.Atoms):
        raise ArgumentError(
            name,
            atoms,
            f"must be an ase.Atoms, not {type(atoms).__name__}",
            "Read files with symjax.data.read_structures, or build an ase.Atoms",
        )
    if len(atoms) == 0:
        raise StructureError(
            name, atoms, "has no atoms", "Remove empty structures from the input"
        )
    _check_positions(atoms, name)
    _check_species(atoms, known_species, name)
    _check_cell(atoms, name)
    total_charge(atoms, index)
    spin_multiplicity(atoms, index)


def check_distances(
    first: Int[np.ndarray, "pairs"],
    second: Int[np.ndarray, "pairs"],
    distances: Float[np.ndarray, "pairs"],
    index: int | None = None,
) -> None:
    """Raises if any of these pairs is closer than ``MINIMUM_DISTANCE``."""
    if len(distances) == 0:
        return
    closest = int(np.argmin(distances))
    # Not ">=": a distance that is not a number must not pass.
    if distances[closest] >= MINIMUM_DISTANCE:
        return
    i, j = int(first[closest]), int(second[closest])
    raise StructureError(
        f"{structure_name(index)}.positions",
        (i, j),
        f"atoms {i} and {j} are at the same place ({distances[closest]:.1e} angstrom "
        f"apart, less than {MINIMUM_DISTANCE})",
        "Remove the duplicate, or check that positions are in angstrom",
    )


def checked_species(known_species: Sequence[int] | None) -> frozenset[int] | None:
    """Validates the atomic numbers that a model knows."""
    if known_species is None:
        return None
    remedy = "Pass atomic numbers such as [1, 6, 8], or None to accept all elements"
    # A string is a sequence too, and iterating one would blame its letters.
    if isinstance(known_species, str | bytes) or not (
        isinstance(known_species, Sequence) or getattr(known_species, "ndim", 0) == 1
    ):
        raise ArgumentError(
            "known_species", known_species, "must be a sequence of integers", remedy
        )
    for number in known_species:
        if not isinstance(number, numbers.Integral) or isinstance(number, bool):
            raise ArgumentError(
                "known_species", number, "must hold integers only", remedy
            )
        if not 1 <= number < len(chemical_symbols):
            raise ArgumentError(
                "known_species", int(number), "is not an atomic number", remedy
            )
    if len(known_species) == 0:
        raise ArgumentError("known_species", [], "is empty", remedy)
    return frozenset(int(number) for number in known_species)


def _check_positions(atoms: ase.Atoms, name: str) -> None:
    for i in np.flatnonzero(~np.isfinite(atoms.positions).all(axis=1))[:1]:
        raise StructureError(
            f"{name}.positions[{i}]",
            atoms.positions[i].tolist(),
            "must be finite",
            "Look at the calculation or file that this structure comes from; "
            "a relaxation or dynamics run has probably diverged",
        )
    for i in np.flatnonzero((np.abs(atoms.positions) > MAXIMUM_COORDINATE).any(1))[:1]:
        raise StructureError(
            f"{name}.positions[{i}]",
            atoms.positions[i].tolist(),
            f"is farther than {MAXIMUM_COORDINATE:g} angstrom from the origin",
            "Centre the structure, for instance with atoms.center() or atoms.wrap(), "
            "and check that positions are in angstrom",
        )


def _check_species(
    atoms: ase.Atoms, known_species: Sequence[int] | None, name: str
) -> None:
    valid = (atoms.numbers >= 1) & (atoms.numbers < len(chemical_symbols))
    for i in np.flatnonzero(~valid)[:1]:
        raise StructureError(
            f"{name}.numbers[{i}]",
            int(atoms.numbers[i]),
            "is not an element (0 is ASE's placeholder 'X')",
            "Remove dummy atoms, or set atoms.numbers to the elements meant",
        )
    known = checked_species(known_species)
    if known is None:
        return
    unknown = sorted(set(atoms.numbers.tolist()) - known)
    if unknown:
        symbols = ", ".join(chemical_symbols[number] for number in unknown)
        knows = ", ".join(chemical_symbols[number] for number in sorted(known))
        raise StructureError(
            f"{name}.numbers",
            symbols,
            "the model does not know "
            + ("this element" if len(unknown) == 1 else "these elements")
            + f"; it knows {knows}",
            "Leave out structures with other elements, or use a model trained on them",
        )


def _check_cell(atoms: ase.Atoms, name: str) -> None:
    cell = atoms.cell[:]
    if not np.isfinite(cell).all():
        raise StructureError(
            f"{name}.cell",
            cell.tolist(),
            "must be finite",
            "Set atoms.cell to finite vectors in angstrom",
        )
    rows = cell[atoms.pbc]
    lengths = np.linalg.norm(rows, axis=1)
    for axis in np.flatnonzero(atoms.pbc)[lengths == 0][:1]:
        raise StructureError(
            f"{name}.cell[{axis}]",
            cell[axis].tolist(),
            f"direction {axis} is periodic (pbc={atoms.pbc.tolist()}) but has no "
            "cell vector",
            "Set atoms.cell, or atoms.pbc = False for a molecule",
        )
    for axis in np.flatnonzero(atoms.pbc)[lengths > MAXIMUM_COORDINATE][:1]:
        raise StructureError(
            f"{name}.cell[{axis}]",
            cell[axis].tolist(),
            f"is longer than {MAXIMUM_COORDINATE:g} angstrom",
            "Set atoms.pbc = False along this direction, or give cell vectors in "
            "angstrom",
        )
    if len(rows) and periodic_volume(rows / lengths[:, None]) < _SINGULAR:
        raise StructureError(
            f"{name}.cell",
            cell.tolist(),
            f"the cell is singular: its vectors along periodic directions "
            f"(pbc={atoms.pbc.tolist()}) are linearly dependent",
            "Set atoms.cell to linearly independent vectors",
        )
    # A cell can be skewed onto an image of itself: look at the shortest vectors that
    # span the same lattice. Here, as a neighbor list would take long to find it.
    reduced = minkowski_reduce(periodic_cell(atoms), atoms.pbc)[0][atoms.pbc]
    shortest = min(np.linalg.norm(reduced, axis=1), default=np.inf)
    if shortest < MINIMUM_DISTANCE:
        raise StructureError(
            f"{name}.cell",
            cell.tolist(),
            f"puts a periodic image {shortest:.1e} angstrom from every atom, less "
            f"than {MINIMUM_DISTANCE}",
            "Give cell vectors in angstrom",
        )


def periodic_volume(rows: Float[np.ndarray, "periodic 3"]) -> float:
    """Volume, area or length that up to three vectors span; 1 for none."""
    # Singular values, not det(rows @ rows.T): squaring would lose the small ones.
    return float(np.prod(np.linalg.svd(rows, compute_uv=False)))
