"""Structures and events that commands are given, and checks of them."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from symjax.cli.application import options_as_typed
from symjax.errors import ArgumentError

if TYPE_CHECKING:
    from symjax.data import Found
    from symjax.data.point_clouds import PointCloud

EVENT_FILES = (".h5", ".hdf5")
DEFAULT_MODELS = ("pet-ethanol", "polarmae-events")


def check_memory(memory: float) -> None:
    """Refuses what is no amount of memory in GiB."""
    # Not "<= 0": NaN must not pass; nor infinity, which is no number of bytes.
    if not 0 < memory < 2**30:
        raise ArgumentError(
            "--memory",
            memory,
            "is not a positive number of GiB",
            "Pass 2, for instance",
        )


def find_structures(target: str, frames: str | None) -> "Found":
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
        typer.echo(
            f"Left out, as no structure files: {', '.join(found.ignored)}", err=True
        )
    return found


def find_events(target: str, frames: str | None) -> "dict[str, PointCloud]":
    """Events of a file by label, ``file.h5:0`` and so on."""
    from symjax.data.point_clouds import count_events, read_events

    with options_as_typed({"path": "TARGET", "index": "--frames"}):
        count = count_events(target)
        if frames is not None and not re.fullmatch(
            r"-?\d+|(-?\d*)(:-?\d*){1,2}", frames
        ):
            raise ArgumentError(
                "--frames",
                frames,
                "is neither a number nor a slice",
                "Pass for instance 0, 0:10 or ::5",
            )
        if frames is None:
            chosen = list(range(count))
        elif ":" in frames:
            parts = [int(part) if part else None for part in frames.split(":")]
            if parts[2:] == [0]:
                raise ArgumentError("--frames", frames, "steps by 0", "Pass ::1")
            chosen = list(range(count))[slice(*parts)]
        else:
            # A number out of range is refused, with the number of events.
            read_events(target, int(frames))
            chosen = [int(frames) % count]
        name = Path(target).name
        found = read_events(target, chosen)
    return {f"{name}:{n}": cloud for n, cloud in zip(chosen, found, strict=True)}


def check_kind(model: Any, events: bool) -> None:
    """Refuses a model of structures for events, and the other way round."""
    from symjax.models.pointmae import PointMAEModel

    if isinstance(model, PointMAEModel) != events:
        kind = "events" if events else "structures"
        raise ArgumentError(
            "model",
            model.name,
            f"cannot be measured on {kind}",
            "Use a model for them; see 'symjax models'",
        )
