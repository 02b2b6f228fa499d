"""A report as tables for a terminal, a log or a text file.

Tables have units, fit the terminal without cutting a number (rows that are too wide are
stacked), and can be read without color.
"""

import functools
import locale
import shutil
from collections.abc import Callable
from io import StringIO
from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.text import Text

from symjax.report.contents import (
    content_table,
    elements_table,
    laws_table,
    layers_table,
    outputs_table,
    summaries,
)
from symjax.report.event_tables import event_tables
from symjax.report.layout import Display, Table
from symjax.report.provenance import provenance, verdict_on
from symjax.report.schema import Report, Settings
from symjax.report.summary import Summary
from symjax.report.worth import in_short, next_step


def _render(report: Report, display: Display) -> RenderableType:
    """All tables of a report, over all its measured structures together."""
    found = summaries(report)
    outputs = [summary for summary in found if summary.kind == "output"]
    layers = len(outputs) < len(found)
    tables: list[Table | Text | None] = []
    if outputs:
        tables += [outputs_table(report)]
        tables += _contents(outputs, report.settings, display)
        tables += [] if report.of_events else [elements_table(report)]
    tables.append(laws_table(report))
    if layers:
        tables.append(layers_table(report))
    if report.of_events:
        tables += event_tables(report, display)
    if found:
        tables.append(_legend(layers, display))
    parts: list[RenderableType] = [
        _header(report, display),
        *_in_short(report, display),
    ]
    for table in tables:
        if isinstance(table, Text):
            parts += [Text(), table]
        elif table is not None and table.rows:
            parts += [Text(), table.text(display)]
    if report.failed:
        parts.append(_failures(report, display))
    parts.append(_verdict(report, display))
    return Group(*parts)


def to_text(report: Report, width: int | None = None) -> str:
    """The tables as plain text.

    Args:
      report: The report.
      width: Number of columns; by default as many as the tables need, with no name
        shortened.

    Returns:
      Text without control characters, ending with a line feed.
    """
    return plain_text(_render(report, Display(width)))


def print_report(report: Report, file: TextIO, width: int | None = None) -> None:
    """Prints the tables; in color only on a terminal.

    Args:
      report: The report.
      file: Where to print.
      width: Number of columns; by default that of the terminal, 80 without one.
    """
    print_text(functools.partial(_render, report), file, width)


def plain_text(text: RenderableType) -> str:
    """Text for a file: without colors, and without spaces at the ends of lines."""
    buffer = StringIO()
    _console(buffer, plain=True).print(text, soft_wrap=True)
    lines = [line.rstrip() for line in buffer.getvalue().splitlines()]
    return "\n".join(lines) + "\n"


def print_text(
    make: Callable[[Display], RenderableType], file: TextIO, width: int | None = None
) -> None:
    """Prints text, in color only on a terminal.

    Args:
      make: Returns the text for a terminal or file.
      file: Where to print.
      width: Number of columns; by default that of the terminal, 80 without one.
    """
    plain = not file.isatty()
    console = _console(file, plain)
    unicode = console.encoding.lower().startswith("utf")
    # Python writes UTF-8 in the C locale too, but its terminal may not know it.
    unicode &= plain or locale.setlocale(locale.LC_CTYPE) not in ("C", "POSIX")
    if width is None:
        # Rich takes every dumb terminal for one of 80 columns.
        width = 80 if plain else shutil.get_terminal_size((80, 24)).columns
    # Lines are broken already; a terminal of another width must not cut them.
    console.print(make(Display(width, ascii_only=not unicode)), soft_wrap=True)


def _console(file: TextIO, plain: bool) -> Console:
    return Console(
        file=file,
        no_color=plain or None,
        force_terminal=False if plain else None,
        highlight=False,
        markup=False,
        emoji=False,
    )


def _header(report: Report, display: Display) -> RenderableType:
    title = f"Symmetry report of model {display.name(report.model.name)}"
    lines = [
        f"{display.name(about):<10}  {display.name(line)}"
        for about, line in provenance(report).items()
    ]
    return Group(
        Text(display.lines(title), style="bold"),
        *(Text(display.lines(line)) for line in lines),
    )


def _in_short(report: Report, display: Display) -> list[Text]:
    """The sentences before the tables: averages, labels, and the next step."""
    lines = in_short(report.aggregate().values())
    lines += [step] if (step := next_step(report)) else []
    if not lines:
        return []
    shown = (display.lines(display.name(one), 2) for one in lines)
    return [Text("\n" + "\n".join(shown))]


def _contents(
    outputs: list[Summary], settings: Settings, display: Display
) -> list[Table]:
    """Tables of the content, with as many outputs side by side as fit."""
    groups: list[list[Summary]] = []
    for summary in outputs:
        wider = [*groups[-1], summary] if groups else [summary]
        if groups and content_table(wider, settings).fits(display):
            groups[-1] = wider
        else:
            groups.append([summary])
    return [content_table(group, settings) for group in groups]


def _legend(layers: bool, display: Display) -> Text:
    lines = [
        "A           equivariance error: root-mean-square deviation of a component, "
        "rotated back, from its mean over O(3)",
        "compared    RMS: size of the response, ratio 0 is exact and 1 no symmetry at "
        "all; spread: standard deviation of an invariant over samples, which does not "
        "depend on its zero; kT: at 300 K, for one energy; 0 by symmetry: the symmetry "
        "of the structures requires 0; round-off: A is within that of the precision",
        "B(l,sigma)  fraction of the response in the irrep of degree l; sigma = + for "
        "tensors, - for pseudotensors",
        "1 - B       what is not in the irreps of the output",
        "B above     fraction above the largest degree listed; < is below round-off",
        "resolved    whether the elements resolve the response; if NO, do not use the "
        "numbers of that row: repeat with a grid of the degree, or with the number of "
        "samples, that follows; A +-8%: two standard errors of random elements",
    ]
    if layers:
        lines.append(
            "layers      A is in the units of the features; an invariant has A = 0"
        )
    return Text("\n".join(map(display.lines, lines)), style="dim")


def _failures(report: Report, display: Display) -> RenderableType:
    number = len(report.failed)
    plural = ("event" if report.of_events else "structure") + "s" * (number != 1)
    lines = [Text(f"\n{number} {plural} failed:", style="bold red")]
    for structure in report.failed:
        message = structure.failure.message if structure.failure else ""
        line = f"  {display.name(structure.label)}: {display.name(message)}"
        lines.append(Text(display.lines(line, 4)))
    return Group(*lines)


def _verdict(report: Report, display: Display) -> RenderableType:
    verdict = verdict_on(report)
    names = [display.name(line) for line in verdict.lines]
    lines = [" ".join(names)] if verdict.good else names
    text = "\n".join(display.lines(line, 0) for line in lines)
    return Text(f"\n{text}", style="bold green" if verdict.good else "bold red")
