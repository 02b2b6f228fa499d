"""Reports of runs: stored, tabulated and plotted."""

from symjax.report.columns_file import read_results, write_results
from symjax.report.leaves import Leaf, ReportError
from symjax.report.schema import SCHEMA, Report, StructureReport
from symjax.report.storage import read_report, write_report

__all__ = [
    "SCHEMA",
    "Leaf",
    "Report",
    "ReportError",
    "StructureReport",
    "read_report",
    "read_results",
    "write_report",
    "write_results",
]
