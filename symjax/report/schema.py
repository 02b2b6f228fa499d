"""What a report holds.

``report.json`` stores additive totals, not ratios: every error and every content
follows from them, also over several structures (:func:`symjax.metrics.add_totals`).
:mod:`symjax.report.storage` reads, validates and writes fields by their types. All
fields, with units, are listed in ``docs/report_schema.md``.
"""

import dataclasses
import functools
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from symjax.metrics import ResponseSpectrum, SampledResponse
from symjax.report.event_schema import EventFigures
from symjax.report.event_summary import EventLine, event_lines, summarise_events
from symjax.report.leaves import Leaf, ReportError, add_leaves
from symjax.report.run_settings import Climb, ModelInfo, Settings, Software
from symjax.report.structure_report import AtomErrors, Failure, StructureReport, Timing

__all__ = [
    "SCHEMA",
    "AtomErrors",
    "Climb",
    "Failure",
    "ModelInfo",
    "Place",
    "Report",
    "Settings",
    "Software",
    "StoredStructures",
    "StructureReport",
    "Timing",
    "without_numbers",
]

SCHEMA = "symjax-report/1"
"""Name and version of the format; the version grows when a field changes meaning."""


class Place(NamedTuple):
    """Location of the line of one structure in a file.

    Attributes:
      path: The file, such as ``structures.jsonl``.
      offset: Position of its first byte.
      length: Number of bytes, with the line feed.
      checksum: CRC-32 of these bytes.
    """

    path: Path
    offset: int
    length: int
    checksum: int

    @classmethod
    def of(cls, path: Path, offset: int, line: bytes) -> "Place":
        """The place of a line, with the line feed."""
        return cls(path.absolute(), offset, len(line), zlib.crc32(line))

    def read(self) -> str:
        """The line, without the line feed.

        Raises:
          ReportError: The file is gone, or the line has changed.
        """
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                line = file.read(self.length)
        except OSError as error:
            raise ReportError(
                "path",
                str(self.path),
                f"cannot be read any more ({error})",
                "Keep the file as long as its report is in use",
            ) from error
        if zlib.crc32(line) != self.checksum:
            raise ReportError(
                "path",
                str(self.path),
                "has been written again since this report was made",
                "Read the new report, or write each into a folder of its own",
            )
        return line.decode("utf-8").rstrip("\n")


class StoredStructures(Sequence[StructureReport]):
    """Structures that stay on disk and are read one by one when they are needed.

    Thousands of structures with all layers would not fit into memory, which holds all
    of each but leaves, atoms and points.

    Attributes:
      places: Location of each.
      overview: The structures without leaves, atoms and points.
    """

    def __init__(
        self,
        places: Sequence[Place],
        overview: Sequence[StructureReport],
        read: Callable[[Place], StructureReport],
    ):
        self.places, self.overview = tuple(places), tuple(overview)
        self._read = read

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self.choose(range(len(self))[index])
        return self._read(self.places[index])

    def choose(self, indices: Sequence[int]) -> "StoredStructures":
        """The structures with these indices."""
        return StoredStructures(
            [self.places[i] for i in indices],
            [self.overview[i] for i in indices],
            self._read,
        )


def without_numbers(structure: StructureReport) -> StructureReport:
    """A structure without leaves, atoms and points: label, formula, timing, failure."""
    return dataclasses.replace(structure, leaves=(), atoms=None, points=None)


@dataclasses.dataclass(frozen=True, eq=False)
class Report:
    """A complete report.

    Attributes:
      software: What computed it.
      model: Which model was measured.
      settings: How it was measured.
      structures: The structures, in the order in which they were given. Those of a
        large run are read from ``structures.jsonl`` when they are needed.
      command: The command line; empty for reports made from Python.

    Example:
      >>> from symjax.report import Report, StructureReport, schema
      >>> failure = schema.Failure("StructureError", "no atoms")
      >>> report = Report(
      ...     schema.Software("0.1.0", "0.10", "cpu"), schema.ModelInfo("pet", "ab"),
      ...     schema.Settings(6, "lebedev 13 x 14", 13, 2072, "all", "float32", 0.05),
      ...     (StructureReport("a", "H2", 2, "ab", failure=failure),))
      >>> len(report.measured), len(report.failed)
      (0, 1)
    """

    software: Software
    model: ModelInfo
    settings: Settings
    structures: Sequence[StructureReport]
    command: str = ""

    @functools.cached_property
    def overview(self) -> tuple[StructureReport, ...]:
        """The structures without leaves, atoms and points, which fit into memory."""
        if isinstance(self.structures, StoredStructures):
            return self.structures.overview
        return tuple(without_numbers(s) for s in self.structures)

    @property
    def measured(self) -> Sequence[StructureReport]:
        """The structures that did not fail."""
        return self._choose(failed=False)

    @property
    def failed(self) -> Sequence[StructureReport]:
        """The structures that failed."""
        return self._choose(failed=True)

    def _choose(self, failed: bool) -> Sequence[StructureReport]:
        chosen = [
            index
            for index, structure in enumerate(self.overview)
            if (structure.failure is not None) == failed
        ]
        if isinstance(self.structures, StoredStructures):
            return self.structures.choose(chosen)
        return tuple(self.structures[index] for index in chosen)

    @property
    def resolved(self) -> bool:
        """Whether every leaf of every measured structure is resolved."""
        return all(leaf.resolved for leaf in self._aggregated.values())

    @property
    def of_events(self) -> bool:
        """Whether events were measured, not structures."""
        of_event = (structure.formula == "event" for structure in self.overview)
        return bool(self.settings.points) or any(of_event)

    @functools.cached_property
    def event_summary(self) -> EventFigures:
        """Figures over events with their intervals; empty for structures."""
        return summarise_events(self.structures if self.of_events else ())

    @functools.cached_property
    def event_lines(self) -> list[EventLine]:
        """One line for each measured event, the largest error first."""
        return event_lines(self.structures if self.of_events else ())

    def aggregate(self) -> dict[str, Leaf]:
        """All leaves over all measured structures, by name.

        Returns:
          The leaves, in the order of the model, added up as in
          :func:`~symjax.report.leaves.add_leaves`.

        Raises:
          ReportError: Kind, unit, representation, irreps or channels of a leaf differ
            between structures.
        """
        return dict(self._aggregated)

    @property
    def responses(self) -> dict[str, ResponseSpectrum | SampledResponse]:
        """Second moments of the outputs over all structures, where they are known."""
        found = {name: leaf.response for name, leaf in self._aggregated.items()}
        return {name: known for name, known in found.items() if known is not None}

    @functools.cached_property
    def _aggregated(self) -> dict[str, Leaf]:
        grouped: dict[str, list[Leaf]] = {}
        for structure in self.measured:
            for leaf in structure.leaves:
                group = grouped.setdefault(leaf.name, [])
                group.append(leaf)
                if len(group) == _HELD_LEAVES:
                    group[:] = [add_leaves(group)]
        return {name: add_leaves(leaves) for name, leaves in grouped.items()}


# Leaves of one name that are held before they are added up.
_HELD_LEAVES = 64
