"""Finds structures in the files of a folder or of a pattern."""

import glob
from pathlib import Path
from typing import NamedTuple

import ase
from ase.io.formats import UnknownFileTypeError, filetype

from symjax._text import file_text
from symjax.data.reading import checked_index, find_structure
from symjax.errors import StructureError


class FoundStructures(NamedTuple):
    """Structures that :func:`find_structures` has read, and files that it has not.

    Attributes:
      structures: Structures by label, which is the name of the file and the number of
        the frame, ``"a/ethanol.xyz:0"``; or the name of a molecule.
      unreadable: Errors, by name of the file.
      ignored: Names of files in a folder that are not structure files.

    Example:
      >>> from symjax.data import find_structures
      >>> found = find_structures("CH3CH2OH")
      >>> list(found.structures), found.unreadable, found.ignored
      (['CH3CH2OH'], {}, ())
    """

    structures: dict[str, ase.Atoms]
    unreadable: dict[str, StructureError]
    ignored: tuple[str, ...]


def find_structures(
    target: str | Path, *, index: int | str | slice = ":"
) -> FoundStructures:
    """Reads the structures of a folder, a pattern, a file or the name of a molecule.

    Of several files, those that cannot be read are reported in the result, and the
    others are used. File names are relative to the folder, or to the part of the
    pattern before the first wildcard. In a folder, subfolders, hidden files and files
    of a format unknown to ASE are skipped; a pattern with ``**`` includes subfolders.

    Args:
      target: A folder; a pattern with ``*``, ``?`` or ``[...]``; or a file or molecule
        as in :func:`find_structure`. An existing file or folder takes precedence over a
        pattern.
      index: Frames of each file, as in :func:`read_structures`.

    Returns:
      Structures, sorted by file and frame.

    Raises:
      ArgumentError: ``index`` is neither a number nor a slice.
      StructureError: ``target`` is a single file or name and cannot be read, or a
        folder or pattern without structure files.

    Example:
      >>> import pathlib, tempfile
      >>> import ase.build, ase.io
      >>> from symjax.data import find_structures
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     for name in ("b.xyz", "a.xyz"):
      ...         path = pathlib.Path(folder) / name
      ...         ase.io.write(path, [ase.build.molecule("H2O")] * 2)
      ...     _ = (path.parent / "c.xyz").write_text("2")
      ...     found = find_structures(f"{folder}/*.xyz")
      >>> list(found.structures), list(found.unreadable)
      (['a.xyz:0', 'a.xyz:1', 'b.xyz:0', 'b.xyz:1'], ['c.xyz'])
    """
    path, name = Path(target), str(target)
    if name and path.is_dir():
        base, candidates = path, [p for p in path.iterdir() if p.name[0] != "."]
    elif not path.exists() and glob.has_magic(name):
        base = path
        while glob.has_magic(str(base)):
            base = base.parent
        candidates = [Path(found) for found in glob.glob(name, recursive=True)]
    else:
        return FoundStructures(find_structure(target, index=index), {}, ())
    checked_index(index)
    structures: dict[str, ase.Atoms] = {}
    unreadable: dict[str, StructureError] = {}
    ignored = []
    for file in sorted(path for path in candidates if path.is_file()):
        label = file_text(file.relative_to(base).as_posix())
        if base == path and not has_known_format(file):
            ignored.append(label)
            continue
        try:
            found = find_structure(file, index=index)
        except StructureError as error:
            unreadable[label] = error
            continue
        for key, atoms in found.items():
            structures[f"{label}:{key.rpartition(':')[2]}"] = atoms
    if not structures and not unreadable:
        raise StructureError(
            "target",
            name,
            "holds no structure file" if base == path else "matches no file",
            "Pass a folder with files that ASE reads, or a pattern such as 'a/*.xyz'",
        )
    return FoundStructures(structures, unreadable, tuple(ignored))


def has_known_format(path: Path) -> bool:
    """Whether ASE recognizes the format of a file."""
    # An empty file is recognised by its name, and refused when it is read.
    read = path.stat().st_size > 0
    try:
        filetype(str(path.absolute()), read=read, guess=False)
    except UnknownFileTypeError:
        return False
    return True
