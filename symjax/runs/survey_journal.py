"""The journal of a survey: one line for each pack, with all bits of its numbers."""

import base64
import contextlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from symjax._files import append_through
from symjax.metrics.pooling import Sampled, Sums
from symjax.report import storage
from symjax.report.leaves import ReportError

SURVEY_SCHEMA = "symjax-survey-journal/1"
"""Name and version of the format of ``survey.jsonl``."""


def write_text(path: Path, text: str) -> None:
    """Writes a file whole or not at all."""
    storage.write_atomically(path, lambda part: part.write_text(text, encoding="utf-8"))


class SurveyJournal(contextlib.AbstractContextManager["SurveyJournal"]):
    """Appends packs to ``survey.jsonl``; numbers are stored with all their bits.

    Args:
      path: The file.
      head: Its first line, which must be the same to resume.
      resume: Whether to continue it.

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
        # Where the lines of packs start: the numbers stay in the file.
        self._places: dict[tuple[int, tuple[str, ...]], int] = {}
        self._path = path
        if resume:
            os.truncate(path, self._read(head))
        else:
            write_text(path, json.dumps(head) + "\n")
        # Without a buffer: what a full disk did not take is not tried again.
        self._file = path.open("ab", buffering=0)

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def find(self, number: int, labels: tuple[str, ...]) -> list[Sampled] | None:
        """Structures of a pack of a round, if they were there when it was opened."""
        place = self._places.get((number, labels))
        if place is None:
            return None
        with self._path.open("rb") as file:
            file.seek(place)
            return [_from_json(item) for item in json.loads(file.readline())["items"]]

    def append(self, number: int, items: Sequence[Sampled]) -> None:
        """Writes the structures of a pack through to the disk."""
        line = {"round": number, "items": [_to_json(item) for item in items]}
        append_through(self._file, (json.dumps(line) + "\n").encode())

    def _read(self, head: Mapping[str, Any]) -> int:
        """Reads all packs; returns the length of the intact part."""
        intact = 0
        with self._path.open("rb") as file:
            for number, line in enumerate(file):
                # A line without its end was being written when the run was killed.
                if not line.endswith(b"\n"):
                    break
                try:
                    value = json.loads(line)
                except json.JSONDecodeError as error:
                    raise ReportError(
                        "output",
                        f"{self._path}, line {number + 1}",
                        "is no JSON",
                        "Pass {overwrite} to start again",
                        overwrite=True,
                    ) from error
                if number == 0:
                    self._check(value, head)
                else:
                    labels = tuple(item["label"] for item in value["items"])
                    self._places[value["round"], labels] = intact
                intact += len(line)
        if not intact:
            self._check({}, head)
        return intact

    def _check(self, there: Any, here: Mapping[str, Any]) -> None:
        for name, value in json.loads(json.dumps(here)).items():
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
    """Numbers with all their bits."""
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
