"""Events in the files of a folder or pattern, read on access."""

import glob
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from symjax._text import file_text
from symjax.data.point_clouds.clouds import PointCloud
from symjax.data.point_clouds.pilarnet import EventFile
from symjax.errors import StructureError

EVENT_FILES = (".h5", ".hdf5")
"""Suffixes of event files."""


class EventFiles(Mapping[str, PointCloud]):
    """Mapping from labels such as ``"a.h5:17"`` to events, which are read on access.

    Attributes:
      places: File and index of each event, by label.

    Example:
      >>> from symjax.data.point_clouds import EventFiles
      >>> len(EventFiles({}))
      0
    """

    def __init__(self, places: Mapping[str, tuple[Path, int]]):
        """Stores the places and reads nothing."""
        self.places = dict(places)
        self._widths: dict[Path, int] = {}

    def __getitem__(self, label: str) -> PointCloud:
        path, number = self.places[label]
        with EventFile(path, self._widths.get(path)) as file:
            event = file.read(number)
            self._widths[path] = file.width
        return event

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)


class FoundEvents(NamedTuple):
    """Events that :func:`find_events` has found, and files that cannot be read.

    Attributes:
      events: The events by label, sorted by file and index.
      unreadable: Errors, by name of the file.

    Example:
      >>> from symjax.data.point_clouds import FoundEvents
      >>> FoundEvents({}, {}).unreadable
      {}
    """

    events: EventFiles
    unreadable: dict[str, StructureError]


def event_paths(target: str | Path) -> tuple[Path, list[Path]]:
    """Lists the event files of a target.

    Args:
      target: A file, a folder, or a pattern with ``*``, ``?`` or ``[...]``. An existing
        file or folder takes precedence over a pattern. A folder stands for its ``.h5``
        and ``.hdf5`` files, without subfolders; ``**`` in a pattern includes
        subfolders, but does not follow links to folders. Hidden files are skipped.

    Returns:
      The folder that labels are relative to, and the sorted files. A single file need
      not exist.
    """
    path, name = Path(target), str(target)
    if name and path.is_dir():
        base = path
        found = [file for file in path.iterdir() if file.suffix in EVENT_FILES]
    elif not path.exists() and glob.has_magic(name):
        base = path
        while glob.has_magic(str(base)):
            base = base.parent
        found = list(base.glob(path.relative_to(base).as_posix()))
    else:
        return path.parent, [path]
    seen = sorted(
        file
        for file in found
        if file.is_file()
        and not any(part[0] == "." for part in file.relative_to(base).parts)
    )
    return base, seen


def find_events(target: str | Path, *, index: int | slice = slice(None)) -> FoundEvents:
    """Finds the events of a file, a folder or a pattern, without reading them.

    Of several files, those that cannot be read are reported in the result, and the
    others are used.

    Args:
      target: A file, folder or pattern, as in :func:`event_paths`.
      index: Events of each file: a number (negative from the end) or a slice.

    Returns:
      Events by label, ``FILE:INDEX``, where the name of the file is relative to the
      folder or to the part of the pattern before the first wildcard. Energies of a
      voxel that is listed several times are summed (:func:`merge_voxels`); use
      :func:`select_points` to drop the points that PoLAr-MAE drops.

    Raises:
      StructureError: There is no event, or the only file cannot be read: it is missing,
        locked, truncated or not of PILArNet-M. An event that is damaged raises one when
        it is read.

    Example:
      >>> import tempfile
      >>> from symjax.data.point_clouds import (
      ...     SMALL, find_events, generate_events, write_events)
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     for name in "ba":
      ...         write_events(f"{folder}/{name}.h5", generate_events(2, 0, SMALL))
      ...     found = find_events(f"{folder}/*.h5", index=-1)
      >>> list(found.events)
      ['a.h5:1', 'b.h5:1']
    """
    base, paths = event_paths(target)
    places: dict[str, tuple[Path, int]] = {}
    unreadable: dict[str, StructureError] = {}
    for path in paths:
        label = file_text(path.relative_to(base).as_posix())
        try:
            with EventFile(path) as file:
                chosen = _chosen(index, file.count, str(path))
        except StructureError as error:
            if len(paths) == 1:
                raise
            unreadable[label] = error
            continue
        places.update({f"{label}:{number}": (path, number) for number in chosen})
    if not places and not unreadable:
        raise StructureError(
            "target",
            str(target),
            "holds no event" if paths else "holds or matches no event file",
            "Pass an HDF5 file of PILArNet-M with events, a folder of them, or a "
            "pattern such as 'events/*.h5'",
        )
    return FoundEvents(EventFiles(places), unreadable)


def _chosen(index: int | slice, count: int, path: str) -> range:
    """Indices of events, from 0, for a number or a slice."""
    if isinstance(index, slice):
        return range(count)[index]
    if not -count <= index < count:
        raise StructureError(
            "index",
            index,
            f"{path!r} has {count} events",
            f"Use 0 to {count - 1}" if count else "Pass a file with events",
        )
    return range(index % count, index % count + 1)
