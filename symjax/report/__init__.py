"""Reports: measured over structures, stored, tabulated and plotted."""

from symjax.report.batch import (
    Options,
    Progress,
    estimate_structures,
    measure_structures,
)
from symjax.report.results import read_results, write_results
from symjax.report.schema import (
    SCHEMA,
    Leaf,
    Report,
    ReportError,
    StructureReport,
    read_report,
    write_report,
)

__all__ = [
    "SCHEMA",
    "Leaf",
    "Options",
    "Progress",
    "Report",
    "ReportError",
    "StructureReport",
    "estimate_structures",
    "measure_structures",
    "read_report",
    "read_results",
    "write_report",
    "write_results",
]
