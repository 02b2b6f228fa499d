"""A report as tables for a terminal, a log or a text file.

Every table carries its units, fits its terminal without cutting a number (rows that do
not fit are stacked), and needs neither color nor a terminal to be read.
"""

import functools
from collections.abc import Callable
from io import StringIO
from typing import TextIO

import numpy as np
from rich.console import Console, Group, RenderableType
from rich.text import Text

from symjax.metrics import Totals
from symjax.report.event_tables import Forms, event_tables
from symjax.report.laws import law_table
from symjax.report.layout import Display, Row, make_table, shorten_all, table_width
from symjax.report.scales import content_floor, energy_unit, remainder_floor
from symjax.report.schema import Leaf, Report, Settings
from symjax.so3.irreps import Irrep, all_irreps

_TOP_SECTORS = 2
# Names of layers are not shortened further: their rows are stacked.
_SHORTEST_NAME = 14
NO_SCALE = {
    "forbidden by symmetry": "0 by symmetry",
    "round-off": "round-off",
    "zero": "zero",
    "one value": "-",
}
"""What is printed where there is nothing to compare an error with."""


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


def format_fraction(value: float, floor: float = 0.0) -> str:
    """A fraction; what is below its uncertainty is written as such.

    Args:
      value: The fraction.
      floor: What round-off alone can make of it.

    Returns:
      Text of at most eight characters.

    Example:
      >>> from symjax.report.tables import format_fraction
      >>> [format_fraction(v) for v in (1.0, 1 - 3e-7, 0.98765, 0.0123, 4.2e-9, 0.0)]
      ['1', '1.0000', '0.9877', '0.0123', '4.2e-09', '0']
      >>> format_fraction(-6.5e-8, floor=4.8e-7)
      '<5e-07'
    """
    if abs(value) < floor:
        return f"<{floor:.0e}"
    if abs(value) < 1e-15:
        return "0"
    if value == 1:
        return "1"
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


def render(report: Report, display: Display) -> RenderableType:
    """All tables of a report, over all its measured structures together.

    Args:
      report: The report.
      display: What it is written on.

    Returns:
      What ``rich`` prints, with ``soft_wrap``: lines are broken already.

    Example:
      >>> from rich.console import Console
      >>> from symjax.report import schema
      >>> from symjax.report.layout import Display
      >>> from symjax.report.tables import render
      >>> report = schema.Report(
      ...     schema.Software("0.1.0", "0.10", "cpu"), schema.ModelInfo("pet", "ab"),
      ...     schema.Settings(6, "lebedev 13 x 14", 13, 2072, "all", "float32", 0.05),
      ...     ())
      >>> Console().print(render(report, Display(80)))  # doctest: +ELLIPSIS
      Symmetry report of model pet
      ...
    """
    leaves = list(report.aggregate().values())
    settings = report.settings
    outputs = [leaf for leaf in leaves if leaf.kind == "output"]
    layers = [leaf for leaf in leaves if leaf.kind != "output"]
    parts: list[RenderableType] = [_header(report, display)]
    if outputs:
        tables = [_outputs(outputs, settings, display)]
        tables += _contents(outputs, settings, display)
        if any(leaf.species for leaf in outputs) and not report.of_events:
            tables.append(_species(outputs, settings, display))
        for table in tables:
            parts.extend([Text(), table])
    laws = law_table(report, display, format_value)
    if laws is not None:
        parts.extend([Text(), laws])
    if layers:
        parts.extend([Text(), _layers(layers, settings, display)])
    if report.of_events:
        parts.extend(
            event_tables(report, display, Forms(format_value, format_fraction))
        )
    if leaves:
        parts.extend([Text(), _legend(bool(layers), display)])
    if report.failed:
        parts.append(_failures(report, display))
    parts.append(_verdict(report, leaves, display))
    return Group(*parts)


def to_text(report: Report, width: int | None = None) -> str:
    """The tables as plain text.

    Args:
      report: The report.
      width: Number of columns; by default as many as the tables need, so that no name
        is shortened.

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
    _console(buffer, plain=True).print(render(report, Display(width)), soft_wrap=True)
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
    print_text(functools.partial(render, report), file, width)


def print_text(
    make: Callable[[Display], RenderableType], file: TextIO, width: int | None = None
) -> None:
    r"""Prints text that is made for what it is written on; in color only on a terminal.

    Args:
      make: Makes the text.
      file: Where to print.
      width: Number of columns; by default that of the terminal, 80 without one.

    Example:
      >>> import io
      >>> from symjax.report.tables import print_text
      >>> out = io.StringIO()
      >>> print_text(lambda display: str(display.width), out)
      >>> out.getvalue()
      '80\n'
    """
    plain = not file.isatty()
    console = _console(file, plain)
    unicode = console.encoding.lower().startswith("utf")
    if width is None:
        width = 80 if plain else console.width
    # Lines are broken already; a terminal of another width must not cut them.
    console.print(make(Display(width, ascii_only=not unicode)), soft_wrap=True)


def _console(file: TextIO, plain: bool) -> Console:
    return Console(
        file=file,
        no_color=plain or None,
        force_terminal=False if plain else None,
        highlight=False,
    )


def _header(report: Report, display: Display) -> RenderableType:
    settings = report.settings
    measured = [s for s in report.overview if s.failure is None]
    atoms = sum(structure.num_atoms for structure in measured)
    labels = [display.name(structure.label) for structure in measured]
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
        *_forces_lines(settings),
        f"content     through degree {settings.max_degree}; evaluated in "
        f"{precision_line(settings)}",
        f"time        {compiling:.1f} s compiling, {evaluating:.1f} s evaluating",
        f"seed        {seed_line(settings)}",
        *([f"read        {settings.points}"] if settings.points else []),
        *(
            [f"model       {display.name(report.model.note)}"]
            if report.model.note
            else []
        ),
        f"SHA-256     {report.model.digest}",
        f"software    symjax {report.software.symjax}, JAX {report.software.jax} on "
        f"{report.software.platform}",
        *([f"command     {display.name(report.command)}"] if report.command else []),
    ]
    title = f"Symmetry report of model {display.name(report.model.name)}"
    return Group(
        Text(display.lines(title), style="bold"),
        *(Text(display.lines(line)) for line in lines),
    )


def precision_line(settings: Settings) -> str:
    """In which precision the model was evaluated.

    Args:
      settings: Of the report.

    Returns:
      A short text.

    Example:
      >>> import jax
      >>> from symjax.runs import Options
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
      >>> from symjax.runs import Options
      >>> from symjax.report.tables import grid_line
      >>> grid_line(Options().settings())
      'icosahedral 14 x 14, exact through degree 13: 2016 elements of O(3)'
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
      >>> from symjax.runs import Options
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
      >>> from symjax.runs import Options
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


def _forces_lines(settings: Settings) -> list[str]:
    """Where forces come from, unless it is the energy, as everyone expects."""
    text = forces_line(settings)
    return [f"forces      {text}"] if settings.energy != "energy" and text else []


def forces_line(settings: Settings) -> str:
    """Which output forces and stress are derivatives of.

    Args:
      settings: Of the report.

    Returns:
      A short text; empty for models of something else than atoms.

    Example:
      >>> from dataclasses import replace
      >>> from symjax.runs import Options
      >>> from symjax.report.tables import forces_line
      >>> forces_line(replace(Options().settings(), energy="energy/pbe"))
      'derivatives of energy/pbe'
    """
    if settings.energy is None:
        return ""
    if settings.energy:
        return f"derivatives of {settings.energy}"
    return "none: no target is named energy (--energy NAME takes another scalar)"


def _outputs(outputs: list[Leaf], settings: Settings, display: Display) -> Text:
    columns = [
        *("output", "unit", "A", "compared with", "ratio"),
        *("1 - B", "B above", "resolved"),
    ]
    floor = remainder_floor(settings.dtype)
    rows = []
    for leaf in outputs:
        against = leaf.comparison(settings.dtype)
        ratio = "-" if against.ratio is None else format_value(against.ratio)
        scale = NO_SCALE.get(against.scale, against.scale)
        if against.size is not None:
            scale = f"{against.scale} {format_value(against.size)}"
        whole = not against.per_atom or leaf.spread is None
        rows.append(
            Row(
                [
                    display.name(leaf.name),
                    display.unit(leaf.unit),
                    format_value(leaf.totals.equivariance_error),
                    *((scale, ratio) if whole else ("-", "-")),
                    format_fraction(leaf.missing, floor),
                    format_fraction(leaf.totals.remainder, floor),
                    format_verdict(leaf),
                ],
                leaf.resolved,
            )
        )
        per_atom = energy_unit(leaf.unit) is not None and leaf.spread is not None
        if per_atom and leaf.spread is not None:
            cells = ["-", "-"] if whole else [scale, ratio]
            error = format_value(leaf.spread.equivariance_error)
            name = f"{display.name(leaf.name)}/atom"
            cells = [name, display.unit(leaf.unit), error, *cells, "", "", ""]
            rows.append(Row(cells, leaf.resolved))
    return make_table(
        "Outputs", columns, rows, display, ("unit", "compared with", "resolved")
    )


def _contents(outputs: list[Leaf], settings: Settings, display: Display) -> list[Text]:
    """Tables of as many outputs side by side as fit."""
    groups: list[list[Leaf]] = []
    for leaf in outputs:
        wider = [*groups[-1], leaf] if groups else [leaf]
        columns, rows = _content_of(wider, settings, display)
        fits = display.width is None or table_width(columns, rows) <= display.width
        if groups and fits:
            groups[-1] = wider
        else:
            groups.append([leaf])
    title = "Content B(l, sigma) of the outputs"
    return [
        make_table(title, *_content_of(group, settings, display), display)
        for group in groups
    ]


def _content_of(
    outputs: list[Leaf], settings: Settings, display: Display
) -> tuple[list[str], list[Row]]:
    columns = ["l"]
    for leaf in outputs:
        name = display.name(leaf.name)
        columns += [f"{name} +", f"{name} -" if len(outputs) == 1 else "-"]
    contents = [leaf.totals.content for leaf in outputs]
    rows = []
    for degree in range(len(contents[0])):
        floor = content_floor(degree, settings.num_elements, settings.dtype)
        cells = [str(degree)]
        for content in contents:
            cells += [format_fraction(float(b), floor) for b in content[degree]]
        rows.append(Row(cells))
    cells = ["above"]
    for leaf in outputs:
        above = leaf.totals.remainder
        cells += [format_fraction(above, remainder_floor(settings.dtype)), ""]
    return columns, [*rows, Row(cells)]


def _species(outputs: list[Leaf], settings: Settings, display: Display) -> Text:
    columns = ["output", "unit", "element", "atoms", "A", "A/RMS", "RMS"]
    rows = []
    for leaf in outputs:
        for symbol, totals in leaf.species.items():
            per_atom = leaf.channels * Irrep.parse(leaf.irreps[0]).dimension
            against = leaf.comparison(settings.dtype, symbol)
            ratio = NO_SCALE.get(against.scale, "-")
            if against.ratio is not None:
                ratio = format_value(against.ratio)
            cells = [
                display.name(leaf.name),
                display.unit(leaf.unit),
                display.name(symbol),
                str(round(float(totals.count[0]) / per_atom)),
                format_value(totals.equivariance_error),
                ratio,
                format_value(totals.root_mean_square),
            ]
            rows.append(Row(cells, leaf.resolved))
    return make_table("Outputs by element", columns, rows, display, ("unit", "element"))


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


def _layers(layers: list[Leaf], settings: Settings, display: Display) -> Text:
    floor = remainder_floor(settings.dtype)
    rows = []
    for leaf in layers:
        top = [
            # a share that rounds to 0 or 1 still tells something
            f"{label} {value:.3f}" if value > 5e-3 else f"{label} {value:.0e}"
            for label, value in top_sectors(leaf.totals)
        ]
        cells = [
            format_value(leaf.totals.equivariance_error),
            format_value(leaf.totals.relative_error),
            *top,
            format_fraction(leaf.totals.remainder, floor),
            format_verdict(leaf),
        ]
        rows.append(Row(cells, leaf.resolved))
    columns = ["layer", "A", "A/RMS", "first B", "second B", "B above", "resolved"]
    columns = [columns[0], *columns[1 : 3 + _shown(layers)], *columns[5:]]
    names = [display.name(leaf.name) for leaf in layers]
    if display.width is not None:
        # What the numbers and the gap before them leave; less says nothing.
        left = display.width - table_width(columns[1:], rows) - 2
        names = shorten_all(names, left) if left >= _SHORTEST_NAME else names
    named = [
        Row([name, *row.cells], row.good) for name, row in zip(names, rows, strict=True)
    ]
    title = "Layers: distance from invariance, and what the features carry"
    return make_table(title, columns, named, display, ("resolved",))


def _shown(layers: list[Leaf]) -> int:
    """Number of sectors that are listed: there are two of degree 0."""
    return min(_TOP_SECTORS, 2 * len(layers[0].totals.content))


def _legend(layers: bool, display: Display) -> RenderableType:
    lines = [
        "A           equivariance error: root-mean-square deviation of a component, "
        "rotated back, from its mean over O(3)",
        "compared    RMS: size of the response, 0 is exact and 1 no symmetry at all; "
        "spread: standard deviation of an invariant over samples, which "
        "no shift of its zero changes; kT: at 300 K, for one energy; 0 by symmetry: "
        "the structures allow nothing else; round-off: below that of the precision",
        "B(l,sigma)  fraction of the response in the irrep of degree l; sigma = + for "
        "tensors, - for pseudotensors",
        "1 - B       what is not in the irreps of the output",
        "B above     fraction above the largest degree listed; < is below round-off",
        "resolved    whether the grid resolves the response; if NO, the numbers of "
        "that row are not to be trusted: repeat with the --grid given",
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


def _verdict(report: Report, leaves: list[Leaf], display: Display) -> RenderableType:
    if not leaves:
        return Text("\nNothing was measured.", style="bold red")
    unresolved = [leaf for leaf in leaves if not leaf.resolved]
    if not unresolved:
        return Text(
            "\n" + display.lines(f"The grid resolves all {len(leaves)} responses.", 0),
            style="bold green",
        )
    outputs = [leaf for leaf in unresolved if leaf.kind == "output"]
    lines = []
    if outputs:
        names = ", ".join(display.name(leaf.name) for leaf in outputs)
        lines.append(
            f"NOT RESOLVED, outputs: {names}. Their numbers are not integrals over "
            "O(3), and must not be quoted."
        )
    hidden = len(unresolved) - len(outputs)
    if hidden:
        count = len([leaf for leaf in leaves if leaf.kind != "output"])
        lines.append(f"NOT RESOLVED, layers: {hidden} of {count}.")
    verdicts = [leaf.convergence for leaf in unresolved if leaf.convergence]
    worst = max(verdicts, key=lambda verdict: verdict.degree_to_try)
    lines.append(f"Reason: {worst.reason}.")
    lines.append(f"Repeat with --grid {worst.degree_to_try}.")
    broken = (display.lines(line, 0) for line in lines)
    return Text("\n" + "\n".join(broken), style="bold red")
