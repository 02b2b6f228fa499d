"""The part of the page on how well the numbers are converged."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from symjax.metrics import Certificate
from symjax.metrics.convergence import band_limit, tail_ratio
from symjax.report._markup import folded, select, show_table, what_of
from symjax.report.formats import format_value, with_symbols
from symjax.report.layout import Table
from symjax.report.leaves import Leaf
from symjax.report.schema import Report, Settings
from symjax.report.table_cells import Cell, Name, Number, Row, Unit


def curve_data(report: Report, names: Sequence[str], most: int) -> dict[str, Any]:
    """Curves of all structures together, and of each unless there are too many.

    Args:
      report: The report.
      names: Names of the leaves, in the order of the page.
      most: Largest number of structures that are also listed one by one.

    Returns:
      ``sets``, each with a label and one entry for each name: None if no coarser rule
      is known, else ``degrees`` of the rules, ``error`` A, ``relative`` error and
      ``content`` B(l) under each, ``sectors`` B(l, sigma) as reported, and the
      extrapolated ``tail``.
    """

    def values(leaves: dict[str, Leaf]) -> list[dict[str, Any] | None]:
        return [
            _values(leaves[name], report.settings) if name in leaves else None
            for name in names
        ]

    together = report.aggregate()
    sets = [{"label": "all", "values": values(together)}]
    if 1 < len(report.measured) <= most:
        for structure in report.measured:
            leaves = {leaf.name: leaf for leaf in structure.leaves}
            sets.append({"label": structure.label, "values": values(leaves)})
    units = [with_symbols(together[name].unit) for name in names]
    return {"rows": list(names), "units": units, "sets": sets}


def _values(leaf: Leaf, settings: Settings) -> dict[str, Any] | None:
    points = leaf.curve(settings)
    if not points:
        return None
    # Sectors that a climb did not project are stored as 0, which is no measurement.
    certificate = leaf.certificate
    end = None if certificate is None else certificate.projected_degree + 1
    content = leaf.totals.content[:end]
    sums = content.sum(axis=1)
    ratio = tail_ratio(sums)
    tail = None
    if ratio is not None:
        # A degree more than needed, so that the line crosses the tolerance.
        last = band_limit(sums, ratio, settings.tolerance) + 1
        last = min(max(last, len(sums) + 1), 2 * settings.degree)
        degrees = np.arange(len(sums) - 1, last + 1)
        tail = {
            "degrees": degrees.tolist(),
            "content": (sums[-1] * ratio ** (degrees - degrees[0])).tolist(),
        }
    return {
        "degrees": [point.degree for point in points],
        "error": [point.totals.equivariance_error for point in points],
        "relative": [point.totals.relative_error for point in points],
        "content": [
            point.totals.content[:end].sum(axis=1).tolist() for point in points
        ],
        "sectors": content.tolist(),
        "tail": tail,
    }


def convergence(report: Report, leaves: list[Leaf], curves: dict[str, Any]) -> str:
    """Curves for the script, and A under every rule as a table."""
    if not leaves:
        return ""
    sets = [one for one in curves["sets"] if any(one["values"])]
    if not sets:
        if report.settings.degree == 0:
            return (
                "<p>Random elements have no curve: the table below says how well each "
                "response is known.</p>"
            )
        return (
            "<p>No curves: this report holds no results of coarser rules that all "
            "its structures have in common.</p>"
        )
    names = (leaf.name for leaf in leaves)
    choices = select("Response", "curve-response", enumerate(names))
    if len(curves["sets"]) > 1:
        labels = [
            (index, one["label"])
            for index, one in enumerate(curves["sets"])
            if one in sets
        ]
        choices += select(what_of(report).capitalize(), "curve-structure", labels)
    how = "coarser rules nested in the grid, which need no further evaluations"
    which = "A coarser rule has B(l) of outputs through half its degree, and of layers "
    which += "at least B(0)."
    if report.settings.adaptive:
        how = "the rules that were climbed until the accuracy was certified"
        which = "Each rule has B(l) through half its degree."
    plots = "\n".join(
        f'<figure><figcaption>{title}</figcaption><svg id="curve-{name}" '
        f'viewBox="0 0 340 230" tabindex="0" role="application" aria-label="{label}" '
        'aria-describedby="curve-readout"></svg></figure>'
        for name, title, label in (
            (
                "error",
                "A against the degree of the rule",
                "Equivariance error against the degree of the rule; arrow keys move",
            ),
            (
                "content",
                "B(l) against the degree of the rule",
                "Content of each degree l against the degree of the rule; arrow keys "
                "move",
            ),
            (
                "spectrum",
                'B against l: <b class="tone0">&sigma; = +</b>, '
                '<b class="tone1">&sigma; = &minus;</b>, '
                '<b class="tone2">extrapolated</b>',
                "Content against l with its extrapolated tail; arrow keys move",
            ),
        )
    )
    return f"""<p>The same figures under {how}. A curve that is flat at its end
is converged as far as these rules can tell; verdicts below also use random elements.
{which}</p>
<div class="controls">{choices}</div>
<div class="curves needs-js">
{plots}
</div>
<p class="readout needs-js" id="curve-readout" role="status"></p>
{_curve_table(report, leaves)}"""


def _curve_table(report: Report, leaves: list[Leaf]) -> str:
    """A under every rule, over all structures."""
    curves = {leaf.name: leaf.curve(report.settings) for leaf in leaves}
    degrees = sorted({point.degree for curve in curves.values() for point in curve})
    rows = []
    for leaf in leaves:
        known = {p.degree: p.totals.equivariance_error for p in curves[leaf.name]}
        if known:
            values = [Number(known.get(degree), format_value) for degree in degrees]
            cells: list[Cell] = [Name(leaf.name), Unit(leaf.unit), *values]
            rows.append(Row(cells, leaf.resolved))
    title = f"A under rules of each degree, all {what_of(report)} together"
    columns = ["response", "unit", *(f"degree {degree}" for degree in degrees)]
    return folded("The numbers as a table", Table(title, columns, rows))


def verdicts(leaves: list[Leaf]) -> str:
    """Verdicts, and certificates where there are any."""
    rows = []
    for leaf in leaves:
        verdict = leaf.convergence
        if verdict is None:
            continue
        changes = (verdict.content_change, verdict.error_change, verdict.excess)
        cells: list[Cell] = [
            *(Name(leaf.name), _resolved(leaf)),
            *(Number(change, format_value) for change in changes),
            verdict.reason,
        ]
        rows.append(Row(cells, leaf.resolved))
    title = (
        "Change between the grid and the coarser one nested in it; misfit at random "
        "elements off the grid"
    )
    columns = ["response", "resolved", "change of B", "change of A", "misfit", ""]
    table = Table(title, columns, rows)
    return show_table(_certificates(leaves)) + folded(
        "Verdict on every response", table
    )


def _certificates(leaves: list[Leaf]) -> Table:
    """Accuracy that was reached, of adaptive grids and random elements."""
    rows = []
    for leaf in leaves:
        certificate = leaf.certificate
        if certificate is None:
            continue
        known = (certificate.content_uncertainty, certificate.error_uncertainty)
        cells: list[Cell] = [
            *(Name(leaf.name), "yes" if certificate.certified else "NO"),
            str(certificate.degree or "-"),
            *(Number(value, format_value) for value in (*known, certificate.tail)),
            *(_excludes(certificate), certificate.reason),
        ]
        rows.append(Row(cells, certificate.certified))
    columns = ["response", "certified", "degree", "error of B", "of A, relative"]
    return Table(
        "Certificates: estimated error of each B and of A, the worst of all structures",
        [*columns, "content above", "missed at most", ""],
        rows,
    )


def _excludes(certificate: Certificate) -> str:
    """The largest part of an orbit that may have been missed, and the noise of A."""
    text = (
        f"{100 * certificate.excluded:.2g} % of the orbit "
        f"({100 * certificate.confidence:.0f} % confidence)"
    )
    if certificate.noise:
        text += f"; A below {format_value(certificate.noise)} of the size is noise"
    return text


def _resolved(leaf: Leaf) -> str:
    if leaf.resolved or leaf.convergence is None:
        return "yes"
    return f"NO: {leaf.convergence.degree_to_try}"
