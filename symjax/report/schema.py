"""What a report holds.

``report.json`` stores additive totals, not ratios: every error and every content
follows from them, also over several structures (:func:`symjax.metrics.add_totals`).
The types of the fields say what a file may hold; :mod:`symjax.report.storage` reads and
writes by them. All fields, with units, are listed in ``docs/report_schema.md``.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from symjax.metrics.slots import CHECK_SEED
from symjax.report.event_schema import Breaking, EventPoints
from symjax.report.event_summary import event_lines, summarise_events
from symjax.report.leaves import Leaf, ReportError, add_leaves
from symjax.report.stored import (
    AtomicNumber,
    Count,
    Numbers,
    Positive,
    Record,
    Size,
    StoredCheck,
    Text,
)

SCHEMA = "symjax-report/1"
"""Name and version of the format; the number grows when a field changes meaning."""


@dataclasses.dataclass(frozen=True)
class Software(Record):
    """What computed a report.

    Attributes:
      symjax: Version of symjax.
      jax: Version of JAX.
      platform: Backend of JAX: ``"cpu"``, ``"gpu"`` or ``"tpu"``.
    """

    symjax: str
    jax: str
    platform: str


@dataclasses.dataclass(frozen=True)
class ModelInfo(Record):
    """Which model was measured.

    Attributes:
      name: Name of the model.
      digest: SHA-256 of its parameters and hyperparameters, hexadecimal.
      note: How it was evaluated, where that matters; empty for models of symjax.
    """

    name: Text
    digest: str
    note: Text = ""


@dataclasses.dataclass(frozen=True)
class Climb(Record):
    """How the grid of each structure was chosen: see :class:`symjax.metrics.Adaptive`.

    Attributes:
      content_tolerance: Error admitted on each B.
      error_tolerance: Relative error admitted on A.
      limit: Largest degree of a rule that is tried.
      samples: Random rotations at which every rule is checked.
    """

    content_tolerance: Size
    error_tolerance: Size
    limit: Count
    samples: Count


@dataclasses.dataclass(frozen=True)
class Settings(Record):
    """How it was measured; two reports add up only if these agree.

    Attributes:
      max_degree: Largest degree L of the projected sectors.
      grid: Name of the quadrature rule; ``"auto"`` where each structure has its own.
      degree: Degree through which the rule is exact, 0 for random elements; the largest
        that is tried where
        each structure has its own.
      num_elements: Elements of O(3) at which the model was evaluated; at most, where
        each structure has its own rule.
      layers: Selection of layers, as it was asked for.
      dtype: Floating-point type of the evaluation.
      tolerance: Change of B above which a response counts as not resolved; of random
        elements two standard errors of B.
      symmetry: Whether the point groups of the structures were used; each structure
        then has its own number of elements.
      seed: Seed of the random elements at which results are checked.
      adaptive: How the rule of each structure was chosen; None for a fixed one.
      matmul_precision: Precision of the model's matrix products, by JAX's names.
      energy: Name of the output whose derivatives are forces and stress; empty if the
        model has no energy, None for models of something else than atoms.
      points: Which points of events were read; empty for structures.
      labels: Fields and units of labels, where they are not those of the outputs in eV
        and angstrom.
    """

    max_degree: Count
    grid: str
    degree: Count
    num_elements: Positive
    layers: Text
    dtype: Literal["float32", "float64"]
    tolerance: Size
    symmetry: bool = False
    seed: int = CHECK_SEED
    adaptive: Climb | None = None
    matmul_precision: str = "highest"
    energy: str | None = None
    points: str = ""
    labels: Text = ""


@dataclasses.dataclass(frozen=True)
class Failure(Record):
    """Why a structure was not measured.

    Attributes:
      type: Name of the exception.
      message: Its message: what is wrong, with which value, and what to do.
    """

    type: str
    message: Text


@dataclasses.dataclass(frozen=True)
class Timing(Record):
    """Measured wall-clock times of one structure.

    Attributes:
      compile_seconds: Time in which JAX traced and compiled; small where compiled
        code was found again.
      evaluation_seconds: All other time of the measurement.
    """

    compile_seconds: Size
    evaluation_seconds: Size


@dataclasses.dataclass(frozen=True, eq=False)
class AtomErrors(Record):
    """Where the atoms of a structure are, and the error of each.

    Attributes:
      numbers: Atomic numbers.
      positions: In angstrom, shape ``(atoms, 3)``.
      cell: Cell vectors as rows, in angstrom; 0 where not periodic.
      errors: For every output of atoms its equivariance error A of each atom, in the
        unit of the output, shape ``(atoms,)``.
    """

    numbers: tuple[AtomicNumber, ...]
    positions: Annotated[Float[np.ndarray, "atoms 3"], Numbers(-math.inf)]
    cell: Annotated[Float[np.ndarray, "3 3"], Numbers(-math.inf)]
    errors: Mapping[str, Annotated[Float[np.ndarray, "atoms"], Numbers()]]


@dataclasses.dataclass(frozen=True, eq=False)
class StructureReport(Record):
    """One structure: measured, or failed.

    Attributes:
      label: Name of the structure, unique in a report.
      formula: Chemical formula in Hill order; ``"event"`` for a point cloud.
      num_atoms: Number of atoms, or of points.
      digest: SHA-256 of species, positions, cell, periodicity and charge.
      leaves: What was measured; empty if it failed.
      timing: Wall-clock times; None if it failed.
      failure: Why it failed; None if it did not.
      point_group: Schoenflies symbol of the symmetry that was used; empty where none
        was.
      num_elements: Elements of O(3) at which the model was evaluated; 0 if it failed.
      grid: Name of its own rule; empty where that of the settings was used.
      atoms: Positions, and errors of each atom; None for events and failed structures.
      points: The points of an event; None for structures and failed events.
      breaking: Sources of symmetry breaking of an event, for each set of elements;
        empty without segmentation.
      laws: Checks of other laws of nature; empty where none was made.

    Example:
      >>> from symjax.report import StructureReport
      >>> StructureReport("water", "H2O", 3, digest="ab").leaves
      ()
    """

    label: Text
    formula: str
    num_atoms: Count
    digest: str
    leaves: tuple[Leaf, ...] = ()
    timing: Timing | None = None
    failure: Failure | None = None
    point_group: str = ""
    num_elements: Count = 0
    atoms: AtomErrors | None = None
    grid: str = ""
    points: EventPoints | None = None
    breaking: tuple[Breaking, ...] = ()
    laws: tuple[StoredCheck, ...] = ()


class Place(NamedTuple):
    """Where the line of one structure stands.

    Attributes:
      path: The file, as ``structures.jsonl``.
      offset: Position of its first byte.
      length: Number of bytes, with the line feed.
    """

    path: Path
    offset: int
    length: int

    def read(self) -> str:
        """The line, without the line feed."""
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                return file.read(self.length).decode("utf-8").rstrip("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise ReportError(
                "path",
                str(self.path),
                f"cannot be read any more ({error})",
                "Keep the file as long as its report is in use",
            ) from error


class StoredStructures(Sequence[StructureReport]):
    """Structures that stay on disk, and are read one by one when they are needed.

    Thousands of structures with all layers would fill the memory. Of each, all but
    leaves, atoms and points is held.

    Attributes:
      places: Where each stands.
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
        structure = self._read(self.places[index])
        if structure.label != self.overview[index].label:
            raise ReportError(
                "path",
                str(self.places[index].path),
                "has been written again since this report was made",
                "Read the new report, or write each into a folder of its own",
            )
        return structure

    def choose(self, indices: Sequence[int]) -> "StoredStructures":
        """Some of the structures."""
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
      command: The command that was typed; empty for reports written from Python.

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
        """The structures without leaves and atoms, which never fill the memory."""
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
    def event_summary(self) -> dict[str, Any]:
        """Figures over events with their intervals; for structures, empty ones."""
        return summarise_events(self.structures if self.of_events else ())

    @functools.cached_property
    def event_lines(self) -> list[dict[str, Any]]:
        """One line for each measured event, the largest error first."""
        return event_lines(self.structures if self.of_events else ())

    def aggregate(self) -> dict[str, Leaf]:
        """All leaves over all measured structures, by name.

        Returns:
          The leaves, in the order of the model, added up as in
          :func:`~symjax.report.leaves.add_leaves`.

        Raises:
          ReportError: A leaf has not the same kind, unit, representation and
            channels in all structures.
        """
        return dict(self._aggregated)

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
