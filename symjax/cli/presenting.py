"""What ``symjax report`` prints and writes at the end, and its exit code."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from symjax.cli.application import ABOVE_LIMIT, FAILED, UNRESOLVED
from symjax.cli.averages import choose_average
from symjax.cli.streams import say
from symjax.errors import ArgumentError

if TYPE_CHECKING:
    from symjax.data.limits import Limit
    from symjax.report import Report


def print_figures(title: str, figures: Sequence[tuple[str, str, str]]) -> None:
    """Prints a table of (name, unit, value) that fits the terminal."""
    from symjax.report.layout import Table
    from symjax.report.table_cells import Name, Row, Unit
    from symjax.report.tables import print_text

    rows = [Row([Name(name), value, Unit(unit)]) for name, unit, value in figures]
    table = Table(title, ["figure", "value", "unit"], rows, ["unit"])
    print_text(table.text, sys.stdout)


def present_estimates(model: Any, items: Any, unreadable: Any, options: Any) -> None:
    """Prints the cost of measuring each item, and the sum."""
    from symjax.metrics import Estimate
    from symjax.runs import Cost, estimate_items

    for label, error in unreadable.items():
        say(f"{label}: {error}")
    costs = []
    for label, found in estimate_items(model, items, options):
        if not isinstance(found, Cost):
            say(f"{label}: {found}")
            continue
        number, cost = found
        alike = f" and {number - 1:,} more of its size" if number > 1 else ""
        say(f"{label}{alike}: {cost}")
        costs.append(cost)
    if len(costs) > 1:
        total = Estimate(
            sum(cost.num_elements for cost in costs),
            1,
            sum(cost.seconds for cost in costs),
            max(cost.memory for cost in costs),
        )
        say(f"all: {total}")


def not_reached(result: "Report", aims: "list[Limit]") -> list[str]:
    """Prints which average reaches the limits; returns the reason if none does."""
    from symjax.metrics import ResponseSpectrum

    if not aims or not result.measured:
        return []
    parts: dict[str, list[Any]] = {}
    for structure in result.measured:
        for leaf in structure.leaves:
            if isinstance(leaf.response, ResponseSpectrum):
                parts.setdefault(leaf.name, []).append(leaf.response)
    text, chosen = choose_average(result.responses, aims, parts)
    say(text)
    return [] if chosen else [text]


def exceeded(report: "Report", limits: "list[Limit]") -> list[str]:
    """One line for each output whose A over all structures is above its limit."""
    leaves = report.aggregate()
    lines = []
    for limit in limits:
        if limit.name not in leaves:
            raise ArgumentError(
                "fail_above",
                limit.name,
                "is not an output of this report",
                f"Use {', '.join(n for n, leaf in leaves.items() if leaf.unit)}",
            )
        leaf = leaves[limit.name]
        error, most = leaf.totals.equivariance_error, limit.within(leaf.unit)
        # Not "error > most": NaN is above every limit.
        if not error <= most:
            lines.append(
                f"{limit.name}: A = {error:.3g} {leaf.unit} is above "
                f"{most:.3g} {leaf.unit}"
            )
    return lines


def present(
    result: "Report", output: Path, formats: list[str], page: bool, above: list[str]
) -> None:
    """Prints tables, writes text, page and figures, and exits with a code."""
    from symjax.report.files import HTML_FILE, REPORT_FILE, RESULTS_FILE, TEXT_FILE
    from symjax.report.storage import write_atomically
    from symjax.report.tables import print_report, to_text

    text = to_text(result)
    write_atomically(
        output / TEXT_FILE,
        lambda part: part.write_text(text, encoding="utf-8"),
        lambda: len(text.encode()),
    )
    written = [REPORT_FILE, RESULTS_FILE, TEXT_FILE]
    if page:
        from symjax.report.html import save_html

        save_html(result, output / HTML_FILE)
        written.append(HTML_FILE)
    if formats and result.measured:
        from symjax.report.figures import save_figures

        written += [path.name for path in save_figures(result, output, formats)]
    print_report(result, sys.stdout)
    say(f"Wrote {', '.join(written)} in {output}", err=True)
    if result.failed:
        noun = "events" if result.of_events else "structures"
        say(
            f"{len(result.failed)} of {len(result.structures)} {noun} failed; "
            "see the messages above.",
            err=True,
        )
        raise typer.Exit(FAILED)
    if not result.resolved:
        say("NOT RESOLVED: do not use these numbers; see above.", err=True)
        raise typer.Exit(UNRESOLVED)
    if above:
        for line in above:
            say(line, err=True)
        raise typer.Exit(ABOVE_LIMIT)
