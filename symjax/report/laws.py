"""The table of other laws of nature, beside A: in the terminal and on the page."""

import math

from symjax.metrics.physical_check import PhysicalCheck
from symjax.report.formats import format_value
from symjax.report.layout import Table
from symjax.report.schema import Report
from symjax.report.table_cells import Name, Row, Unit

_TITLE = "Other laws of nature"


def worst_checks(report: Report) -> list[PhysicalCheck]:
    """For each law and quantity the check that is broken most, over all structures."""
    found: dict[tuple[str, str], PhysicalCheck] = {}
    for structure in report.overview:
        for check in structure.laws:
            key = check.law, check.quantity
            known = found.setdefault(key, check)
            if _excess(check) > _excess(known):
                found[key] = check
    return list(found.values())


def _excess(check: PhysicalCheck) -> float:
    """Deviation in units of its error; one that is no number is the worst."""
    if math.isnan(check.deviation):
        return math.inf
    return check.deviation / check.error if check.error > 0 else check.deviation


def _named(report: Report) -> str:
    labels = [structure.label for structure in report.overview if structure.laws]
    listed = ", ".join(labels[:3]) + (", ..." if len(labels) > 3 else "")
    return f"{_TITLE}, of {listed}"


def laws_table(report: Report) -> Table | None:
    """The checks that are broken most."""
    rows = [
        Row(
            [
                *(Name(check.law), Name(check.quantity), Unit(check.unit)),
                *(format_value(check.deviation), format_value(check.error)),
                "-" if math.isnan(check.scale) else format_value(check.scale),
                "yes" if check.holds else "NO",
            ],
            check.holds,
        )
        for check in worst_checks(report)
    ]
    columns = ["law", "quantity", "unit", "deviation", "error", "RMS", "holds"]
    table = Table(_named(report), columns, rows, ("quantity", "unit"))
    return table if rows else None
