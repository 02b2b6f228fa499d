"""Events of many files: a folder or a pattern, each read when it is asked for."""

import glob
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from symjax._text import file_text
from symjax.data.point_clouds.clouds import PointCloud
from symjax.data.point_clouds.pilarnet import EventFile, chosen_numbers
from symjax.errors import StructureError

EVENT_FILES = (".h5", ".hdf5")
"""Ends of the names of event files."""


class EventFiles(Mapping[str, PointCloud]):
    """Events of files by label, ``"a.h5:17"``; each is read when it is asked for.

    Attributes:
      places: File and number of each event, by label.

    Example:
      >>> from symjax.data.point_clouds import EventFiles
      >>> len(EventFiles({}))
      0
    """

    def __init__(self, places: Mapping[str, tuple[Path, int]]):
        """Keeps where events are.

        Args:
          places: File and number of each event, by label.
        """
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
    """What is behind a file, a folder or a pattern.

    Attributes:
      events: The events by label, in the order of names and numbers.
      unreadable: Errors by name of the file.

    Example:
      >>> from symjax.data.point_clouds import FoundEvents
      >>> FoundEvents({}, {}).unreadable
      {}
    """

    events: EventFiles
    unreadable: dict[str, StructureError]


def event_paths(target: str | Path) -> tuple[Path, list[Path]]:
    """The folder that names are relative to, and the event files of a target, in order.

    A target is a file, a folder, or a pattern with ``*``, ``?`` or ``[...]``; what
    exists goes first. Of a folder, its own files with the ends ``.h5`` and ``.hdf5``;
    ``**`` in a pattern reaches into folders below, but not through links to folders,
    which can run in a circle. Hidden files are left out.

    Example:
      >>> from symjax.data.point_clouds.event_files import event_paths
      >>> event_paths("runs/a.h5")
      (PosixPath('runs'), [PosixPath('runs/a.h5')])
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
    """Events of a folder, of files that match a pattern, or of a file.

    No event is read. A file that cannot be used does not keep others from being used.

    Args:
      target: As in :func:`event_paths`.
      index: Events of each file: a number (negative from the end) or a slice.

    Returns:
      Events by label: name of the file, relative to the folder or to the part of the
      pattern without wildcards, and number.

    Raises:
      StructureError: There is no such file, or the only one cannot be used.

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
                chosen = chosen_numbers(index, file.count, "index", str(path))
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
