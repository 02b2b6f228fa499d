"""``results.h5``: a report as columns, one row for each response of each structure.

The file follows the conventions of netCDF-4 (dimension ``row``, one variable for each
column): ``xarray.open_dataset`` and any HDF5 library read it. It is derived from the
journal: a run appends to it, and a resumed run writes it again.
"""

import contextlib
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import h5py
import numpy as np

from symjax._files import check_readable, reserve, unwritable
from symjax._text import file_text
from symjax.metrics.response_spectrum import GROUPS
from symjax.report.files import RESULTS_FILE
from symjax.report.leaves import ReportError
from symjax.report.schema import Report, Settings, StructureReport
from symjax.report.storage import write_atomically
from symjax.report.summary import Summary, summarise

_STRUCTURE = {
    **dict.fromkeys(("structure", "status", "failure", "formula", "point_group"), str),
    **dict.fromkeys(("num_atoms", "num_elements"), int),
    **dict.fromkeys(("compile_seconds", "evaluation_seconds"), float),
}
# Of a certificate; NaN where a grid was chosen without one. What may have been missed,
# ``excluded``, every verdict says.
_CERTIFICATE = dict.fromkeys(
    (
        *("certified", "content_uncertainty", "error_uncertainty", "tail"),
        *("excluded", "confidence", "noise"),
    ),
    float,
)
# What stands where nothing is known, in columns of each type.
_BLANK = {str: "", int: 0, float: math.nan}
_STORED = {str: h5py.string_dtype(), int: np.int64, float: np.float64}


def _columns(max_degree: int) -> dict[str, type]:
    """Names and types of the columns: fields of a summary, with a column for each B."""
    summary: dict[str, type] = {}
    for name, hint in get_type_hints(Summary).items():
        kinds = get_args(hint) or (hint,)
        if name == "content":
            labels = (f"B_{n}{sign}" for n in range(max_degree + 1) for sign in "+-")
            summary |= dict.fromkeys(labels, float)
        else:
            # A truth is an integer, 0 or 1.
            summary[name] = next((k for k in (str, float) if k in kinds), int)
    after = dict.fromkeys((f"A_after_{group}" for group in GROUPS), float)
    return _STRUCTURE | summary | after | _CERTIFICATE


EVERY_SECONDS = 1.0
# Rows of a column that HDF5 writes at once.
_CHUNK = 1024


class ResultsFile:
    """Appends structures to a new ``results.h5``; a context manager.

    Rows are written at most once a second, and the file is closed in between, so that
    it can be read during a run.

    Args:
      path: The file to write; one that exists is replaced.
      settings: Settings of the report.

    Raises:
      ReportError: The file cannot be written.
    """

    def __init__(self, path: Path, settings: Settings):
        """Writes a file without rows."""
        self.path = path
        self._dtype, max_degree = settings.dtype, settings.max_degree
        self._waiting: list[dict[str, Any]] = []
        self._next = time.monotonic() + EVERY_SECONDS
        self._columns = _columns(max_degree)
        with self._open("w") as file:
            row = _column(file, "row", np.int64)
            row.make_scale("row")
            for name, kind in self._columns.items():
                _column(file, name, _STORED[kind], row)

    def __enter__(self) -> "ResultsFile":
        return self

    def __exit__(self, *_: object) -> None:
        self.flush()

    def append(self, structure: StructureReport) -> None:
        """Adds the rows of one structure."""
        self._waiting += _rows(structure, self._dtype)
        if time.monotonic() >= self._next:
            self.flush()
            self._next = time.monotonic() + EVERY_SECONDS

    def flush(self) -> None:
        """Writes the rows that are waiting."""
        rows, self._waiting = self._waiting, []
        if not rows:
            return
        values = {
            name: [_value(row.get(name), kind) for row in rows]
            for name, kind in self._columns.items()
        }
        texts = sum(
            len(text)
            for name, kind in self._columns.items()
            if kind is str
            for text in values[name]
        )
        with self._open("r+", len(rows), texts) as file:
            first = file["row"].shape[0]
            stop = first + len(rows)
            values["row"] = list(range(first, stop))
            part, whole = (h5py.h5s.create_simple((n,)) for n in (len(rows), stop))
            whole.select_hyperslab((first,), (len(rows),))
            for name, column in values.items():
                # What h5py's own objects do takes three times as long.
                data = h5py.h5d.open(file.id, name.encode())
                data.set_extent((stop,))
                kind = _STORED[self._columns.get(name, int)]
                data.write(part, whole, np.array(column, kind))

    @contextlib.contextmanager
    def _open(
        self, mode: str, num_rows: int = 0, num_letters: int = 0
    ) -> Iterator[h5py.File]:
        # Whole chunks of each column, texts with their places, and what describes them.
        chunks = -(-num_rows // _CHUNK) + bool(num_rows)
        # A text is kept elsewhere, and 16 bytes say where; the row has a number.
        row = 8 + sum(16 if kind is str else 8 for kind in self._columns.values())
        size = chunks * _CHUNK * row + 4 * num_letters + 2**16
        try:
            # HDF5 does not survive a full disk: it ends the process with a signal.
            reserve(self.path, size)
            # Without locks: a reader must not stop the run.
            with h5py.File(self.path, mode, locking=False) as file:
                yield file
        except OSError as error:
            raise unwritable(ReportError, "output", self.path, error) from error


def _column(file: h5py.File, name: str, dtype: Any, scale: Any = None) -> h5py.Dataset:
    column = file.create_dataset(
        name, (0,), dtype=dtype, maxshape=(None,), chunks=(_CHUNK,)
    )
    if scale is not None:
        column.dims[0].attach_scale(scale)
    return column


def _value(value: Any, kind: type) -> Any:
    if value is None:
        return _BLANK[kind]
    return file_text(value) if kind is str else kind(value)


def _rows(structure: StructureReport, dtype: str) -> Iterator[dict[str, Any]]:
    """One row for each leaf; one without numbers for a failed structure."""
    failure, timing = structure.failure, structure.timing
    common = {
        "structure": structure.label,
        "status": "measured" if failure is None else "failed",
        "failure": failure and failure.message,
        "formula": structure.formula,
        "point_group": structure.point_group,
        "num_atoms": structure.num_atoms,
        "num_elements": structure.num_elements,
        "compile_seconds": timing and timing.compile_seconds,
        "evaluation_seconds": timing and timing.evaluation_seconds,
    }
    if failure is not None:
        yield common
    for leaf in structure.leaves:
        row = common | vars(summarise(leaf, dtype))
        row["excluded"] = leaf.convergence and leaf.convergence.excluded
        if leaf.certificate is not None:
            row |= {name: getattr(leaf.certificate, name) for name in _CERTIFICATE}
        if leaf.response is not None:
            row |= {
                f"A_after_{g}": leaf.response.after(g).error
                for g in GROUPS
                if g in leaf.response.averages
            }
        yield row | {
            f"B_{degree}{sign}": float(b)
            for degree, pair in enumerate(row["content"])
            for sign, b in zip("+-", pair, strict=True)
        }


def write_results(report: Report, path: str | Path) -> None:
    """Writes a report as columns, atomically and in the order of its structures.

    Args:
      report: The report.
      path: The file to write; its folder must exist.

    Raises:
      ReportError: It cannot be written.

    Example:
      >>> import pathlib, tempfile
      >>> from symjax.report import Report, read_results, schema, write_results
      >>> report = Report(
      ...     schema.Software("0.1.0", "0.10", "cpu"), schema.ModelInfo("pet", "ab"),
      ...     schema.Settings(1, "lebedev 3 x 4", 3, 48, "none", "float32", 0.05), ())
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     write_results(report, pathlib.Path(folder) / "results.h5")
      ...     columns = read_results(folder)
      >>> [name for name in columns if name.startswith("B")]
      ['B_0+', 'B_0-', 'B_1+', 'B_1-']
    """
    write_atomically(Path(path), lambda part: _write(report, part))


def _write(report: Report, path: Path) -> None:
    with ResultsFile(path, report.settings) as file:
        for structure in report.structures:
            file.append(structure)


def read_results(path: str | Path) -> dict[str, np.ndarray]:
    """Reads the columns of ``results.h5``, in a form that ``pandas.DataFrame`` takes.

    Args:
      path: The file, or the folder that holds it.

    Returns:
      Arrays of equal length by name: text as objects, errors in the unit of the row.

    Raises:
      ReportError: The file is missing, or was damaged when a run was killed.

    Example:
      >>> from symjax.report import read_results
      >>> read_results("nowhere.h5")
      Traceback (most recent call last):
      ...
      symjax.report.leaves.ReportError: path='nowhere.h5': cannot be read ...
    """
    path = Path(path)
    if path.is_dir():
        path = path / RESULTS_FILE
    try:
        with _open_to_read(path) as file:
            return {
                name: (column.asstr() if column.dtype == object else column)[()]
                for name, column in file.items()
                if name != "row"
            }
    except OSError as error:
        raise ReportError(
            "path",
            str(path),
            f"cannot be read ({error})",
            "Pass the folder of a report, or continue its run with {resume}, which "
            "writes the file again",
            resume=True,
        ) from error


def _open_to_read(path: Path) -> h5py.File:
    check_readable(path)
    try:
        # Without locks: a reader must not stop the run.
        return h5py.File(path, "r", locking=False)
    except OSError:
        # HDF5 refuses a second setting for a file that is open in this process, as
        # xarray leaves it.
        return h5py.File(path, "r")
