"""The table of other laws of nature, beside A: in the terminal and on the page."""

import math
from collections.abc import Callable

from rich.text import Text

from symjax.metrics.physical_check import PhysicalCheck
from symjax.report._markup import escape, show_unit
from symjax.report._markup import make_table as make_html
from symjax.report.layout import Display, Row, make_table
from symjax.report.schema import Report

Form = Callable[[float], str]

_TITLE = "Other laws of nature"
_COLUMNS = ("law", "quantity", "unit", "deviation", "error", "RMS", "holds")


def worst_checks(report: Report) -> list[PhysicalCheck]:
    """For each law and quantity the check that is broken most, over all structures.

    Args:
      report: The report.

    Returns:
      Checks, in the order in which they were made.

    Example:
      >>> from symjax.metrics.physical_check import PhysicalCheck
      >>> from symjax.report import schema
      >>> from symjax.report.laws import worst_checks
      >>> laws = [PhysicalCheck("moved", "energy", d, 1e-3, 1.0, "eV") for d in (0, 1)]
      >>> report = schema.Report(
      ...     schema.Software("0.1.0", "0.10", "cpu"), schema.ModelInfo("pet", "ab"),
      ...     schema.Settings(6, "lebedev 13 x 14", 13, 2072, "all", "float32", 0.05),
      ...     tuple(schema.StructureReport("a", "H", 1, "ab", laws=(law,))
      ...           for law in laws))
      >>> [check.deviation for check in worst_checks(report)]
      [1]
    """
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


def _cells(check: PhysicalCheck, form: Form) -> list[str]:
    return [
        form(check.deviation),
        form(check.error),
        "-" if math.isnan(check.scale) else form(check.scale),
        "yes" if check.holds else "NO",
    ]


def _named(report: Report) -> str:
    labels = [structure.label for structure in report.overview if structure.laws]
    listed = ", ".join(labels[:3]) + (", ..." if len(labels) > 3 else "")
    return f"{_TITLE}, of {listed}"


def law_table(report: Report, display: Display, form: Form) -> Text | None:
    """The table for a terminal.

    Args:
      report: The report.
      display: What it is written on.
      form: Writes a number.

    Returns:
      The table; None if nothing was checked.
    """
    rows = [
        Row(
            [check.law, check.quantity, display.unit(check.unit), *_cells(check, form)],
            check.holds,
        )
        for check in worst_checks(report)
    ]
    if not rows:
        return None
    title = display.name(_named(report))
    return make_table(title, list(_COLUMNS), rows, display, ("quantity", "unit"))


def law_section(report: Report, form: Form) -> str:
    """The table for the page; empty if nothing was checked.

    Args:
      report: The report.
      form: Writes a number.

    Returns:
      HTML.
    """
    rows = [
        (
            [
                escape(check.law),
                escape(check.quantity),
                show_unit(check.unit),
                *_cells(check, form),
            ],
            check.holds,
        )
        for check in worst_checks(report)
    ]
    if not rows:
        return ""
    table = make_html(_named(report), _COLUMNS, rows)
    return (
        "<p>What else should not change: translation, exchange of like atoms, another "
        "cell for the same crystal; and whether forces are minus the gradient of the "
        "energy. A deviation within five times its round-off is none.</p>\n" + table
    )
