"""The output folder of a report, and its journal of finished structures.

Each finished structure is appended to ``structures.jsonl`` and written to the disk
before the next one starts, so that an interrupted run loses no finished structure.
``report.json`` is written at the end.
"""

import contextlib
import dataclasses
import functools
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from symjax._files import held, unwritable
from symjax.report import schema, storage
from symjax.report.columns_file import ResultsFile
from symjax.report.files import (
    FIGURE_FORMATS,
    FIGURE_NAMES,
    HTML_FILE,
    REPORT_FILE,
    RESULTS_FILE,
    TEXT_FILE,
)
from symjax.report.leaves import ReportError
from symjax.report.schema import (
    ModelInfo,
    Place,
    Settings,
    Software,
    StoredStructures,
    StructureReport,
)
from symjax.runs.lines import Lines

JOURNAL_SCHEMA = "symjax-structures/1"
"""Name and version of the format of ``structures.jsonl``."""

JOURNAL_FILE = "structures.jsonl"
# Larger reports read structures from disk when needed; with all layers of a deep model,
# one takes about 200 kB.
_HELD_STRUCTURES = 200


@dataclasses.dataclass(frozen=True)
class RunFiles:
    """Names of the files that a kind of run writes.

    Attributes:
      kind: Kind of the run, for messages.
      journal: Name of the file from which a run is resumed.
      others: Names of the other files.
    """

    kind: str
    journal: str
    others: tuple[str, ...]

    def existing(self, folder: Path) -> list[Path]:
        """Paths of those that exist in a folder."""
        names = (*self.others, self.journal)
        return [folder / name for name in names if (folder / name).exists()]


REPORT_FILES = RunFiles(
    "report",
    JOURNAL_FILE,
    (
        *(REPORT_FILE, TEXT_FILE, HTML_FILE, RESULTS_FILE),
        *(f"{name}.{end}" for name in FIGURE_NAMES for end in FIGURE_FORMATS),
    ),
)


def clear_folder(folder: Path, files: RunFiles = REPORT_FILES) -> None:
    """Creates a folder if needed, and removes the files of a run in it.

    Raises:
      ReportError: It cannot be written to.
    """
    try:
        for path in files.existing(folder):
            path.unlink()
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(ReportError, "output", folder, error) from error


@dataclasses.dataclass(frozen=True)
class Destination:
    """The output folder of a run, and what to do with an earlier run in it.

    Attributes:
      folder: The output folder.
      resume: Whether to continue an earlier run: completed items are kept, and failed
        ones measured again.
      overwrite: Whether to replace an earlier run.
      command: The command line, for the report.

    Example:
      >>> from symjax.runs import Destination
      >>> Destination("out", resume=True).path.name
      'out'
    """

    folder: str | Path
    resume: bool = False
    overwrite: bool = False
    command: str = ""

    @staticmethod
    def of(given: "Destination | str | Path") -> "Destination":
        """A destination as it is; a folder as one without an earlier run."""
        return given if isinstance(given, Destination) else Destination(given)

    @property
    def path(self) -> Path:
        """The folder as a path."""
        return Path(self.folder)


def check_folder(into: Destination, files: RunFiles = REPORT_FILES) -> None:
    """Checks that a run may be written into its folder, without changing anything.

    Raises:
      ReportError: The folder has an earlier run that is neither to be resumed nor
        replaced, has none to resume, or cannot be written to.

    Example:
      >>> from symjax.runs.folder import Destination, check_folder
      >>> check_folder(Destination("nowhere"))
      >>> check_folder(Destination("nowhere", resume=True))
      Traceback (most recent call last):
      ...
      symjax.report.leaves.ReportError: output='nowhere': holds no structures.jsonl...
    """
    folder = into.path
    if into.resume and into.overwrite:
        raise ReportError(
            "overwrite",
            True,
            "contradicts resuming",
            f"Pass {{resume}} to continue the {files.kind}, or {{overwrite}} to start "
            "again",
            resume=True,
            overwrite=True,
        )
    longest = max(folder.parts, key=lambda part: len(os.fsencode(part)), default="")
    if len(os.fsencode(longest)) > 255:
        raise ReportError(
            "output",
            str(folder),
            "has a name of more than 255 bytes, which no file system takes",
            "Choose a shorter name",
        )
    parent = folder
    while not os.path.lexists(parent) and parent != parent.parent:
        parent = parent.parent
    if not parent.is_dir():
        raise ReportError(
            "output", str(parent), "is a file, not a folder", "Choose another folder"
        )
    if not os.access(parent, os.W_OK | os.X_OK):
        raise ReportError(
            "output", str(parent), "cannot be written to", "Choose another folder"
        )
    try:
        existing = files.existing(folder)
    except OSError as error:
        raise unwritable(ReportError, "output", folder, error) from error
    if into.resume and folder / files.journal not in existing:
        raise ReportError(
            "output",
            str(folder),
            f"holds no {files.journal}, so there is nothing to resume",
            "Leave out {resume}, or name the folder of the interrupted run",
            resume=True,
        )
    if existing and not (into.resume or into.overwrite):
        raise ReportError(
            "output",
            str(folder),
            f"already holds a {files.kind} ({existing[0].name})",
            f"Choose another folder, or pass {{resume}} to continue that {files.kind}, "
            "{overwrite} to replace it",
            resume=True,
            overwrite=True,
        )


class Journal:
    """Context manager that appends finished structures to ``structures.jsonl``.

    The first line of the file contains model and settings, further lines structures as
    in ``report.json``. Structures are also written to ``results.h5``.

    Attributes:
      path: The file.
      completed: Structures that an interrupted run has measured, by label, without
        their numbers and atoms.
    """

    def __init__(
        self,
        into: Destination,
        software: Software,
        model: ModelInfo,
        settings: Settings,
    ):
        """Opens the journal of a new report, or of an interrupted one.

        Raises:
          ArgumentError: Another process writes into the folder.
          ReportError: As in :func:`check_folder`; or the journal to resume belongs to
            another model, other settings or another version, or is damaged before its
            last line.
        """
        folder = into.path
        self.path = folder / JOURNAL_FILE
        self.completed: dict[str, StructureReport] = {}
        self._all: dict[str, tuple[Place, StructureReport]] = {}
        self._resumed = into.resume
        self._head = software, model, settings
        self._results: ResultsFile | None = None
        check_folder(into)
        self._hold = contextlib.ExitStack()
        self._hold.enter_context(held(folder, "output"))
        with contextlib.ExitStack() as undo:
            undo.push(self._hold)
            self._open(folder, into.resume)
            undo.pop_all()

    def _open(self, folder: Path, resume: bool) -> None:
        """Reads the journal to resume, and opens the one to write."""
        if not resume:
            clear_folder(folder)
        header = storage.header_to_json(JOURNAL_SCHEMA, *self._head)
        self._lines = Lines(
            self.path, storage.dumps(header), self._read if resume else None
        )
        self._results = ResultsFile(folder / RESULTS_FILE, self._head[2])
        for structure in self.structures(self.completed):
            self._results.append(structure)

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        # The folder is free also where the disk is too full for the columns.
        with self._hold:
            self._lines.close()
            if self._results is not None:
                self._results.flush()

    def append(self, structure: StructureReport) -> None:
        """Appends a finished structure, and flushes it to the disk."""
        place = self._lines.append(storage.dumps(storage.structure_to_json(structure)))
        self._all[structure.label] = place, schema.without_numbers(structure)
        if self._results is not None:
            self._results.append(structure)

    def structures(self, labels: Iterable[str]) -> Sequence[StructureReport]:
        """Structures of the journal by label, in the given order.

        More than 200 are not held in memory, but read from the file when accessed.
        """
        chosen = [self._all[label] for label in labels]
        places, overview = zip(*chosen, strict=True) if chosen else ((), ())
        degree = self._head[2].max_degree
        read = functools.partial(storage.read_place, max_degree=degree)
        stored = StoredStructures(places, overview, read)
        return tuple(stored) if len(stored) <= _HELD_STRUCTURES else stored

    def discard(self) -> None:
        """Removes a new journal, and the folder if that was created for it."""
        if self._resumed:
            return
        self._lines.close()
        self.path.unlink(missing_ok=True)
        if self._results is not None:
            self._results.path.unlink(missing_ok=True)
            self._results = None
        self._hold.close()

    def _read(self, name: str, line: str, place: Place) -> None:
        """Reads the head, or a finished structure."""
        if place.offset == 0:
            header = storage.read_header(line, JOURNAL_SCHEMA, name)
            self._check_header(header["software"], header["model"], header["settings"])
            return
        structure = storage.read_structure(line, self._head[2].max_degree, name)
        label, short = structure.label, schema.without_numbers(structure)
        if structure.failure is None:
            self.completed[label] = short
        if structure.failure is None or label not in self.completed:
            self._all[label] = place, short

    def _check_header(self, *found: Any) -> None:
        stored, current = _comparable(*found), _comparable(*self._head)
        for name in current:
            if current[name] != stored[name]:
                raise ReportError(
                    name,
                    current[name],
                    f"differs from the report to resume in {str(self.path.parent)!r}, "
                    f"which has {stored[name]!r}",
                    "Resume with the same settings, model and version, or pass "
                    "{overwrite} to start again",
                    overwrite=True,
                )


def _comparable(
    software: Software, model: ModelInfo, settings: Settings
) -> dict[str, Any]:
    """What must agree between the parts of a resumed report."""
    return {
        **dataclasses.asdict(settings),
        "model": model.digest[:16],
        "version": software.symjax,
    }
