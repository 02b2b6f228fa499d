"""A report as tables for a terminal, a log or a text file.

Every table fits in 80 columns, carries its units, and needs neither color nor a
terminal to be read.
"""

import dataclasses
import re
from collections.abc import Iterable, Sequence
from io import StringIO
from typing import TextIO

import numpy as np
from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from symjax.metrics import Totals
from symjax.report.event_tables import Forms, event_tables
from symjax.report.schema import Leaf, Report, Settings
from symjax.so3.irreps import Irrep, all_irreps

# Outputs side by side in the table of contents; more go into a table below.
_OUTPUTS_PER_TABLE = 3
_TOP_SECTORS = 2
# Columns that the numbers of a layer take.
_LAYER_NUMBERS = 56


def format_value(value: float) -> str:
    """A positive quantity with three significant digits.

    Args:
      value: The number.

    Returns:
      Text of at most nine characters.

    Example:
      >>> from symjax.report.tables import format_value
      >>> [format_value(v) for v in (0.0, 0.01234, 12.34, 1.2e-5, 4321.0)]
      ['0', '0.0123', '12.3', '1.20e-05', '4.32e+03']
    """
    if value == 0:
        return "0"
    if 1e-3 <= abs(value) < 1e3:
        digits = max(0, 2 - int(np.floor(np.log10(abs(value)))))
        return f"{value:.{digits}f}"
    return f"{value:.2e}"


def format_fraction(value: float) -> str:
    """A fraction, so that what is missing from 1 can be read as well as what is left.

    Args:
      value: The fraction.

    Returns:
      Text of at most eight characters; ``"1-3e-07"`` is 1 - 3e-07.

    Example:
      >>> from symjax.report.tables import format_fraction
      >>> [format_fraction(v) for v in (1.0, 1 - 3e-7, 0.98765, 0.0123, 4.2e-9, 0.0)]
      ['1', '1-3e-07', '0.9877', '0.0123', '4.2e-09', '0']
    """
    if abs(value) < 1e-15:
        return "0"
    missing = 1 - value
    if abs(missing) < 1e-15:
        return "1"
    if 0 < missing < 1e-3:
        return f"1-{missing:.0e}"
    return f"{value:.4f}" if abs(value) >= 1e-2 else f"{value:.1e}"


def format_verdict(leaf: Leaf) -> str:
    """Verdict in a few characters.

    Args:
      leaf: The leaf.

    Returns:
      ``"yes"``, or ``"NO: 19"`` with the degree of the grid to try.

    Example:
      >>> import numpy as np
      >>> from symjax.metrics import Convergence, Totals
      >>> from symjax.report import Leaf
      >>> from symjax.report.tables import format_verdict
      >>> totals = Totals(np.ones(1), np.ones(1), np.ones((1, 2, 2)), np.ones(1))
      >>> verdict = Convergence(False, 0.3, 0.1, 0.1, 19, "content changes by 0.3")
      >>> format_verdict(Leaf("energy", "output", "eV", "scalar", ("0+",), 1, totals,
      ...                     {}, verdict))
      'NO: 19'
    """
    if leaf.resolved or leaf.convergence is None:
        return "yes"
    return f"NO: {leaf.convergence.degree_to_try}"


def render(
    report: Report, *, width: int = 80, ascii_only: bool = False
) -> RenderableType:
    """All tables of a report, over all its measured structures together.

    Args:
      report: The report.
      width: Number of columns; names of layers are broken to fit.
      ascii_only: Whether to write angstrom without its sign.

    Returns:
      What ``rich`` prints.

    Example:
      >>> from rich.console import Console
      >>> from symjax.report import schema
      >>> from symjax.report.tables import render
      >>> report = schema.Report(
      ...     schema.Software("0.1.0", "0.10", "cpu"), schema.ModelInfo("pet", "ab"),
      ...     schema.Settings(6, "lebedev 13 x 14", 13, 2072, "all", "float32", 0.05),
      ...     ())
      >>> Console(width=80).print(render(report))  # doctest: +ELLIPSIS
      Symmetry report of model pet
      ...
    """
    leaves = list(report.aggregate().values())
    if not ascii_only:
        leaves = [_with_sign(leaf) for leaf in leaves]
    outputs = [leaf for leaf in leaves if leaf.kind == "output"]
    layers = [leaf for leaf in leaves if leaf.kind != "output"]
    parts: list[RenderableType] = [_header(report)]
    if outputs:
        for table in (_outputs(outputs), *_contents(outputs)):
            parts.extend([Text(), table])
        if any(leaf.species for leaf in outputs) and not report.of_events:
            parts.extend([Text(), _species(outputs)])
    if layers:
        parts.extend([Text(), _layers(layers, width - _LAYER_NUMBERS)])
    if report.of_events:
        forms = Forms(format_value, format_fraction)
        parts.extend(event_tables(report, width, forms))
    if leaves:
        parts.extend([Text(), _legend(bool(layers))])
    if report.failed:
        parts.append(_failures(report))
    parts.append(_verdict(report, leaves))
    return Group(*parts)


def _with_sign(leaf: Leaf) -> Leaf:
    return dataclasses.replace(leaf, unit=leaf.unit.replace("angstrom", "\xc5"))


def to_text(report: Report, width: int = 80) -> str:
    """The tables as plain text.

    Args:
      report: The report.
      width: Number of columns.

    Returns:
      Text without control characters, ending with a line feed.

    Example:
      >>> from symjax.report import schema
      >>> from symjax.report.tables import to_text
      >>> report = schema.Report(
      ...     schema.Software("0.1.0", "0.10", "cpu"), schema.ModelInfo("pet", "ab"),
      ...     schema.Settings(6, "lebedev 13 x 14", 13, 2072, "all", "float32", 0.05),
      ...     ())
      >>> to_text(report).splitlines()[0]
      'Symmetry report of model pet'
    """
    buffer = StringIO()
    print_report(report, buffer, width)
    lines = [line.rstrip() for line in buffer.getvalue().splitlines()]
    return "\n".join(lines) + "\n"


def print_report(report: Report, file: TextIO, width: int | None = None) -> None:
    """Prints the tables; in color only on a terminal.

    Args:
      report: The report.
      file: Where to print.
      width: Number of columns; by default that of the terminal, 80 without one.

    Example:
      >>> import io
      >>> from symjax.report import schema
      >>> from symjax.report.tables import print_report
      >>> report = schema.Report(
      ...     schema.Software("0.1.0", "0.10", "cpu"), schema.ModelInfo("pet", "ab"),
      ...     schema.Settings(6, "lebedev 13 x 14", 13, 2072, "all", "float32", 0.05),
      ...     ())
      >>> out = io.StringIO()
      >>> print_report(report, out)
      >>> out.getvalue().startswith("Symmetry report")
      True
    """
    plain = not file.isatty()
    console = Console(
        file=file,
        width=width or (80 if plain else None),
        no_color=plain or None,
        force_terminal=False if plain else None,
        highlight=False,
    )
    unicode = console.encoding.lower().startswith("utf")
    console.print(render(report, width=console.width, ascii_only=not unicode))


def _header(report: Report) -> RenderableType:
    settings = report.settings
    measured = [s for s in report.overview if s.failure is None]
    atoms = sum(structure.num_atoms for structure in measured)
    labels = [structure.label for structure in measured]
    listed = ", ".join(labels[:3]) + (", ..." if len(labels) > 3 else "")
    seconds = [structure.timing for structure in measured if structure.timing]
    compiling = sum(timing.compile_seconds for timing in seconds)
    evaluating = sum(timing.evaluation_seconds for timing in seconds)
    events = report.of_events
    what, parts = ("events    ", "points") if events else ("structures", "atoms")
    lines = [
        f"{what}  {len(measured)} with {atoms} {parts}: {listed}"
        if measured
        else f"{what}  none measured",
        f"grid        {grid_line(settings)}",
        *_chosen_lines(report),
        *_symmetry_lines(report),
        f"content     through degree {settings.max_degree}; evaluated in "
        f"{precision_line(settings)}",
        f"time        {compiling:.1f} s compiling, {evaluating:.1f} s evaluating",
        f"seed        {seed_line(settings)}",
        f"SHA-256     {report.model.digest}",
        f"software    symjax {report.software.symjax}, JAX {report.software.jax} on "
        f"{report.software.platform}",
        *([f"command     {report.command}"] if report.command else []),
    ]
    return Group(
        Text(f"Symmetry report of model {report.model.name}", style="bold"),
        *map(Text, lines),
    )


def precision_line(settings: Settings) -> str:
    """In which precision the model was evaluated.

    Args:
      settings: Of the report.

    Returns:
      A short text.

    Example:
      >>> import jax
      >>> from symjax.report import Options
      >>> from symjax.report.tables import precision_line
      >>> precision_line(Options().settings())
      'float32'
      >>> with jax.default_matmul_precision("tensorfloat32"):
      ...     precision_line(Options().settings())
      'float32, matrix products in tensorfloat32'
    """
    if settings.matmul_precision == "highest":
        return settings.dtype
    return f"{settings.dtype}, matrix products in {settings.matmul_precision}"


def grid_line(settings: Settings) -> str:
    """Which elements of O(3) were evaluated.

    Args:
      settings: Of the report.

    Returns:
      A short text.

    Example:
      >>> from symjax.report import Options
      >>> from symjax.report.tables import grid_line
      >>> grid_line(Options().settings())
      'lebedev 13 x 14, exact through degree 13: 2072 elements of O(3)'
    """
    climb = settings.adaptive
    if climb is None:
        return (
            f"{settings.grid}, exact through degree {settings.degree}: "
            f"{settings.num_elements} elements of O(3)"
        )
    return (
        f"chosen for each structure, at most degree {climb.limit} and "
        f"{settings.num_elements} elements"
    )


def seed_line(settings: Settings) -> str:
    """Where random numbers enter, and their seed.

    Args:
      settings: Of the report.

    Returns:
      A short text.

    Example:
      >>> from symjax.report import Options
      >>> from symjax.report.tables import seed_line
      >>> seed_line(Options().settings())
      '20, of the random elements of the check off the grid'
    """
    if settings.seed is None:
        return "not recorded"
    text = f"{settings.seed}, of the random elements of the check off the grid"
    return text if settings.adaptive is None else text + "s"


def tolerance_line(settings: Settings) -> str:
    """When a response counts as resolved.

    Args:
      settings: Of the report.

    Returns:
      A short text.

    Example:
      >>> from symjax.report import Options
      >>> from symjax.report.tables import tolerance_line
      >>> tolerance_line(Options().settings())
      'change of B by 0.05 between nested grids'
    """
    climb = settings.adaptive
    if climb is None:
        return f"change of B by {settings.tolerance:g} between nested grids"
    return (
        f"each B certified to {climb.content_tolerance:g}, A to "
        f"{climb.error_tolerance:.0%}"
    )


def _chosen_lines(report: Report) -> list[str]:
    """Which grids were chosen, and what was asked of them."""
    if report.settings.adaptive is None:
        return []
    used = sorted({s.grid for s in report.overview if s.failure is None})
    more = ", ..." if len(used) > 3 else ""
    return [
        f"            {', '.join(used[:3]) or 'none'}{more}",
        f"accuracy    {tolerance_line(report.settings)}",
    ]


def _symmetry_lines(report: Report) -> list[str]:
    """Which point groups saved evaluations, and what was left to evaluate."""
    if not report.settings.symmetry:
        return []
    used = {
        f"{structure.point_group or 'none'} ({structure.num_elements} elements)"
        for structure in report.overview
        if structure.failure is None
    }
    listed = sorted(used)
    more = ", ..." if len(listed) > 4 else ""
    return [f"symmetry    point groups used: {', '.join(listed[:4])}{more}"]


def _table(title: str, columns: Sequence[tuple[str, str]]) -> Table:
    table = Table(
        title=Text(title, style="bold"),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        show_edge=False,
    )
    for name, justify in columns:
        fold = justify == "left"
        table.add_column(
            name,
            justify="left" if fold else "right",
            overflow="fold",
            no_wrap=not fold,
        )
    return table


def _numbers(totals: Totals) -> list[str]:
    return [
        format_value(totals.equivariance_error),
        format_value(totals.relative_error),
    ]


def _row(table: Table, leaf: Leaf, cells: Iterable[str]) -> None:
    table.add_row(*cells, style="" if leaf.resolved else "bold red")


def _outputs(outputs: list[Leaf]) -> Table:
    table = _table(
        "Outputs",
        [
            ("output", "left"),
            ("unit", "left"),
            ("A", "right"),
            ("A/RMS", "right"),
            ("RMS", "right"),
            ("B expected", "right"),
            ("B above", "right"),
            ("resolved", "left"),
        ],
    )
    for leaf in outputs:
        totals = leaf.totals
        expected = _expected(leaf)
        _row(
            table,
            leaf,
            [
                leaf.name,
                leaf.unit or "-",
                *_numbers(totals),
                format_value(totals.root_mean_square),
                f"{format_fraction(expected)} ({'+'.join(_sectors(leaf))})"
                if len(leaf.irreps) == 1
                else format_fraction(expected),
                format_fraction(totals.remainder),
                format_verdict(leaf),
            ],
        )
    return table


def _sectors(leaf: Leaf) -> list[str]:
    return list(dict.fromkeys(leaf.irreps))


def _expected(leaf: Leaf) -> float:
    """Content in the sectors that an equivariant output would have."""
    content = leaf.totals.content
    irreps = [Irrep.parse(label) for label in _sectors(leaf)]
    return sum(
        float(content[irrep.degree, 0 if irrep.sigma == 1 else 1])
        for irrep in irreps
        if irrep.degree < len(content)
    )


def _contents(outputs: list[Leaf]) -> list[Table]:
    tables = []
    for start in range(0, len(outputs), _OUTPUTS_PER_TABLE):
        part = outputs[start : start + _OUTPUTS_PER_TABLE]
        columns = [("l", "right")]
        for leaf in part:
            columns += [(f"{leaf.name} +", "right"), ("-", "right")]
        table = _table("Content B(l, sigma) of the outputs", columns)
        contents = [leaf.totals.content for leaf in part]
        for degree in range(len(contents[0])):
            cells = [str(degree)]
            for content in contents:
                cells += [format_fraction(float(value)) for value in content[degree]]
            table.add_row(*cells)
        cells = ["above"]
        for leaf in part:
            cells += [format_fraction(leaf.totals.remainder), ""]
        table.add_row(*cells)
        tables.append(table)
    return tables


def _species(outputs: list[Leaf]) -> Table:
    table = _table(
        "Outputs by element",
        [
            ("output", "left"),
            ("unit", "left"),
            ("element", "left"),
            ("atoms", "right"),
            ("A", "right"),
            ("A/RMS", "right"),
            ("RMS", "right"),
        ],
    )
    for leaf in outputs:
        for symbol, totals in leaf.species.items():
            per_atom = leaf.channels * Irrep.parse(leaf.irreps[0]).dimension
            table.add_row(
                leaf.name,
                leaf.unit or "-",
                symbol,
                str(round(float(totals.count[0]) / per_atom)),
                *_numbers(totals),
                format_value(totals.root_mean_square),
            )
    return table


def top_sectors(totals: Totals, number: int = _TOP_SECTORS) -> list[tuple[str, float]]:
    """The sectors with the largest content.

    Args:
      totals: Sums of a leaf.
      number: How many sectors.

    Returns:
      Labels of irreps and their content, largest first.

    Example:
      >>> import numpy as np
      >>> from symjax.metrics import Totals
      >>> from symjax.report.tables import top_sectors
      >>> power = np.array([[[3.0, 0.0], [1.0, 0.0]]])
      >>> top_sectors(Totals(np.ones(1), 4 * np.ones(1), power, np.ones(1)))
      [('0+', 0.75), ('1+', 0.25)]
    """
    content = totals.content
    labels = [str(irrep) for irrep in all_irreps(len(content) - 1)]
    pairs = zip(labels, content.reshape(-1).tolist(), strict=True)
    return sorted(pairs, key=lambda pair: -pair[1])[:number]


def _layers(layers: list[Leaf], width: int) -> Table:
    table = _table(
        "Layers: distance from invariance, and what the features carry",
        [
            ("layer", "left"),
            ("A", "right"),
            ("A/RMS", "right"),
            ("first B", "right"),
            ("second B", "right"),
            ("B above", "right"),
            ("resolved", "left"),
        ],
    )
    for leaf in layers:
        top = [
            # a share that rounds to 0 or 1 still tells something
            f"{label} {value:.3f}" if value > 5e-3 else f"{label} {value:.0e}"
            for label, value in top_sectors(leaf.totals)
        ]
        _row(
            table,
            leaf,
            [
                break_name(leaf.name, width),
                *_numbers(leaf.totals),
                *top,
                format_fraction(leaf.totals.remainder),
                format_verdict(leaf),
            ],
        )
    return table


def break_name(name: str, width: int) -> str:
    """Breaks the dotted name of a layer into lines, preferably behind dots.

    Args:
      name: The name.
      width: Largest number of characters in a line.

    Returns:
      The name with line feeds; further lines are indented.

    Example:
      >>> from symjax.report.tables import break_name
      >>> print(break_name("gnn_layers.0.trans.layers.1_node", 24))
      gnn_layers.0.trans.
        layers.1_node
    """
    width = max(width, 8)
    lines = [""]
    for part in re.split(r"(?<=\.)", name):
        if len(lines[-1]) + len(part) > width and lines[-1].strip():
            lines.append("  ")
        lines[-1] += part
        while len(lines[-1]) > width:
            lines[-1:] = [lines[-1][:width], "  " + lines[-1][width:]]
    return "\n".join(lines)


def _legend(layers: bool) -> RenderableType:
    lines = [
        "A           equivariance error: root-mean-square deviation of a component,",
        "            rotated back, from its mean over O(3)",
        "A/RMS       relative equivariance error: 0 exact, 1 no symmetry at all",
        "B(l,sigma)  fraction of the response in the irrep of degree l; sigma = + for",
        "            tensors, - for pseudotensors; expected: in those of the output",
        "B above     fraction above the largest degree listed",
        "resolved    whether the grid resolves the response; if NO, the numbers of",
        "            that row are not to be trusted: repeat with the --grid given",
    ]
    if layers:
        lines.append(
            "layers      A is in the units of the features; an invariant has A = 0"
        )
    return Text("\n".join(lines), style="dim")


def _failures(report: Report) -> RenderableType:
    number = len(report.failed)
    plural = ("event" if report.of_events else "structure") + "s" * (number != 1)
    lines = [Text(f"\n{number} {plural} failed:", style="bold red")]
    for structure in report.failed:
        message = structure.failure.message if structure.failure else ""
        lines.append(Text(f"  {structure.label}: {message}"))
    return Group(*lines)


def _verdict(report: Report, leaves: list[Leaf]) -> RenderableType:
    if not leaves:
        return Text("\nNothing was measured.", style="bold red")
    unresolved = [leaf for leaf in leaves if not leaf.resolved]
    if not unresolved:
        return Text(
            f"\nThe grid resolves all {len(leaves)} responses.", style="bold green"
        )
    outputs = [leaf for leaf in unresolved if leaf.kind == "output"]
    lines = []
    if outputs:
        names = ", ".join(leaf.name for leaf in outputs)
        lines.append(f"NOT RESOLVED, outputs: {names}. Their numbers are not integrals")
        lines.append("over O(3), and must not be quoted.")
    hidden = len(unresolved) - len(outputs)
    if hidden:
        count = len([leaf for leaf in leaves if leaf.kind != "output"])
        lines.append(f"NOT RESOLVED, layers: {hidden} of {count}.")
    verdicts = [leaf.convergence for leaf in unresolved if leaf.convergence]
    worst = max(verdicts, key=lambda verdict: verdict.degree_to_try)
    lines.append(f"Reason: {worst.reason}.")
    lines.append(f"Repeat with --grid {worst.degree_to_try}.")
    return Text("\n" + "\n".join(lines), style="bold red")
