"""What a report holds for events: points, sources of symmetry breaking, figures."""

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
    """The points of an event that a model reads, and results for each of them.

    Attributes:
      positions: In voxels, shape ``(points, 3)``.
      energies: In MeV.
      semantic: True labels; -1 if unknown.
      errors: For every output that has a value for each point, by name, the
        equivariance error A of each point.
      labels: The most frequent predicted label over random orientations; empty without
        segmentation.
      changes: Fraction of these orientations with another label; empty likewise.
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

    They are root mean squares over points, classes and elements of O(3) of changes in
    the class probabilities.

    Attributes:
      group: ``"Oh"``, or ``"O(3)"`` for random elements.
      num_elements: Number of elements.
      num_points: Number of points.
      num_known: Number of points whose true label the model knows.
      network: A of the probabilities with frozen tokens.
      tokenisation: Change caused by choosing tokens again in each orientation.
      voxelisation: Change caused by placing the rotated points on voxels again.
      total: A of the probabilities with all three.
      content: B of the probabilities with all three, by irrep of the group; empty for
        O(3).
      frozen_labels: Consistency of labels with frozen tokens.
      labels: Consistency of labels with all three. Read from a file, neither has
        ``frequencies``.
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
    """Figures over all events for one group of points, each with its interval.

    Attributes:
      by: What the points have in common: ``"all"``, ``"class"``, ``"particle"``, or
        ``"points"``, the number of points of their event.
      name: Name of the class, particle or range of sizes.
      events: Number of events that have such points.
      equivariance_error: A.
      relative_error: A over the root mean square.
      expected: B in the irreps of the output, 1 if it is equivariant.
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
      network: As in :class:`Breaking`, like the next three.
      tokenisation: Change caused by choosing tokens again.
      voxelisation: Change caused by placing points on voxels again.
      total: A with all three.
      changing: Fraction of points whose label is not the same at all elements. This and
        the next three are for labels with all three sources.
      disagreement: Mean fraction of elements with another label than the most frequent.
      accuracy: Fraction of correct labels.
      majority_accuracy: The same for the most frequent labels.
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
