"""Structures and events that commands take, and checks of file names."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from symjax.cli.application import options_as_typed
from symjax.cli.streams import say
from symjax.errors import ArgumentError

if TYPE_CHECKING:
    import ase

    from symjax.data import FoundStructures
    from symjax.data.point_clouds import FoundEvents


def find_structures(target: str, frames: str | None) -> "FoundStructures":
    """Structures of a molecule, a file, a folder or a pattern."""
    from symjax.data import find_structures as find

    names = dict.fromkeys(("name_or_path", "path", "target"), "TARGET")
    with options_as_typed({**names, "index": "--frames"}, index=frames):
        found = find(target, index=":" if frames is None else frames)
    if frames is not None and list(found.structures) == [target]:
        raise ArgumentError(
            "--frames",
            frames,
            f"TARGET is the molecule {target}, which has no frames",
            "Leave out --frames, or pass a file",
        )
    if found.ignored:
        say(
            f"Ignored, not structure files: {', '.join(found.ignored)}",
            err=True,
        )
    return found


def structures_of(target: str, frames: str | None) -> "dict[str, ase.Atoms]":
    """The same structures; raises if any file of a folder or pattern is unreadable."""
    found = find_structures(target, frames)
    for error in found.unreadable.values():
        raise error
    return found.structures


def is_events(target: str) -> bool:
    """Whether TARGET is an event file, or a pattern or folder with only event files."""
    from symjax.data.point_clouds.event_files import EVENT_FILES, event_paths
    from symjax.data.search import has_known_format

    path = Path(target)
    if path.suffix in EVENT_FILES:
        return True
    _, paths = event_paths(target)
    if paths == [path] or not paths:
        return False
    # A folder of structures may hold other HDF5 files, such as results.
    others = (
        [file for file in path.iterdir() if file.is_file()] if path.is_dir() else []
    )
    return all(file.suffix in EVENT_FILES for file in paths) and not any(
        has_known_format(file) for file in others if file not in paths
    )


def find_events(target: str, frames: str | None) -> "FoundEvents":
    """Events of a file, a folder or a pattern by label, such as ``file.h5:0``."""
    from symjax.data.point_clouds import find_events as find

    with options_as_typed({"path": "TARGET", "target": "TARGET", "index": "--frames"}):
        return find(target, index=_checked_frames(frames))


def _checked_frames(frames: str | None) -> int | slice:
    if frames is None:
        return slice(None)
    if not re.fullmatch(r"-?\d+|(-?\d*)(:-?\d*){1,2}", frames):
        raise ArgumentError(
            "--frames",
            frames,
            "is neither a number nor a slice",
            "Pass for instance 0, 0:10 or ::5",
        )
    if ":" not in frames:
        return int(frames)
    parts = [int(part) if part else None for part in frames.split(":")]
    if parts[2:] == [0]:
        raise ArgumentError("--frames", frames, "steps by 0", "Pass ::1")
    return slice(*parts)


def check_new_file(option: str, path: Path | None, overwrite: bool) -> None:
    """Raises ArgumentError if the file of an option exists and may not be replaced."""
    if path is not None and path.exists() and not overwrite:
        raise ArgumentError(
            option,
            str(path),
            "exists already",
            "Choose another file, or pass --overwrite",
        )
