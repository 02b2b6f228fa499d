"""The tables of a report, the same for the terminal and for the page."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from symjax.metrics.verdicts import PhysicalCheck
from symjax.report.formats import (
    format_count,
    format_fraction,
    format_seconds,
    format_value,
    with_unit,
)
from symjax.report.layout import Table
from symjax.report.scales import content_floor, remainder_floor
from symjax.report.schema import Report, Settings
from symjax.report.summary import Summary, summarise
from symjax.report.table_cells import Cell, LayerName, Name, Number, Row, Unit
from symjax.so3.irreps import all_irreps

NO_SCALE = {
    "forbidden by symmetry": "0 by symmetry",
    "round-off": "round-off",
    "zero": "zero",
    "one value": "-",
}
"""What is printed if there is nothing to compare an error with."""

_TOP_SECTORS = 2


def summaries(report: Report) -> list[Summary]:
    """Figures of all outputs and layers over all structures, outputs first."""
    dtype = report.settings.dtype
    found = [summarise(leaf, dtype) for leaf in report.aggregate().values()]
    return sorted(found, key=lambda summary: summary.kind != "output")


def outputs_of(report: Report) -> list[Summary]:
    """Figures of the outputs over all structures."""
    return [summary for summary in summaries(report) if summary.kind == "output"]


def layers_of(report: Report) -> list[Summary]:
    """Figures of the layers over all structures."""
    return [summary for summary in summaries(report) if summary.kind != "output"]


def field(
    summary: Summary, name: str, form: Callable[[float], str] = format_value
) -> Number:
    """A number of a summary, with its path in ``report.json``."""
    return Number(getattr(summary, name), form, ("summary", summary.name, name))


def resolved(summary: Summary) -> str:
    """The verdict in a few characters, with a degree or number of samples to try.

    For random elements also the relative uncertainty of A.
    """
    if not summary.resolved:
        return f"NO: {summary.degree_to_try}"
    known = summary.error_uncertainty
    return f"A +-{known:.0%}" if known else "yes"


def above_form(summary: Summary) -> Callable[[float], str]:
    """Format of a fraction that is a difference from 1."""
    floor = max(remainder_floor(summary.epsilon), _known_to(summary))
    return lambda value: format_fraction(value, floor)


def content_form(
    settings: Settings, degree: int, summary: Summary
) -> Callable[[float], str]:
    """Format of the content of a sector."""
    floor = content_floor(degree, settings.num_elements, summary.epsilon)
    floor = max(floor, _known_to(summary))
    return lambda value: format_fraction(value, floor)


def _known_to(summary: Summary) -> float:
    """Uncertainty of each B from random elements; 0 of a grid."""
    return summary.content_uncertainty or 0.0


def outputs_table(report: Report) -> Table:
    """A of every output, what it is compared with, and the content in wrong sectors."""
    rows = []
    for summary in outputs_of(report):
        above = above_form(summary)
        compared: list[Cell] = [
            NO_SCALE.get(summary.compared_with, summary.compared_with),
            field(summary, "ratio"),
        ]
        if summary.scale is not None:
            compared[0] = f"{summary.compared_with} {format_value(summary.scale)}"
        per_atom = summary.per_atom and summary.error_per_atom is not None
        fractions: list[Cell] = [
            field(summary, "missing", above),
            field(summary, "remainder", above),
            resolved(summary),
        ]
        first: list[Cell] = [Name(summary.name), Unit(summary.unit)]
        error = field(summary, "equivariance_error")
        whole = ["-", "-"] if per_atom else compared
        rows.append(Row([*first, error, *whole, *fractions], summary.resolved))
        if summary.error_per_atom is not None:
            first = [Name(f"{summary.name}/atom"), Unit(summary.unit)]
            error = field(summary, "error_per_atom")
            share = compared if per_atom else ["-", "-"]
            rows.append(Row([*first, error, *share, "", "", ""], summary.resolved))
    columns = [
        *("output", "unit", "A", "compared with", "ratio"),
        *("1 - B", "B above", "resolved"),
    ]
    return Table("Outputs", columns, rows, ("unit", "compared with", "resolved"))


def elements_table(report: Report) -> Table:
    """A of every output for the atoms of each element."""
    rows = []
    for leaf in report.aggregate().values():
        for symbol in leaf.species if leaf.kind == "output" else ():
            part = summarise(leaf, report.settings.dtype, symbol)
            ratio: Cell = NO_SCALE.get(part.compared_with, "-")
            if part.ratio is not None:
                ratio = format_value(part.ratio)
            cells = [
                *(Name(leaf.name), Unit(leaf.unit), Name(symbol)),
                *(format_count(part.samples), format_value(part.equivariance_error)),
                *(ratio, format_value(part.root_mean_square)),
            ]
            rows.append(Row(cells, leaf.resolved))
    columns = ["output", "unit", "element", "atoms", "A", "A/RMS", "RMS"]
    return Table("Outputs by element", columns, rows, ("unit", "element"))


def content_table(summaries: Sequence[Summary], settings: Settings) -> Table:
    """B(l, sigma) of outputs side by side, with a row for each degree."""
    columns = ["l"]
    for summary in summaries:
        minus = f"{summary.name} -" if len(summaries) == 1 else "-"
        columns += [f"{summary.name} +", minus]
    rows = []
    for degree in range(len(summaries[0].content)):
        cells: list[Cell] = [str(degree)]
        for summary in summaries:
            form = content_form(settings, degree, summary)
            cells += [Number(float(b), form) for b in summary.content[degree]]
        rows.append(Row(cells))
    cells = ["above"]
    for summary in summaries:
        above = above_form(summary)
        cells += [Number(summary.remainder, above), ""]
    title = "Content B(l, sigma) of the outputs"
    return Table(title, columns, [*rows, Row(cells)])


def top_sectors(
    content: np.ndarray, number: int = _TOP_SECTORS
) -> list[tuple[str, float]]:
    """The sectors with the largest content."""
    labels = [str(irrep) for irrep in all_irreps(len(content) - 1)]
    pairs = zip(labels, content.reshape(-1).tolist(), strict=True)
    return sorted(pairs, key=lambda pair: -pair[1])[:number]


def layers_table(report: Report) -> Table:
    """How far the features of each layer are from invariance, and what they carry."""
    rows = []
    for summary in layers_of(report):
        top = [
            # a share that rounds to 0 or 1 still tells something
            f"{label} {value:.3f}" if value > 5e-3 else f"{label} {value:.0e}"
            for label, value in top_sectors(summary.content)
        ]
        ratio = ("summary", summary.name, "relative_error")
        cells: list[Cell] = [
            LayerName(summary.name),
            field(summary, "equivariance_error"),
            Number(summary.relative_error, format_value, ratio, bar=True),
            *top,
            field(summary, "remainder", above_form(summary)),
            resolved(summary),
        ]
        rows.append(Row(cells, summary.resolved))
    # There are two sectors of degree 0.
    shown = min(_TOP_SECTORS, 2 * (report.settings.max_degree + 1))
    columns = ["layer", "A", "A/RMS", *("first B", "second B")[:shown]]
    title = "Layers: distance from invariance, and what the features carry"
    return Table(title, [*columns, "B above", "resolved"], rows, ("resolved",))


def structures_table(report: Report) -> Table:
    """How each structure was measured, in the order in which they were given."""
    adaptive = report.settings.adaptive is not None
    outputs = outputs_of(report)
    rows = []
    # One after another: many structures stay on disk.
    for index, structure in enumerate(report.structures):
        at = ("structures", index)
        leaves = {leaf.name: leaf.totals for leaf in structure.leaves}
        errors = [leaves.get(output.name) for output in outputs]
        failure, timing = structure.failure, structure.timing
        seconds = [
            Number(getattr(timing, name, None), format_seconds, (*at, "timing", name))
            for name in ("compile_seconds", "evaluation_seconds")
        ]
        cells: list[Cell] = [
            *(Name(structure.label), Name(structure.formula)),
            Number(structure.num_atoms, format_count, (*at, "num_atoms")),
            *(format_value(e.equivariance_error) if e else "-" for e in errors),
            Number(structure.num_elements, format_count, (*at, "num_elements")),
            structure.point_group or "-",
            *([structure.grid or "-"] if adaptive else []),
            *seconds,
            Name("measured" if failure is None else failure.message),
        ]
        rows.append(Row(cells, failure is None))
    columns = [
        *("label", "formula", "atoms"),
        *(f"A of {with_unit(output.name, output.unit)}" for output in outputs),
        *("elements of O(3)", "point group"),
        *(["grid"] if adaptive else []),
        *("compiling", "evaluating", "state"),
    ]
    return Table("In the order in which they were given", columns, rows)


def worst_checks(report: Report) -> list[PhysicalCheck]:
    """For each law and quantity the worst check of all structures."""
    found: dict[tuple[str, str], PhysicalCheck] = {}
    for structure in report.overview:
        for check in structure.laws:
            key = check.law, check.quantity
            known = found.setdefault(key, check)
            if _excess(check) > _excess(known):
                found[key] = check
    return list(found.values())


def _excess(check: PhysicalCheck) -> float:
    """Deviation in units of its error; infinite if it is not a number."""
    if math.isnan(check.deviation):
        return math.inf
    return check.deviation / check.error if check.error > 0 else check.deviation


def _named(report: Report) -> str:
    labels = [structure.label for structure in report.overview if structure.laws]
    listed = ", ".join(labels[:3]) + (", ..." if len(labels) > 3 else "")
    return f"Other laws of nature, of {listed}"


def laws_table(report: Report) -> Table | None:
    """The worst check of each law and quantity; None without checks."""
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
