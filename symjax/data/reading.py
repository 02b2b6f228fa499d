"""Reads structures from files, or molecules by name."""

import difflib
import numbers
import re
from pathlib import Path

import ase
import ase.build
import ase.io
from ase.collections import g2
from ase.io.formats import UnknownFileTypeError, filetype, ioformats

from symjax._text import file_text
from symjax.data._structure_files import check_frames, read_species
from symjax.data.announced import check_announced
from symjax.errors import ArgumentError, StructureError


def read_structures(
    path: str | Path,
    *,
    index: int | str | slice = ":",
    format: str | None = None,
) -> list[ase.Atoms]:
    """Reads structures from any file that ASE can read.

    Deuterium ``D`` and tritium ``T`` in XYZ files are read as hydrogen with their own
    masses. The structures are not validated; see :func:`symjax.data.check_structure`.

    Args:
      path: A file, such as (extended) XYZ, an ASE trajectory, CIF or POSCAR.
      index: Frames to read, as a number or a slice (``0``, ``"-1"``, ``":10"``); all by
        default.
      format: ASE's name of the format; by default recognized from name and content.

    Returns:
      The structures, at least one.

    Raises:
      ArgumentError: ``index`` is neither a number nor a slice, ``path`` is not a path,
        or ``format`` is unknown.
      StructureError: The file does not exist, is a directory, empty, truncated or
        damaged, has an unknown format, or has no such frame. Also if ASE would silently
        misread it: a CIF with partial occupancies, LAMMPS types without elements, a
        cell or periodicity of extended XYZ in a form that ASE misreads
        (``lattice=``, ``pbc=T T F`` without quotes), or frames after a blank line.

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
    """Reads a file, or builds the molecule of this name if there is no such file.

    Args:
      name_or_path: A file, or a molecule known to ``ase.build.molecule``, such as
        ``"CH3CH2OH"``. An existing file takes precedence.
      index: Frames of a file to read, as in :func:`read_structures`.
      format: ASE's name of the file format; by default recognized.

    Returns:
      The structures by label: the name of the molecule, or the name of the file and the
      number of the frame, ``"ethanol.xyz:0"``.

    Raises:
      ArgumentError: As in :func:`read_structures`.
      StructureError: There is neither such a file nor such a molecule, or the file
        cannot be read.

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
    """Reads frames of a file, by number."""
    selection = checked_index(index)
    path = _checked_file(path)
    # Absolute, as ASE interprets names with certain prefixes as database addresses.
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
        # All frames are read if their number is needed or the format cannot select.
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
    # Species that ASE does not recognize, such as D.
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


def _checked_path(name: str, path: str | Path) -> Path:
    # An empty string would mean the current folder.
    if not isinstance(path, str | Path) or str(path) == "":
        raise ArgumentError(
            name, path, "must be a path", "Pass a non-empty string or a pathlib.Path"
        )
    return Path(path)


def checked_index(index: int | str | slice) -> slice:
    """Converts an index to a slice; raises if it is neither a number nor a slice."""
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
    """Extends a remedy by known words that are similar to a mistyped one."""
    lower = {name.lower(): name for name in known}
    matches = difflib.get_close_matches(word.lower(), lower, n=5)
    return (
        f"{remedy}; close: {', '.join(lower[m] for m in matches)}"
        if matches
        else remedy
    )
