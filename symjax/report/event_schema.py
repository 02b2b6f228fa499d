"""What a report holds of events beside spectra: points, sources, and figures."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
from jaxtyping import Float, Int

from symjax.report.stored import (
    Count,
    Numbers,
    OrUnknown,
    Positive,
    Record,
    Share,
    Size,
    StoredLabels,
    Text,
)


@dataclasses.dataclass(frozen=True, eq=False)
class EventPoints(Record):
    """The points of an event that a model has read, and what it says of each.

    Attributes:
      positions: In voxels, shape ``(points, 3)``.
      energies: In MeV.
      semantic: True labels; -1 where unknown.
      errors: For every output of points its equivariance error A of each point.
      labels: The most frequent label over random orientations; empty without
        segmentation.
      changes: Share of these orientations with another label; empty likewise.
    """

    positions: Annotated[Float[np.ndarray, "points 3"], Numbers(-math.inf)]
    energies: Annotated[Float[np.ndarray, "points"], Numbers()]
    semantic: Annotated[Int[np.ndarray, "points"], Numbers(-1, integer=True)]
    errors: Mapping[str, Annotated[Float[np.ndarray, "points"], Numbers()]]
    labels: Annotated[Int[np.ndarray, "labelled"], Numbers(integer=True)]
    changes: Annotated[Float[np.ndarray, "labelled"], Numbers()]


@dataclasses.dataclass(frozen=True)
class Breaking(Record):
    """Sizes of the sources of symmetry breaking over one set of elements.

    All are root mean squares of class probabilities over points, classes and elements.

    Attributes:
      group: ``"Oh"``, or ``"O(3)"`` for random elements.
      num_elements: Number of elements.
      num_points: Number of points.
      num_known: Number of points whose true label the model knows.
      network: A of the probabilities with frozen tokens.
      tokenisation: Root mean square of what finding tokens anew changes.
      voxelisation: Root mean square of what putting points back on voxels changes.
      total: A of the probabilities with all three.
      content: B of the probabilities with all three, per irrep; empty for O(3).
      frozen_labels: Labels with frozen tokens.
      labels: Labels with all three. Read from a file, neither has ``frequencies``.
    """

    group: Literal["Oh", "O(3)"]
    num_elements: Count
    num_points: Count
    num_known: Count
    network: Size
    tokenisation: Size
    voxelisation: Size
    total: Size
    content: Mapping[str, float]
    frozen_labels: StoredLabels
    labels: StoredLabels


# Value, lower and upper end: an Interval, which is null where not known.
_Interval: Any = tuple.__class_getitem__((OrUnknown, OrUnknown, OrUnknown))


@dataclasses.dataclass(frozen=True)
class PointGroupFigures(Record):
    """Figures of some points of all events, each with its interval.

    Attributes:
      by: ``"all"``, ``"class"``, ``"particle"`` or ``"points"``, the size of the event.
      name: Which of them.
      events: Number of events that have such points.
      equivariance_error: A.
      relative_error: A over the root mean square.
      expected: B in the irreps of the output.
    """

    by: Literal["all", "class", "particle", "points"]
    name: Text
    events: Positive
    equivariance_error: _Interval
    relative_error: _Interval
    expected: _Interval


@dataclasses.dataclass(frozen=True)
class BreakingFigures(Record):
    """Sources of symmetry breaking over all events, each with its interval.

    Attributes:
      events: Number of events.
      num_elements: Elements at which each was evaluated.
      network: As in :class:`Breaking`, as the next three.
      tokenisation: What finding tokens anew changes.
      voxelisation: What putting points back on voxels changes.
      total: A of the whole chain.
      changing: Of the labels with all three, as the next three: share of points whose
        label is not the same at all elements.
      disagreement: Mean share of elements with another label than the most frequent.
      accuracy: Share of labels that are right.
      majority_accuracy: The same of the most frequent labels.
    """

    events: Positive
    num_elements: Positive
    network: _Interval
    tokenisation: _Interval
    voxelisation: _Interval
    total: _Interval
    changing: _Interval
    disagreement: _Interval
    accuracy: _Interval
    majority_accuracy: _Interval


@dataclasses.dataclass(frozen=True)
class EventFigures(Record):
    """The object ``events`` of ``report.json``.

    Attributes:
      level: Coverage of the intervals.
      outputs: Figures of every output, by group of points.
      breaking: Sources of symmetry breaking, by set of elements.
    """

    level: Share
    outputs: Mapping[Text, tuple[PointGroupFigures, ...]]
    breaking: Mapping[str, BreakingFigures]
