"""What breaks the symmetry of labels of an event: network, tokens, or voxels."""

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from symjax.metrics import Problem, measure, orbit
from symjax.metrics.consistency import (
    LabelConsistency,
    sampled_elements,
    summarise_labels,
)
from symjax.models.pointmae.orbit import breaking_problem
from symjax.report.schema import write_atomically
from symjax.so3.finite_groups import finite_group

BREAKING_FILE = "breaking.json"
SCHEMA = "symjax-breaking/1"
_BATCH = 8
_SOURCES = ("network", "tokenisation", "voxelisation", "all")


@dataclasses.dataclass(frozen=True)
class Breaking:
    """Sizes of the sources of symmetry breaking over one set of elements.

    All are root mean squares of class probabilities over points, classes and elements.

    Attributes:
      group: ``"Oh"``, or ``"O(3)"`` for random elements.
      num_elements: Number of elements.
      network: A of the probabilities with frozen tokens.
      tokenisation: Root mean square of what finding tokens anew changes.
      voxelisation: Root mean square of what putting points back on voxels changes.
      total: A of the probabilities with all three.
      content: B of the probabilities with all three, per irrep; empty for O(3).
      frozen_labels: Labels with frozen tokens.
      labels: Labels with all three.

    Example:
      >>> from symjax.report.breaking import Breaking
      >>> callable(Breaking)
      True
    """

    group: str
    num_elements: int
    network: float
    tokenisation: float
    voxelisation: float
    total: float
    content: Mapping[str, float]
    frozen_labels: LabelConsistency
    labels: LabelConsistency


def measure_breaking(
    model: Any, cloud: Any, *, dtype: str = "float32", samples: int = 48
) -> tuple[Breaking, Breaking]:
    """Measures the sources under O_h, which voxels respect, and under all of O(3).

    Args:
      model: A :class:`~symjax.models.pointmae.PointMAEModel` with segmentation.
      cloud: One event.
      dtype: ``"float32"`` or ``"float64"``.
      samples: Random elements of O(3); a multiple of 8.

    Returns:
      The sources over the 48 elements of O_h and over the samples.

    Raises:
      ModelError: The model has no segmentation, or an event does not fit it.
      ArgumentError: ``samples`` is not positive and even.

    Example:
      >>> from symjax.report.breaking import measure_breaking
      >>> callable(measure_breaking)
      True
    """
    problem = breaking_problem(model, cloud, dtype=dtype)
    cubic = finite_group("Oh")
    content = measure(problem, over=cubic, batch_size=_BATCH)["all"].content
    return (
        _over("Oh", problem, cubic.elements, content),
        _over("O(3)", problem, sampled_elements(samples), {}),
    )


def _over(
    group: str,
    problem: Problem,
    elements: np.ndarray,
    content: Mapping[str, float],
) -> Breaking:
    rows: dict[str, list[np.ndarray]] = {name: [] for name in _SOURCES}
    # JAX orders the entries of a dictionary by name.
    order = sorted(_SOURCES)
    function = orbit.as_function(problem.function)
    move = orbit.as_action(problem.action)
    for start in range(0, len(elements), _BATCH):
        chunk = elements[start : start + _BATCH]
        responses = orbit.respond(
            function,
            move,
            problem.x,
            chunk,
            args=problem.args,
            keep=tuple(range(len(order))),
            batch_size=len(chunk),
        )
        for name, values in zip(order, responses, strict=True):
            rows[name].append(np.asarray(values, float))
    u = {name: np.concatenate(parts) for name, parts in rows.items()}
    output = problem.outputs["all"]
    assert output.mask is not None
    mask = output.mask

    def spread(values: np.ndarray) -> float:
        deviation = values[:, mask] - values[:, mask].mean(axis=0)
        return math.sqrt(np.mean(np.square(deviation)))

    def size(values: np.ndarray) -> float:
        return math.sqrt(np.mean(np.square(values[:, mask])))

    truth = output.samples
    assert truth is not None
    classes = u["all"].shape[-1]
    # Labels that the model does not know are no errors of its.
    known = np.where(truth < classes, truth, -1)
    frozen, labels = (
        summarise_labels(u[name].argmax(-1), classes, known, mask)
        for name in ("network", "all")
    )
    return Breaking(
        group,
        len(elements),
        spread(u["network"]),
        size(u["tokenisation"]),
        size(u["voxelisation"]),
        spread(u["all"]),
        content,
        frozen,
        labels,
    )


def write_breaking(
    events: Mapping[str, tuple[Breaking, ...]], folder: str | Path
) -> None:
    """Writes ``breaking.json``: for every event one entry for each group.

    Args:
      events: Sources of each event, by label.
      folder: The folder of the report.

    Raises:
      ReportError: The file cannot be written.

    Example:
      >>> import json, pathlib, tempfile
      >>> from symjax.report.breaking import write_breaking
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     write_breaking({}, folder)
      ...     json.loads((pathlib.Path(folder) / "breaking.json").read_text())["events"]
      {}
    """

    def labels(part: LabelConsistency) -> dict[str, Any]:
        numbers = part._asdict()
        del numbers["frequencies"]
        # JSON has no NaN: accuracies are null for events without labels.
        return {
            key: _without_nan(list(v) if isinstance(v, tuple) else v)
            for key, v in numbers.items()
        }

    def entry(part: Breaking) -> dict[str, Any]:
        fields = dataclasses.asdict(part)
        fields["content"] = dict(part.content)
        fields["labels"] = labels(part.labels)
        fields["frozen_labels"] = labels(part.frozen_labels)
        return fields

    value = {
        "schema": SCHEMA,
        "events": {label: [entry(p) for p in parts] for label, parts in events.items()},
    }
    text = json.dumps(value, allow_nan=False, indent=1) + "\n"
    write_atomically(Path(folder) / BREAKING_FILE, lambda part: part.write_text(text))


def _without_nan(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def breaking_text(events: Mapping[str, tuple[Breaking, ...]]) -> str:
    """A table of the sources, for people.

    Args:
      events: Sources of each event, by label.

    Returns:
      Text with one row for each event and group.

    Example:
      >>> from symjax.report.breaking import breaking_text
      >>> breaking_text({}).splitlines()[0]
      'Sources of symmetry breaking in class probabilities (root mean square)'
    """
    lines = [
        "Sources of symmetry breaking in class probabilities (root mean square)",
        f"{'event':<24}{'group':>6}{'network':>10}{'tokens':>10}{'voxels':>10}"
        f"{'all':>10}{'changing':>10}{'accuracy':>10}",
    ]
    for label, parts in events.items():
        for part in parts:
            accuracy = part.labels.accuracy
            shown = "-" if math.isnan(accuracy) else f"{accuracy:.1%}"
            lines.append(
                f"{label[-23:]:<24}{part.group:>6}{part.network:>10.2e}"
                f"{part.tokenisation:>10.2e}{part.voxelisation:>10.2e}"
                f"{part.total:>10.2e}{part.labels.changing:>10.1%}{shown:>10}"
            )
    lines += [
        "network: A with tokens frozen; tokens, voxels: what finding tokens anew and "
        "putting",
        "points back on voxels change; changing: points whose label changes on the "
        "orbit.",
    ]
    return "\n".join(lines) + "\n"
