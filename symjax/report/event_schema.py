"""What a report holds of an event beside spectra: points, and sources of breaking."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from symjax.metrics.consistency import LabelConsistency

GROUPS = ("Oh", "O(3)")
"""Sets of elements over which sources of symmetry breaking are compared."""


@dataclasses.dataclass(frozen=True, eq=False)
class EventPoints:
    """The points of an event that a model has read, and what it says of each.

    Attributes:
      positions: In voxels, shape ``(points, 3)``.
      energies: In MeV.
      semantic: True labels; -1 where unknown.
      errors: For every output of points its equivariance error A of each point.
      labels: The most frequent label over random orientations; empty without
        segmentation.
      changes: Share of these orientations with another label; empty likewise.

    Example:
      >>> import numpy as np
      >>> from symjax.report.event_schema import EventPoints
      >>> one = np.ones(1)
      >>> EventPoints(np.ones((1, 3)), one, np.ones(1, int), {}, np.ones(1, int),
      ...             one).energies
      array([1.])
    """

    positions: Float[np.ndarray, "points 3"]
    energies: Float[np.ndarray, "points"]
    semantic: Int[np.ndarray, "points"]
    errors: Mapping[str, Float[np.ndarray, "points"]]
    labels: Int[np.ndarray, "labelled"]
    changes: Float[np.ndarray, "labelled"]


@dataclasses.dataclass(frozen=True)
class Breaking:
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

    Example:
      >>> from symjax.report.event_schema import Breaking
      >>> [field.name for field in dataclasses.fields(Breaking)][4:8]
      ['network', 'tokenisation', 'voxelisation', 'total']
    """

    group: str
    num_elements: int
    num_points: int
    num_known: int
    network: float
    tokenisation: float
    voxelisation: float
    total: float
    content: Mapping[str, float]
    frozen_labels: LabelConsistency
    labels: LabelConsistency


def points_to_json(points: EventPoints) -> dict[str, Any]:
    """Points of an event as a JSON object.

    Args:
      points: The points.

    Returns:
      Lists of numbers.
    """
    return {
        "positions": np.asarray(points.positions, float).tolist(),
        "energies": np.asarray(points.energies, float).tolist(),
        "semantic": np.asarray(points.semantic).tolist(),
        "errors": {k: np.asarray(v, float).tolist() for k, v in points.errors.items()},
        "labels": np.asarray(points.labels).tolist(),
        "changes": np.asarray(points.changes, float).tolist(),
    }


def read_points(fields: Any, size: int) -> EventPoints:
    """Inverse of :func:`points_to_json`.

    Args:
      fields: The object, as :mod:`symjax.report.schema` reads it.
      size: Number of points.

    Returns:
      The points.

    Raises:
      ReportError: A field is missing or no array of the right shape.
    """
    labelled = (size,) if fields.get("labels", list) else (0,)
    errors = fields.fields("errors")
    return EventPoints(
        fields.array("positions", (size, 3), -math.inf),
        fields.array("energies", (size,)),
        fields.integers("semantic", (size,), -1.0),
        {name: errors.array(name, (size,)) for name in errors.value},
        fields.integers("labels", labelled),
        fields.array("changes", labelled),
    )


def breaking_to_json(breaking: Breaking) -> dict[str, Any]:
    """Sources of one event as a JSON object; what is not known is null.

    Args:
      breaking: The sources.

    Returns:
      Nested dictionaries and numbers.
    """
    value = {
        field.name: getattr(breaking, field.name)
        for field in dataclasses.fields(breaking)
    }
    value["content"] = dict(breaking.content)
    for name in ("frozen_labels", "labels"):
        numbers = value[name]._asdict()
        del numbers["frequencies"]
        # JSON has no NaN: accuracies are null for events without labels.
        value[name] = {key: _without_nan(number) for key, number in numbers.items()}
    return value


def read_breaking(fields: Any) -> Breaking:
    """Inverse of :func:`breaking_to_json`.

    Args:
      fields: The object, as :mod:`symjax.report.schema` reads it.

    Returns:
      The sources.

    Raises:
      ReportError: A field is missing, or has a wrong type or range.
    """
    content = fields.fields("content")
    integers = ("num_elements", "num_points", "num_known")
    numbers = ("network", "tokenisation", "voxelisation", "total")
    return Breaking(
        group=fields.text("group", GROUPS),
        **{name: fields.integer(name) for name in integers},
        **{name: fields.number(name, 0.0) for name in numbers},
        content={name: content.number(name) for name in content.value},
        frozen_labels=_read_labels(fields.fields("frozen_labels")),
        labels=_read_labels(fields.fields("labels")),
    )


def _read_labels(fields: Any) -> LabelConsistency:
    def share(name: str) -> float:
        known = fields.get(name, int, float, type(None)) is not None
        return fields.number(name, 0.0) if known else math.nan

    limits = fields.get("accuracy_range", list)
    if limits == [None, None]:
        low = high = math.nan
    else:
        low, high = fields.array("accuracy_range", (2,)).tolist()
    return LabelConsistency(
        fields.number("changing", 0.0),
        fields.number("disagreement", 0.0),
        share("accuracy"),
        (low, high),
        share("majority_accuracy"),
        np.zeros((0, 0)),
        fields.integer("num_elements", 1),
    )


def _without_nan(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
