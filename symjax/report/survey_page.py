"""A survey as one self-contained web page: no network, no library."""

import math
from collections.abc import Sequence
from importlib import resources

import numpy as np
from ase.data import chemical_symbols, covalent_radii
from ase.data.colors import jmol_colors

from symjax.metrics.pooling import Interval
from symjax.report._markup import escape, show_table
from symjax.report.formats import format_fraction, format_value, with_symbols
from symjax.report.layout import Table
from symjax.report.survey_tables import (
    NO_SIZE,
    anchor,
    errors_table,
    left_by_averages,
    parts_table,
    worst_table,
)
from symjax.report.survey_text import (
    Described,
    SurveyReport,
    by_size,
    headline,
    signed_root,
)
from symjax.report.table_cells import Name, Number, Row

# Structures of the sortable table; survey.csv has all of them.
_MOST_ROWS = 2000
# Dots of a scatter plot: a random part of more.
_MOST_DOTS = 1500
_WIDTH, _HEIGHT, _MARGIN = 420, 240, 60
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
_STYLE = """
.plots { display: flex; flex-wrap: wrap; gap: 20px; }
figure { margin: 0; } figcaption { font-size: .9rem; color: var(--soft); }
svg { max-width: 100%; height: auto; }
svg text { font: 11px system-ui, sans-serif; fill: var(--soft); }
svg .axis { stroke: var(--line); fill: none; }
svg .count, svg .dot { fill: var(--accent); } svg .dot { opacity: .45; }
svg .mean { fill: var(--high); } svg .whisker { stroke: var(--high); stroke-width: 2; }
"""


def survey_html(report: SurveyReport) -> str:
    """A survey as a self-contained HTML page.

    It has A of every output with intervals for this data set and its population, also
    by element, size and composition; plots of its distribution over structures, and
    against size and force; drawings of the worst structures, measured again on new
    random elements; the content; and a sortable table of the structures.
    """
    assets = resources.files("symjax.report") / "assets"
    style = (assets / "report.css").read_text()
    script = (assets / "tables.js").read_text()
    sections = [
        ("errors", "Equivariance error", _errors(report)),
        ("averages", "After averages", show_table(left_by_averages(report))),
        ("plots", "Over structures", _plots(report)),
        ("worst", "Worst structures", _worst(report)),
        ("parts", "By element, size and composition", _parts(report)),
        ("content", "Symmetry content", _content(report)),
        ("structures", "Structures", _structures(report)),
        ("failed", "Failed", _failed(report)),
    ]
    body = "\n".join(
        f'<section id="{name}"><h2>{title}</h2>\n{text}\n</section>'
        for name, title, text in sections
        if text
    )
    until = report.found.over.until
    bad = " bad" if until is not None and not report.found.stopped else ""
    over = report.found.over
    independent = "independent" if over.turn == "C1" else f"each times {over.turn}"
    source = (
        f"Random rotations, {escape(independent)}; seed {over.seed}; content through "
        f"degree {report.max_degree}. symjax {escape(report.software.symjax)}, JAX "
        f"{escape(report.software.jax)} on {escape(report.software.platform)}."
    )
    if report.command:
        source += f" Command: <code>{escape(report.command)}</code>."
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Survey of {escape(report.model.name)}</title>\n"
        f"<style>{style}{_STYLE}</style></head>\n<body>\n"
        f"<header><h1>Survey of {escape(report.model.name)}</h1>\n"
        f'<p class="verdict{bad}">{escape(headline(report))}</p></header>\n'
        f"<main>\n{body}\n</main>\n<footer><p>{source}</p></footer>\n"
        f"<script>{script}</script>\n</body></html>\n"
    )


def _errors(report: SurveyReport) -> str:
    return (
        "<p>A is the root mean square, over components, orientations and structures, "
        "of how far a prediction is from being equivariant. Brackets are 95 % "
        "intervals: for this data set, and for the population that it was drawn from. "
        f"A / RMS compares it with the size of the output; {NO_SIZE}.</p>\n"
        + show_table(errors_table(report))
    )


def _parts(report: SurveyReport) -> str:
    outputs = (output for output in report.file.outputs if output.kind == "output")
    return "\n".join(show_table(parts_table(report, output)) for output in outputs)


def _content(report: SurveyReport) -> str:
    rows = []
    for output in report.file.outputs:
        found = [
            (getattr(sector.B, report.found.over.of), sector)
            for sector in output.content
        ]
        found.sort(key=lambda pair: -pair[0].value)
        for interval, sector in found[:4]:
            sign = "+" if sector.sigma == 1 else "\N{MINUS SIGN}"
            values = (max(interval.value, 0.0), max(interval.error, 0.0))
            shown = [Number(value, format_fraction) for value in values]
            rows.append(Row([Name(output.name), f"{sector.degree}{sign}", *shown]))
    title = "The four largest sectors of each output"
    return show_table(Table(title, ["output", "sector", "B", "standard error"], rows))


def _plots(report: SurveyReport) -> str:
    pool, figures, force = report.pool, [], report.force_sizes
    for output in report.file.outputs:
        if output.kind != "output":
            continue
        values = np.array([signed_root(value) for value in pool.by_item(output.name)])
        unit = f" in {with_symbols(output.unit)}" if output.unit else ""
        title = f"A of {output.name}{unit}"
        figures.append(_histogram(title, values))
        groups = [
            (float(pool.sizes[select].mean()), getattr(part.A, report.found.over.of))
            for (_, select), part in zip(by_size(pool), output.by_size, strict=True)
        ]
        figures.append(
            _scatter(f"{title} against the number of atoms", pool.sizes, values, groups)
        )
        if force is not None:
            of_forces = with_symbols(report.outputs["forces"].unit)
            caption = f"{title} against the RMS force in {of_forces}"
            figures.append(_scatter(caption, force, values, []))
    return (
        "<p>A of a single structure is noisy: it comes from few elements. Red: "
        "structures of similar size together, with 95 % intervals.</p>\n"
        f'<div class="plots">{"".join(figures)}</div>'
    )


def _frame(
    caption: str, low: Sequence[float], high: Sequence[float], marks: str
) -> str:
    left, bottom = _MARGIN, _HEIGHT - _MARGIN / 2

    def label(value: float) -> str:
        return f"{value:,.0f}" if value == round(value) else format_value(value)

    labels = (
        f'<text x="{left}" y="{_HEIGHT - 6}">{label(low[0])}</text>'
        f'<text x="{_WIDTH - 4}" y="{_HEIGHT - 6}" text-anchor="end">'
        f"{label(high[0])}</text>"
        f'<text x="{left - 4}" y="{bottom}" text-anchor="end">'
        f"{label(low[1])}</text>"
        f'<text x="{left - 4}" y="14" text-anchor="end">{label(high[1])}</text>'
    )
    return (
        f'<figure><svg role="img" aria-label="{escape(caption)}" width="{_WIDTH}" '
        f'height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}">'
        f'<path class="axis" d="M{left} 6V{bottom}H{_WIDTH - 4}"/>{marks}{labels}</svg>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _histogram(caption: str, values: np.ndarray) -> str:
    values = values[np.isfinite(values)]
    if not len(values):
        return ""
    counts, edges = np.histogram(values, bins=min(40, max(5, len(values) // 10)))
    width = (_WIDTH - _MARGIN - 4) / len(counts)
    scale = (_HEIGHT - _MARGIN / 2 - 10) / counts.max()
    bars = "".join(
        f'<rect class="count" x="{_MARGIN + width * number:.1f}" '
        f'y="{_HEIGHT - _MARGIN / 2 - scale * count:.1f}" width="{0.9 * width:.1f}" '
        f'height="{scale * count:.1f}"/>'
        for number, count in enumerate(counts)
        if count
    )
    low, high = (float(edges[0]), 0.0), (float(edges[-1]), float(counts.max()))
    return _frame(f"{caption}: number of structures", low, high, bars)


def _scatter(
    caption: str,
    x: np.ndarray,
    y: np.ndarray,
    groups: list[tuple[float, Interval]],
) -> str:
    keep = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
    if len(keep) > _MOST_DOTS:
        random = np.random.default_rng(0)
        keep = np.sort(random.choice(keep, _MOST_DOTS, replace=False))
    if not len(keep):
        return ""
    x, y = np.asarray(x, float)[keep], y[keep]
    low = (float(x.min()), min(float(y.min()), 0.0))
    high = (float(x.max()), float(y.max()))

    def place(value: float, axis: int) -> float:
        span = high[axis] - low[axis] or 1.0
        share = min(max((value - low[axis]) / span, 0.0), 1.0)
        if axis == 0:
            return _MARGIN + 6 + share * (_WIDTH - _MARGIN - 16)
        return _HEIGHT - _MARGIN / 2 - share * (_HEIGHT - _MARGIN / 2 - 12)

    dots = "".join(
        f'<circle class="dot" cx="{place(a, 0):.1f}" cy="{place(b, 1):.1f}" r="2"/>'
        for a, b in zip(x, y, strict=True)
    )
    for a, interval in groups:
        center = place(a, 0)
        top = interval.high if math.isfinite(interval.high) else high[1]
        dots += (
            f'<path class="whisker" d="M{center:.1f} {place(interval.low, 1):.1f}'
            f'V{place(top, 1):.1f}"/><circle class="mean" cx="{center:.1f}" '
            f'cy="{place(interval.value, 1):.1f}" r="4"/>'
        )
    return _frame(caption, low, high, dots)


def _worst(report: SurveyReport) -> str:
    table, figures = worst_table(report), []
    if table is None:
        return ""
    unit = with_symbols(report.outputs[report.file.worst.output].unit)
    for each in report.file.worst.structures:
        about = report.structures[each.label]
        figures.append(
            f'<figure id="{anchor(report, each.label)}">{_drawing(about)}'
            f"<figcaption>{escape(each.label)}, {escape(about.formula)}: "
            f"A = {format_value(each.again)} {escape(unit)}</figcaption></figure>"
        )
    return (
        "<p>The structures that looked worst, twice as many as are listed, were "
        "measured again on new random elements. These values enter no other figure of "
        f"this page.</p>\n{show_table(table)}"
        f'<div class="plots">{"".join(figures)}</div>'
    )


def _drawing(about: Described) -> str:
    """Atoms as circles, seen along the axis of smallest extent, the nearest on top."""
    r = about.positions - about.positions.mean(axis=0)
    axes = np.linalg.svd(r, full_matrices=True)[2] if len(r) > 1 else np.eye(3)
    flat = r @ axes.T
    radii = 0.6 * covalent_radii[about.numbers]
    extent = max(float(np.abs(flat[:, :2]).max(initial=0.0)) + 1.0, 1.5)
    scale = 90 / extent
    marks = "".join(
        f'<circle cx="{100 + scale * flat[index, 0]:.1f}" '
        f'cy="{100 - scale * flat[index, 1]:.1f}" r="{scale * radii[index]:.1f}" '
        f'fill="{_color(about.numbers[index])}" stroke="#444" stroke-width="0.6">'
        f"<title>{chemical_symbols[about.numbers[index]]}</title></circle>"
        for index in np.argsort(flat[:, 2])
    )
    return (
        '<svg role="img" width="200" height="200" viewBox="0 0 200 200" '
        f'aria-label="{escape(about.formula)}">{marks}</svg>'
    )


def _color(number: int) -> str:
    return "#" + "".join(f"{round(255 * c):02x}" for c in jmol_colors[number])


def _structures(report: SurveyReport) -> str:
    pool, names = report.pool, report.own
    ranked = pool.by_item(report.file.worst.output)
    order = np.argsort(-np.nan_to_num(ranked, nan=-np.inf), kind="stable")
    values = [pool.by_item(name) for name in names]
    rows = [
        Row(
            [
                Name(pool.labels[index]),
                report.structures[pool.labels[index]].formula,
                str(int(pool.sizes[index])),
                *(Number(signed_root(own[index]), format_value) for own in values),
            ]
        )
        for index in order[:_MOST_ROWS]
    ]
    columns = ["structure", "formula", "atoms", *(f"A of {name}" for name in names)]
    note = "Click a heading to sort."
    if len(pool.labels) > _MOST_ROWS:
        note += (
            f" The {_MOST_ROWS:,} with the largest estimates of {len(pool.labels):,}; "
            "survey.csv has all."
        )
    return f"<p>{note}</p>\n" + show_table(Table("A by structure", columns, rows))


def _failed(report: SurveyReport) -> str:
    rows = [
        Row([Name(label), Name(message)], good=False)
        for label, message in report.failed.items()
    ]
    return show_table(Table("Structures that failed", ["structure", "message"], rows))
