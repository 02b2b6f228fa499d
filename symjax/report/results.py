"""``results.h5``: a report as columns, one row for each response of each structure.

The file follows the conventions of netCDF-4 (dimension ``row``, one variable a column),
so that ``xarray.open_dataset`` reads it, and so does anything that reads HDF5. It is
derived from the journal: a run appends to it, and one that resumes writes it again.
"""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np

from symjax._files import check_readable, reserve
from symjax.report.files import RESULTS_FILE
from symjax.report.schema import (
    Leaf,
    Report,
    ReportError,
    Settings,
    StructureReport,
    write_atomically,
)

"""Name of the file in the folder of a report."""

_TEXTS = ("structure", "status", "failure", "formula", "point_group")
_LEAF_TEXTS = ("name", "kind", "unit", "compared_with")
_INTEGERS = ("num_atoms", "num_elements", "channels", "resolved", "degree_to_try")
# Of a certificate; NaN where a grid was chosen without one.
_CERTIFICATE = (
    *("certified", "content_uncertainty", "error_uncertainty", "tail"),
    *("excluded", "confidence", "noise"),
)
_NUMBERS = (
    *("equivariance_error", "relative_error", "root_mean_square", "remainder"),
    *("missing", "scale", "ratio", "error_per_atom"),
    *_CERTIFICATE,
    *("compile_seconds", "evaluation_seconds"),
)
_EVERY_SECONDS = 1.0
# Rows of a column that HDF5 writes at once.
_CHUNK = 1024


class ResultsFile:
    """Appends structures to a new ``results.h5``; a context manager.

    Rows are written at most once a second, and the file is closed in between, so that
    it can be read while a run goes on.

    Example:
      >>> import pathlib, tempfile
      >>> from symjax.report import StructureReport, read_results
      >>> from symjax.report.results import ResultsFile
      >>> from symjax.report.schema import Failure
      >>> from symjax.runs import Options
      >>> why = Failure("StructureError", "no atoms")
      >>> failed = StructureReport("a.xyz:0", "", 0, "ab", failure=why)
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = pathlib.Path(folder) / "results.h5"
      ...     with ResultsFile(path, Options(max_degree=1).settings()) as file:
      ...         file.append(failed)
      ...     columns = read_results(path)
      >>> columns["structure"].tolist(), columns["failure"].tolist()
      (['a.xyz:0'], ['no atoms'])
    """

    def __init__(self, path: Path, settings: Settings):
        """Writes a file without rows.

        Args:
          path: The file; replaced if it exists.
          settings: Of the report.

        Raises:
          ReportError: It cannot be written.
        """
        self.path = path
        self._dtype, max_degree = settings.dtype, settings.max_degree
        self._waiting: list[dict[str, Any]] = []
        self._next = 0.0
        contents = [f"B_{degree}{s}" for degree in range(max_degree + 1) for s in "+-"]
        # A text is kept elsewhere, and 16 bytes say where.
        texts = len((*_TEXTS, *_LEAF_TEXTS))
        numbers = 1 + len((*_INTEGERS, *_NUMBERS, *contents))
        self._row_bytes = 16 * texts + 8 * numbers
        with self._open("w") as file:
            row = _column(file, "row", np.int64)
            row.make_scale("row")
            for name in (*_TEXTS, *_LEAF_TEXTS):
                _column(file, name, h5py.string_dtype(), row)
            for name in _INTEGERS:
                _column(file, name, np.int64, row)
            for name in (*_NUMBERS, *contents):
                _column(file, name, np.float64, row)

    def __enter__(self) -> "ResultsFile":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.flush()

    def append(self, structure: StructureReport) -> None:
        """Adds the rows of one structure.

        Args:
          structure: The structure, measured or failed.

        Raises:
          ReportError: The file cannot be written.
        """
        self._waiting += _rows(structure, self._dtype)
        if time.monotonic() >= self._next:
            self.flush()
            self._next = time.monotonic() + _EVERY_SECONDS

    def flush(self) -> None:
        """Writes what waits.

        Raises:
          ReportError: The file cannot be written.
        """
        rows, self._waiting = self._waiting, []
        if not rows:
            return
        texts = sum(
            len(str(row[name])) for row in rows for name in (*_TEXTS, *_LEAF_TEXTS)
        )
        with self._open("r+", len(rows), texts) as file:
            first = file["row"].shape[0]
            for name, column in file.items():
                column.resize((first + len(rows),))
                if name == "row":
                    column[first:] = np.arange(first, first + len(rows))
                else:
                    column[first:] = [row[name] for row in rows]

    @contextlib.contextmanager
    def _open(
        self, mode: str, num_rows: int = 0, num_letters: int = 0
    ) -> Iterator[h5py.File]:
        # Whole chunks of each column, texts with their places, and what describes them.
        chunks = -(-num_rows // _CHUNK) + bool(num_rows)
        size = chunks * _CHUNK * self._row_bytes + 4 * num_letters + 2**16
        try:
            # HDF5 does not survive a full disk: it ends the process with a signal.
            reserve(self.path, size)
            # Without locks: a reader must not stop the run.
            with h5py.File(self.path, mode, locking=False) as file:
                yield file
        except OSError as error:
            raise ReportError(
                "output",
                str(self.path),
                f"cannot be written ({error.strerror or error})",
                "Choose a folder that can be written to, with space left",
            ) from error


def _column(file: h5py.File, name: str, dtype: Any, scale: Any = None) -> h5py.Dataset:
    column = file.create_dataset(
        name, (0,), dtype=dtype, maxshape=(None,), chunks=(_CHUNK,)
    )
    if scale is not None:
        column.dims[0].attach_scale(scale)
    return column


def _rows(structure: StructureReport, dtype: str) -> Iterator[dict[str, Any]]:
    """One row for each leaf; one without numbers for a failed structure."""
    failure, timing = structure.failure, structure.timing
    common = {
        "structure": structure.label,
        "status": "measured" if failure is None else "failed",
        "failure": "" if failure is None else failure.message,
        "formula": structure.formula,
        "point_group": structure.point_group,
        "num_atoms": structure.num_atoms,
        "num_elements": structure.num_elements,
        "compile_seconds": np.nan if timing is None else timing.compile_seconds,
        "evaluation_seconds": np.nan if timing is None else timing.evaluation_seconds,
    }
    if failure is not None:
        yield _Blank(common)
    for leaf in structure.leaves:
        yield common | _numbers(leaf, dtype)


class _Blank(dict[str, Any]):
    """The row of a failed structure: its numbers are NaN, 0 or empty."""

    def __missing__(self, name: str) -> Any:
        if name in _LEAF_TEXTS:
            return ""
        return 0 if name in _INTEGERS else np.nan


def _numbers(leaf: Leaf, dtype: str) -> dict[str, Any]:
    totals, verdict = leaf.totals, leaf.convergence
    content, certificate = totals.content, leaf.certificate
    against = leaf.comparison(dtype)
    return {
        "name": leaf.name,
        "kind": leaf.kind,
        "unit": leaf.unit,
        "channels": leaf.channels,
        "resolved": leaf.resolved,
        "degree_to_try": 0 if verdict is None else verdict.degree_to_try,
        "equivariance_error": totals.equivariance_error,
        "relative_error": totals.relative_error,
        "root_mean_square": totals.root_mean_square,
        "remainder": totals.remainder,
        "missing": leaf.missing,
        "compared_with": against.scale,
        "scale": _or_nan(against.size),
        "ratio": _or_nan(against.ratio),
        "error_per_atom": against.error if against.per_atom else np.nan,
        **{
            name: np.nan if certificate is None else float(getattr(certificate, name))
            for name in _CERTIFICATE
        },
        **{
            f"B_{degree}{sign}": content[degree, index]
            for degree in range(len(content))
            for index, sign in enumerate("+-")
        },
    }


def _or_nan(value: float | None) -> float:
    return np.nan if value is None else value


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
    """The columns of ``results.h5``, as ``pandas.DataFrame`` takes them.

    Args:
      path: The file, or the folder that holds it.

    Returns:
      Arrays of one length by name: texts as objects, errors in the unit of the row.

    Raises:
      ReportError: The file is missing, or was damaged when a run was killed.

    Example:
      >>> from symjax.report import read_results
      >>> read_results("nowhere.h5")
      Traceback (most recent call last):
      ...
      symjax.report.schema.ReportError: path='nowhere.h5': cannot be read ...
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
            "Pass the folder of a report, or continue its run with --resume, which "
            "writes the file again",
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
