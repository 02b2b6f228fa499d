"""What a report holds of an event beside spectra: points, and sources of breaking."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Annotated, Literal

import numpy as np
from jaxtyping import Float, Int

from symjax.report.stored import Count, Numbers, Record, Size, StoredLabels


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
