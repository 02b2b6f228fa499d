"""The output folder of a report, and its journal of finished structures.

``structures.jsonl`` grows by one line when a structure is finished, and each line is
on the disk before the next structure starts: an interrupted run loses nothing that
was completed. ``report.json`` is written once, at the end.
"""

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from symjax.report import schema
from symjax.report.schema import ModelInfo, ReportError, Settings, Software

JOURNAL_SCHEMA = "symjax-structures/1"
"""Name and version of the format of ``structures.jsonl``."""

REPORT_FILE, JOURNAL_FILE, TEXT_FILE = "report.json", "structures.jsonl", "report.txt"
HTML_FILE = "report.html"
FIGURE_NAMES = ("report_content", "report_errors")
FIGURE_FORMATS = ("png", "svg", "pdf")


def report_files(folder: Path) -> list[Path]:
    """Files of a report that exist in a folder.

    Args:
      folder: A folder, which need not exist.

    Returns:
      Their paths.

    Example:
      >>> from pathlib import Path
      >>> from symjax.report.folder import report_files
      >>> report_files(Path("nowhere"))
      []
    """
    names = [REPORT_FILE, JOURNAL_FILE, TEXT_FILE, HTML_FILE]
    names += [f"{name}.{end}" for name in FIGURE_NAMES for end in FIGURE_FORMATS]
    return [folder / name for name in names if (folder / name).exists()]


def check_folder(folder: Path, *, resume: bool, overwrite: bool) -> None:
    """Raises if a report must not be written into this folder; changes nothing.

    Args:
      folder: The output folder.
      resume: Whether to continue the report in it.
      overwrite: Whether to replace the report in it.

    Raises:
      ReportError: ``folder`` is a file or cannot be written to, holds a report
        without one of the two options, or holds none to resume.

    Example:
      >>> from pathlib import Path
      >>> from symjax.report.folder import check_folder
      >>> check_folder(Path("nowhere"), resume=False, overwrite=False)
      >>> check_folder(Path("nowhere"), resume=True, overwrite=False)
      Traceback (most recent call last):
      ...
      symjax.report.schema.ReportError: output='nowhere': holds no structures.jsonl...
    """
    if resume and overwrite:
        raise ReportError(
            "--overwrite",
            True,
            "contradicts --resume",
            "Pass --resume to continue the report, --overwrite to start again",
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
    existing = report_files(folder)
    if resume and folder / JOURNAL_FILE not in existing:
        raise ReportError(
            "output",
            str(folder),
            f"holds no {JOURNAL_FILE}, so there is nothing to resume",
            "Leave out --resume, or name the folder of the interrupted run",
        )
    if existing and not (resume or overwrite):
        raise ReportError(
            "output",
            str(folder),
            f"already holds a report ({existing[0].name})",
            "Choose another folder, or pass --resume to continue that report, "
            "--overwrite to replace it",
        )


class Journal:
    """Appends finished structures to ``structures.jsonl``, safely.

    A context manager. The first line names model and settings; further lines are
    structures as in ``report.json``.

    Attributes:
      completed: Structures that an interrupted run has finished, by label.
    """

    def __init__(
        self,
        folder: Path,
        software: Software,
        model: ModelInfo,
        settings: Settings,
        *,
        resume: bool = False,
        overwrite: bool = False,
    ):
        """Opens the journal of a new report, or of an interrupted one.

        Args:
          folder: The output folder; made if needed.
          software: What computes the report.
          model: The model.
          settings: The settings.
          resume: Whether to continue an existing journal.
          overwrite: Whether to remove an existing report first.

        Raises:
          ReportError: As in :func:`check_folder`; or the journal to resume belongs
            to another model, other settings or another version, or is damaged
            before its last line.
        """
        check_folder(folder, resume=resume, overwrite=overwrite)
        self.path = folder / JOURNAL_FILE
        self.completed: dict[str, schema.StructureReport] = {}
        self._new_folder = not folder.exists()
        self._resumed = resume
        header = {
            "schema": JOURNAL_SCHEMA,
            "software": dataclasses.asdict(software),
            "model": dataclasses.asdict(model),
            "settings": dataclasses.asdict(settings),
        }
        if resume:
            keep = self._read(software, model, settings)
        try:
            if resume:
                os.truncate(self.path, keep)
            else:
                for path in report_files(folder):
                    path.unlink()
                folder.mkdir(parents=True, exist_ok=True)
                line = schema.dumps(header) + "\n"
                schema.write_atomically(self.path, lambda part: part.write_text(line))
            self._file = self.path.open("ab")
        except OSError as error:
            raise self._unwritable(error) from error

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def append(self, structure: schema.StructureReport) -> None:
        """Writes one finished structure through to the disk.

        Args:
          structure: The structure, measured or failed.

        Raises:
          ReportError: The file cannot be written.
        """
        line = schema.dumps(schema.structure_to_json(structure)) + "\n"
        try:
            self._file.write(line.encode())
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._unwritable(error) from error

    def discard(self) -> None:
        """Removes a new journal, and the folder that was made for it if empty."""
        if self._resumed:
            return
        self._file.close()
        self.path.unlink(missing_ok=True)
        if self._new_folder and not any(self.path.parent.iterdir()):
            self.path.parent.rmdir()

    def _read(self, software: Software, model: ModelInfo, settings: Settings) -> int:
        """Reads completed structures; returns the length of the intact part."""
        source = str(self.path)
        try:
            content = self.path.read_bytes()
        except OSError as error:
            raise self._unwritable(error) from error
        # A line without its end was being written when the run was interrupted.
        intact = content.rfind(b"\n") + 1
        lines = content[:intact].decode("utf-8", "replace").splitlines()
        if not lines:
            raise ReportError(
                "output",
                source,
                "has no complete line, so there is nothing to resume",
                "Pass --overwrite to start again",
            )
        header = schema.parse(lines[0], f"{source}, line 1")
        if not isinstance(header, Mapping):
            header = {}
        schema.check_schema(str(header.get("schema")), JOURNAL_SCHEMA, source)
        self._check_header(
            schema.header_from_json(header, source), (software, model, settings)
        )
        for number, line in enumerate(lines[1:], start=2):
            where = f"{source}, line {number}"
            try:
                value = json.loads(line)
            except json.JSONDecodeError:
                if number < len(lines):
                    schema.parse(line, where)
                # Some file systems leave zeros at the end after a loss of power.
                return len(content[:intact].rstrip(b"\n").rpartition(b"\n")[0]) + 1
            structure = schema.structure_from_json(value, settings.max_degree, where)
            if structure.failure is None:
                self.completed[structure.label] = structure
        return intact

    def _check_header(
        self,
        found: tuple[Software, ModelInfo, Settings],
        expected: tuple[Software, ModelInfo, Settings],
    ) -> None:
        there = _comparable(*found)
        here = _comparable(*expected)
        for name in here:
            if here[name] != there[name]:
                raise ReportError(
                    name,
                    here[name],
                    f"differs from the report to resume in {str(self.path.parent)!r}, "
                    f"which has {there[name]!r}",
                    "Resume with the same settings, model and version, or pass "
                    "--overwrite to start again",
                )

    def _unwritable(self, error: OSError) -> ReportError:
        return ReportError(
            "output",
            str(self.path),
            f"cannot be read or written ({error.strerror or error})",
            "Choose a folder that can be written to, with space left",
        )


def _comparable(
    software: Software, model: ModelInfo, settings: Settings
) -> dict[str, Any]:
    """What must agree for two parts of a report to add up."""
    return {
        **dataclasses.asdict(settings),
        "model": model.digest[:16],
        "version": software.symjax,
    }
