"""The journal of a survey: one line for each pack of structures, in full precision."""

import base64
import contextlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from symjax.metrics.pooling import Sampled, Sums
from symjax.report.leaves import ReportError
from symjax.report.schema import Place
from symjax.report.storage import TruncatedError
from symjax.runs.lines import Lines

SURVEY_SCHEMA = "symjax-survey-journal/1"
"""Name and version of the format of ``survey.jsonl``."""


class SurveyJournal(contextlib.AbstractContextManager["SurveyJournal"]):
    """Context manager that appends packs of structures to ``survey.jsonl``.

    Numbers are stored in full precision.

    Args:
      path: The file.
      head: Contents of the first line, which must agree when a survey is resumed.
      resume: Whether to continue an existing file.

    Raises:
      ReportError: It belongs to another survey, or is damaged before its last line.

    Example:
      >>> import pathlib, tempfile
      >>> from symjax.metrics import Sampled
      >>> from symjax.runs.survey_journal import SurveyJournal
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = pathlib.Path(folder) / "survey.jsonl"
      ...     with SurveyJournal(path, {"a": 1}) as journal:
      ...         journal.append(0, [Sampled("water", 3, {})])
      ...     with SurveyJournal(path, {"a": 1}, resume=True) as journal:
      ...         [item.label for item in journal.find(0, ('water',))]
      ['water']
    """

    def __init__(self, path: Path, head: Mapping[str, Any], *, resume: bool = False):
        # Places of the lines of packs, whose numbers are read when needed.
        self._places: dict[tuple[int, tuple[str, ...]], Place] = {}
        self._path, self._head = path, json.dumps(head)
        self._lines = Lines(path, self._head, self._read if resume else None)

    def __exit__(self, *_: object) -> None:
        self._lines.close()

    def find(self, number: int, labels: tuple[str, ...]) -> list[Sampled] | None:
        """Structures of a pack in a round, or None if the file to resume lacks them."""
        place = self._places.get((number, labels))
        if place is None:
            return None
        return [_from_json(item) for item in json.loads(place.read())["items"]]

    def append(self, number: int, items: Sequence[Sampled]) -> None:
        """Appends the structures of a pack, and flushes them to the disk."""
        line = {"round": number, "items": [_to_json(item) for item in items]}
        self._lines.append(json.dumps(line))

    def _read(self, name: str, line: str, place: Place) -> None:
        """Reads the head, or the labels of a pack."""
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            raise TruncatedError(
                "output",
                name,
                "is no JSON",
                "Pass {overwrite} to start again",
                overwrite=True,
            ) from error
        if place.offset == 0:
            self._check(value)
        else:
            labels = tuple(item["label"] for item in value["items"])
            self._places[value["round"], labels] = place

    def _check(self, there: Any) -> None:
        for name, value in json.loads(self._head).items():
            other = there.get(name) if isinstance(there, Mapping) else None
            if other != value:
                raise ReportError(
                    name,
                    value,
                    f"differs from the survey to resume in {str(self._path.parent)!r}, "
                    f"which has {other!r}",
                    "Resume with the same structures, settings, model and version, or "
                    "pass {overwrite} to start again",
                    overwrite=True,
                )


def _text(numbers: np.ndarray) -> str:
    """Float64 numbers in base64."""
    return base64.b64encode(numbers.astype("<f8").tobytes()).decode()


def _numbers(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), "<f8").astype(float)


def _to_json(item: Sampled) -> dict[str, Any]:
    sums = [
        [name, group, _text(np.concatenate([*own[:3], [own.count]]))]
        for (name, group), own in item.sums.items()
    ]
    samples = {name: _text(values) for name, values in item.samples.items()}
    return {"label": item.label, "size": item.size, "sums": sums, "samples": samples}


def _from_json(value: Mapping[str, Any]) -> Sampled:
    sums = {}
    for name, group, text in value["sums"]:
        numbers = _numbers(text)
        values, squares, products = numbers[:-1].reshape(3, -1)
        own = Sums(values, squares, products, float(numbers[-1]))
        sums[name, group] = own
    samples = {name: _numbers(text) for name, text in value["samples"].items()}
    return Sampled(value["label"], int(value["size"]), sums, samples)
