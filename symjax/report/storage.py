"""Reading, validating and writing reports."""

import functools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, NotRequired

from pydantic import TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from symjax._declared import refusal
from symjax._files import check_readable, replace_atomically, unwritable
from symjax._text import file_text
from symjax.metrics import Totals
from symjax.report.leaves import Leaf, ReportError
from symjax.report.schema import (
    SCHEMA,
    ModelInfo,
    Place,
    Report,
    Settings,
    Software,
    StoredStructures,
    StructureReport,
)
from symjax.report.stored import StoredAverage
from symjax.report.summary import Summary, summarise
from symjax.report.worth import known_frontier, labels_of_output

_REMEDY = "Write the report again, or restore the file"


class TruncatedError(ReportError):
    """A file is not JSON, or was cut off."""


class _Format(TypedDict):
    schema: str


@with_config({"extra": "forbid"})
class Header(_Format):
    """What a report and the journal of a run have in common."""

    software: Software
    model: ModelInfo
    settings: Settings


@with_config({"extra": "forbid"})
class _Whole(Header):
    structures: list[StructureReport]
    command: str
    # Derived from the structures, and not read.
    summary: NotRequired[Any]
    averages: NotRequired[Any]
    labels: NotRequired[Any]
    events: NotRequired[Any]


_FORMAT, _HEADER = TypeAdapter(_Format), TypeAdapter(Header)
_WHOLE = TypeAdapter(_Whole)
_STRUCTURE, _SUMMARY = TypeAdapter(StructureReport), TypeAdapter(Summary)
_AVERAGES = TypeAdapter(tuple[StoredAverage, ...])


def dumps(value: Any) -> str:
    """JSON text on one line; refuses NaN and infinity, which JSON does not have."""
    return json.dumps(value, allow_nan=False)


def header_to_json(
    schema: str, software: Software, model: ModelInfo, settings: Settings
) -> dict[str, Any]:
    """The head of a report or of a journal as a JSON object."""
    head = Header(schema=schema, software=software, model=model, settings=settings)
    return _plain(_HEADER, head)


def plain(value: Any) -> Any:
    """A :class:`~symjax.report.stored.Record` as data that JSON can hold."""
    return _plain(_adapter_of(value.__class__), value)


@functools.cache
def _adapter_of(kind: type) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _plain(adapter: TypeAdapter[Any], value: Any) -> Any:
    return adapter.dump_python(value, warnings=False)


def head_to_json(report: Report) -> dict[str, Any]:
    """All but the structures of a report as a JSON object."""
    head = header_to_json(SCHEMA, report.software, report.model, report.settings)
    dtype = report.settings.dtype
    return head | {
        "command": file_text(report.command),
        "summary": {
            name: _plain(_SUMMARY, summarise(leaf, dtype))
            for name, leaf in report.aggregate().items()
        },
        "averages": {
            name: _plain(_AVERAGES, known_frontier(response))
            for name, response in report.responses.items()
        },
        "labels": {
            name: plain(labels_of_output(name, leaf.unit, leaf.labels, leaf.channels))
            for name, leaf in report.aggregate().items()
            if leaf.labels is not None
        },
        "events": plain(report.event_summary),
    }


def structure_to_json(structure: StructureReport) -> dict[str, Any]:
    """One structure as a JSON object, as in a line of ``structures.jsonl``."""
    plain: dict[str, Any] = _plain(_STRUCTURE, structure)
    return plain


def to_json(report: Report) -> dict[str, Any]:
    """A report as the JSON object of ``report.json``."""
    structures = [structure_to_json(structure) for structure in report.structures]
    return head_to_json(report) | {"structures": structures}


def from_json(value: Any, source: str = "report") -> Report:
    """Reads the JSON object of ``report.json``, the inverse of :func:`to_json`.

    Summary, averages, labels and figures of events are not read: they follow from the
    totals.

    Args:
      value: The object.
      source: Name of the file, for errors.

    Raises:
      ReportError: The schema differs, or a field is unknown or missing, or has a wrong
        type, shape or range; the message names the file and the field.
    """
    return _read_report(json.dumps(value), source)


def _read_report(text: str, source: str) -> Report:
    whole = _validated(_WHOLE, text, source, SCHEMA)
    degree = whole["settings"].max_degree
    seen = set()
    for index, structure in enumerate(whole["structures"]):
        _check(structure, degree, f"{source}: structures[{index}]")
        if structure.label in seen:
            raise ReportError(
                f"{source}: structures", structure.label, "occurs twice", _REMEDY
            )
        seen.add(structure.label)
    return Report(
        *(whole["software"], whole["model"], whole["settings"]),
        tuple(whole["structures"]),
        whole["command"],
    )


def _validated(
    adapter: TypeAdapter[Any], text: str, source: str, schema: str = ""
) -> Any:
    """What a text holds; of a file with a schema only if it is the given one."""
    try:
        if schema and (found := _FORMAT.validate_json(text)["schema"]) != schema:
            raise ReportError(
                f"{source}: schema",
                found,
                f"is not the format that this version of symjax reads ({schema})",
                "Read it with the version that wrote it, or write the report again",
            )
        return adapter.validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        kind = TruncatedError if first["type"] == "json_invalid" else ReportError
        raise refusal(error, kind, source=source, remedy=_REMEDY) from error


def read_header(text: str, schema: str, source: str) -> Header:
    """Reads the head of a report or of a journal, if its schema is the given one."""
    header: Header = _validated(_HEADER, text, source, schema)
    return header


def read_structure(text: str, max_degree: int, source: str) -> StructureReport:
    """Reads one structure, as :func:`structure_to_json` writes it.

    Raises:
      TruncatedError: The text is not JSON.
      ReportError: A field is missing, or has a wrong type, shape or range.
    """
    structure: StructureReport = _validated(_STRUCTURE, text, source)
    _check(structure, max_degree, f"{source}: ", "")
    return structure


class _Array(NamedTuple):
    """An array of a report, and the shape that it must have."""

    path: str
    found: tuple[int, ...]
    expected: tuple[int, ...]


def _check(
    structure: StructureReport, max_degree: int, where: str, dot: str = "."
) -> None:
    """Raises where the shapes of arrays contradict each other."""
    for array in _arrays(structure, max_degree):
        if array.found != array.expected:
            raise ReportError(
                f"{where}{dot}{array.path}",
                array.found,
                f"is not the shape of this array, {array.expected}",
                _REMEDY,
            )


def _arrays(structure: StructureReport, max_degree: int) -> Iterator[_Array]:
    size, atoms, points = structure.num_atoms, structure.atoms, structure.points
    if atoms is not None:
        yield _Array("atoms.numbers", (len(atoms.numbers),), (size,))
        yield _Array("atoms.positions", atoms.positions.shape, (size, 3))
        yield _Array("atoms.cell", atoms.cell.shape, (3, 3))
        for name, errors in atoms.errors.items():
            yield _Array(f"atoms.errors.{name}", errors.shape, (size,))
    if points is not None:
        labelled = (size,) if points.labels.size else (0,)
        yield _Array("points.positions", points.positions.shape, (size, 3))
        for name in ("energies", "semantic"):
            yield _Array(f"points.{name}", getattr(points, name).shape, (size,))
        for name in ("labels", "changes"):
            yield _Array(f"points.{name}", getattr(points, name).shape, labelled)
        for name, errors in points.errors.items():
            yield _Array(f"points.errors.{name}", errors.shape, (size,))
    for index, leaf in enumerate(structure.leaves):
        for path, array, expected in _sums(leaf, max_degree + 1):
            yield _Array(f"leaves[{index}].{path}", array, expected)


def _sums(leaf: Leaf, degrees: int) -> Iterator[_Array]:
    irreps = len(leaf.irreps)

    def totals(path: str, found: Totals, degrees: int) -> Iterator[_Array]:
        for name, array in found._asdict().items():
            shape = (irreps, degrees, 2) if name == "power" else (irreps,)
            yield _Array(f"{path}.{name}", array.shape, shape)

    yield from totals("totals", leaf.totals, degrees)
    for name in ("species", "particles"):
        for kind, part in getattr(leaf, name).items():
            yield from totals(f"{name}.{kind}", part, degrees)
    for index, point in enumerate(leaf.coarser):
        # A coarser rule resolves fewer degrees.
        own = point.totals.power.shape[1] if point.totals.power.ndim == 3 else degrees
        own = min(max(own, 1), degrees)
        yield from totals(f"coarser[{index}].totals", point.totals, own)
    if leaf.spread is not None:
        first = leaf.spread.first
        yield _Array("spread.first", first.shape, (first.size,))


def write_report(report: Report, path: str | Path) -> None:
    """Writes ``report.json`` atomically: readers see the old file or the new one.

    Args:
      report: The report.
      path: The file to write; its folder must exist.

    Raises:
      ReportError: The file cannot be written.

    Example:
      >>> import pathlib, tempfile
      >>> from symjax.report import read_report, schema, write_report
      >>> report = schema.Report(
      ...     schema.Software("0.1.0", "0.10", "cpu"), schema.ModelInfo("pet", "ab"),
      ...     schema.Settings(6, "lebedev 13 x 14", 13, 2072, "all", "float32", 0.05),
      ...     ())
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = pathlib.Path(folder) / "report.json"
      ...     write_report(report, path)
      ...     read_report(path).model.name
      'pet'
    """

    def write(temporary: Path) -> None:
        with temporary.open("w") as file:
            file.writelines(_pieces(report))

    write_atomically(Path(path), write, lambda: sum(map(len, _pieces(report))))


def _pieces(report: Report) -> Iterator[str]:
    """The text of ``report.json``, a structure at a time."""
    yield dumps(head_to_json(report)).removesuffix("}") + ', "structures": ['
    structures = report.structures
    lines = (
        (place.read() for place in structures.places)
        if isinstance(structures, StoredStructures)
        else (dumps(structure_to_json(structure)) for structure in structures)
    )
    for number, line in enumerate(lines):
        yield f", {line}" if number else line
    yield "]}\n"


def write_atomically(
    path: Path, write: Callable[[Path], Any], size: Callable[[], int] | None = None
) -> None:
    """Calls ``write`` with a temporary path, then renames that file to ``path``."""
    try:
        replace_atomically(path, write, size)
    except OSError as error:
        raise unwritable(ReportError, "output", path, error) from error


def read_report(path: str | Path) -> Report:
    """Reads and validates ``report.json``.

    Args:
      path: The file, or the folder that holds it.

    Raises:
      ReportError: The file is missing, truncated or not a report; the message names
        it.

    Example:
      >>> from symjax.report import read_report
      >>> read_report("nowhere/report.json")
      Traceback (most recent call last):
      ...
      symjax.report.leaves.ReportError: path='nowhere/report.json': cannot be read ...
    """
    path = Path(path)
    if path.is_dir():
        path = path / "report.json"
    try:
        check_readable(path)
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ReportError(
            "path",
            str(path),
            f"cannot be read ({error})",
            "Pass a report.json written by symjax, or the folder that holds it",
        ) from error
    return _read_report(text, str(path))


def read_place(place: Place, max_degree: int) -> StructureReport:
    """Reads a structure from its line of ``structures.jsonl``."""
    return read_structure(place.read(), max_degree, str(place.path))
