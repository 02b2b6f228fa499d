"""One structure of a report: what was measured of it, or why nothing was."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Annotated

import numpy as np
from jaxtyping import Float

from symjax.report.event_schema import Breaking, EventPoints
from symjax.report.leaves import Leaf
from symjax.report.stored import (
    AtomicNumber,
    Count,
    Numbers,
    Record,
    Size,
    StoredCheck,
    Text,
)


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
      compile_seconds: Time that JAX spent on tracing and compiling; small if compiled
        code was reused.
      evaluation_seconds: The rest of the measurement.
    """

    compile_seconds: Size
    evaluation_seconds: Size


@dataclasses.dataclass(frozen=True, eq=False)
class AtomErrors(Record):
    """Positions of the atoms of a structure, and the error of each.

    Attributes:
      numbers: Atomic numbers.
      positions: In angstrom, shape ``(atoms, 3)``.
      cell: Cell vectors as rows, in angstrom; 0 along directions that are not periodic.
      errors: For every output that has a value for each atom, by name, the equivariance
        error A of each atom in the unit of the output, shape ``(atoms,)``.
    """

    numbers: tuple[AtomicNumber, ...]
    positions: Annotated[Float[np.ndarray, "atoms 3"], Numbers(-math.inf)]
    cell: Annotated[Float[np.ndarray, "3 3"], Numbers(-math.inf)]
    errors: Mapping[str, Annotated[Float[np.ndarray, "atoms"], Numbers()]]


@dataclasses.dataclass(frozen=True, eq=False)
class StructureReport(Record):
    """What was measured for one structure, or why it failed.

    Attributes:
      label: Name of the structure, unique in a report.
      formula: Chemical formula in Hill order; ``"event"`` for a point cloud.
      num_atoms: Number of atoms, or of points.
      digest: SHA-256 of species, positions, cell, periodicity and charge.
      leaves: What was measured; empty if it failed.
      timing: Wall-clock times; None if it failed.
      failure: Why it failed; None if it did not.
      point_group: Schoenflies symbol of the symmetry that was used; empty if none
        was.
      num_elements: Elements of O(3) at which the model was evaluated; 0 if it failed.
      grid: Name of its own rule; empty if that of the settings was used.
      atoms: Positions, and errors of each atom; None for events and failed structures.
      points: The points of an event; None for structures and failed events.
      breaking: Sources of symmetry breaking of an event, for each set of elements of
        O(3); empty without segmentation.
      laws: Checks of other laws of nature; empty if none was made.

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
