"""The part of the page that says how well the numbers are converged."""

from typing import Any

from symjax.metrics import Certificate
from symjax.report._markup import escape, make_table, show_unit, what_of
from symjax.report.formats import format_value
from symjax.report.leaves import Leaf
from symjax.report.schema import Report


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
    names = "".join(
        f'<option value="{index}">{escape(leaf.name)}</option>'
        for index, leaf in enumerate(leaves)
    )
    choices = f'<label>Response <select id="curve-response">{names}</select></label>'
    if len(curves["sets"]) > 1:
        items = "".join(
            f'<option value="{index}">{escape(one["label"])}</option>'
            for index, one in enumerate(curves["sets"])
            if one in sets
        )
        what = what_of(report).capitalize()
        choices += (
            f'<label>{what} <select id="curve-structure">{items}</select></label>'
        )
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
is converged as far as these rules can tell; the verdicts below ask random elements too.
{which}</p>
<div class="controls">{choices}</div>
<div class="curves needs-js">
{plots}
</div>
<p class="readout needs-js" id="curve-readout" role="status"></p>
{_curve_table(report, leaves)}"""


def _curve_table(report: Report, leaves: list[Leaf]) -> str:
    """A under every rule, of all structures together."""
    curves = {leaf.name: leaf.curve(report.settings) for leaf in leaves}
    degrees = sorted({point.degree for curve in curves.values() for point in curve})
    rows = []
    for leaf in leaves:
        known = {
            point.degree: format_value(point.totals.equivariance_error)
            for point in curves[leaf.name]
        }
        if known:
            cells = [escape(leaf.name), show_unit(leaf.unit) or "-"]
            cells += [known.get(degree, "-") for degree in degrees]
            rows.append((cells, leaf.resolved))
    columns = ["response", "unit", *(f"degree {degree}" for degree in degrees)]
    table = make_table(
        f"A under rules of each degree, all {what_of(report)} together", columns, rows
    )
    if not table:
        return ""
    return f"<details><summary>The numbers as a table</summary>\n{table}</details>"


def verdicts(leaves: list[Leaf]) -> str:
    """Verdicts, and certificates where there are any."""
    rows = []
    for leaf in leaves:
        verdict = leaf.convergence
        if verdict is None:
            continue
        cells = [
            escape(leaf.name),
            _resolved(leaf),
            format_value(verdict.content_change),
            format_value(verdict.error_change),
            format_value(verdict.excess),
            escape(verdict.reason),
        ]
        rows.append((cells, leaf.resolved))
    table = make_table(
        "Change between the grid and the coarser one nested in it; misfit at random "
        "elements off the grid",
        ["response", "resolved", "change of B", "change of A", "misfit", ""],
        rows,
    )
    return (
        f"{_certificates(leaves)}<details><summary>Verdict on every response</summary>"
        f"\n{table}</details>"
    )


def _certificates(leaves: list[Leaf]) -> str:
    """Accuracy that was reached, where the grids were chosen by it."""
    rows = []
    for leaf in leaves:
        certificate = leaf.certificate
        if certificate is None:
            continue
        cells = [
            escape(leaf.name),
            "yes" if certificate.certified else "NO",
            str(certificate.degree or "-"),
            format_value(certificate.content_uncertainty),
            format_value(certificate.error_uncertainty),
            format_value(certificate.tail),
            _excludes(certificate),
            escape(certificate.reason),
        ]
        rows.append((cells, certificate.certified))
    columns = ["response", "certified", "degree", "error of B", "of A, relative"]
    return make_table(
        "Certificates: estimated error of each B and of A, the worst of all structures",
        [*columns, "content above", "missed at most", ""],
        rows,
    )


def _excludes(certificate: Certificate) -> str:
    """The largest part of an orbit that may have been missed, and what is noise."""
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
