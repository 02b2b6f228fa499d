"""Pieces of the page of a report: escaped text, units, tables."""

import html
from collections.abc import Iterable, Sequence

from symjax._text import visible
from symjax.report.schema import Leaf, Report

SCROLLS = '<p class="scrolls" hidden>Scroll sideways for more &rarr;</p>'
"""Hint above what is wider than the screen."""


def escape(value: object) -> str:
    """Text that is safe in elements and in quoted attributes, and seen as it is."""
    return html.escape(visible(value), quote=True)


def show_unit(unit: str) -> str:
    """A unit as HTML, empty for features."""
    base, _, power = unit.replace("angstrom", "\xc5").partition("^")
    return escape(base) + (f"<sup>{escape(power)}</sup>" if power else "")


def make_table(
    caption: str, columns: Sequence[str], rows: Iterable[tuple[Sequence[str], bool]]
) -> str:
    """A table; cells are HTML, the first of a row names it, False marks a bad row."""
    head = "".join(
        f'<th scope="col"{"" if index else " class=left"}>{column}</th>'
        for index, column in enumerate(columns)
    )
    lines = []
    for (name, *cells), good in rows:
        row = f'<th scope="row">{name}</th>'
        row += "".join(f"<td>{cell}</td>" for cell in cells)
        lines.append(f"<tr{'' if good else ' class=bad'}>{row}</tr>")
    if not lines:
        return ""
    # A region that scrolls must be reachable from the keyboard; report.js shows the
    # hint where it does.
    return (
        f'{SCROLLS}<div class="scroll tall" tabindex="0" role="region" '
        f'aria-label="{escape(caption)}">\n<table><caption>{escape(caption)}</caption>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n" + "\n".join(lines) + "\n</tbody>"
        "</table></div>"
    )


def show_resolved(leaf: Leaf) -> str:
    """The verdict in a few words."""
    if leaf.resolved or leaf.convergence is None:
        return "yes"
    return f"NO: try {leaf.convergence.degree_to_try}"


def what_of(report: Report) -> str:
    """What was measured, in the plural."""
    return "events" if report.of_events else "structures"
