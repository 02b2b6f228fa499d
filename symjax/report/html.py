"""A report as one web page that needs nothing else: no network, no library.

Every number of the page is taken from the object of ``report.json``, and its element
names the field in ``data-at``, a JSON pointer (RFC 6901), and the value in full.
"""

import functools
import json
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

from symjax._text import visible
from symjax.report._curves import curve_data
from symjax.report._events_page import (
    cloud_data,
    cloud_viewer,
    event_figures,
    event_list,
    event_sources,
)
from symjax.report._integration import convergence, verdicts
from symjax.report._markup import (
    SCROLLS,
    escape,
    make_table,
    show_resolved,
    show_unit,
    what_of,
)
from symjax.report._viewer import viewer_data
from symjax.report.laws import law_section
from symjax.report.scales import content_floor, remainder_floor
from symjax.report.schema import (
    Leaf,
    Report,
    StructureReport,
    head_to_json,
    structure_to_json,
    write_atomically,
)
from symjax.report.tables import (
    NO_SCALE,
    forces_line,
    format_fraction,
    format_value,
    grid_line,
    precision_line,
    seed_line,
    tolerance_line,
)

# Logarithmic colors end here, as in the figures: round-off of float32.
_DECADES = 8
# Structures that can be looked at one by one; more would make pages of many megabytes.
_MOST_STRUCTURES = 40
_CELL, _ROW, _GAP, _TOP = 32, 22, 14, 48
# The page may run its own script and style, and fetch nothing.
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "img-src data:"
)

Number = Callable[..., str]


def to_html(report: Report) -> str:
    """A report as a self-contained HTML page.

    A summary in plain words; tables with units; a heat map of the content
    B(l, sigma) of every layer and output, over all structures or one of them; curves
    of A and B against the degree of the grid; the equivariance error of every atom on
    the structure, which can be turned; verdicts of the integration; and where the
    numbers come from. Light or dark as the reader's
    system is, for phones and desks, and usable from the keyboard. Without JavaScript
    the tables remain.

    Args:
      report: The report.

    Returns:
      The page, in ASCII.

    Example:
      >>> from symjax.report import schema
      >>> from symjax.report.html import to_html
      >>> report = schema.Report(
      ...     schema.Software("0.1.0", "0.10", "cpu"), schema.ModelInfo("<pet>", "ab"),
      ...     schema.Settings(6, "lebedev 13 x 14", 13, 2072, "all", "float32", 0.05),
      ...     ())
      >>> page = to_html(report)
      >>> page.startswith("<!doctype html>"), "<pet>" in page
      (True, False)
    """
    leaves = list(report.aggregate().values())
    outputs = [leaf for leaf in leaves if leaf.kind == "output"]
    layers = [leaf for leaf in leaves if leaf.kind != "output"]
    atoms = viewer_data(report, _MOST_STRUCTURES)
    # Outputs first: a reader looks at those first.
    chosen = outputs + layers
    curves = curve_data(report, [leaf.name for leaf in chosen], _MOST_STRUCTURES)
    number = _numbers(_shown(report, [entry["index"] for entry in atoms[:1]]))
    clouds = cloud_data(report, _MOST_STRUCTURES)
    if report.of_events:
        pictures = [
            ("cloud", "The event in three dimensions", cloud_viewer(clouds)),
            ("sources", "What breaks the symmetry", event_sources(report, number)),
        ]
        parts = [
            ("figures", "By class, particle and size", event_figures(report, number)),
            ("events", "Events", event_list(report, number)),
        ]
    else:
        pictures = [("atoms", "Error of every atom", _viewer(report, atoms, number))]
        parts = [
            ("elements", "Outputs by element", _elements(report, outputs)),
            ("structures", "Structures", _structures(report, outputs, number)),
        ]
    content = _content(report, layers + outputs, number)
    curve = convergence(report, chosen, curves)
    verdict = _verdict(report, leaves)
    # What speaks of the grid must not open the page as if it praised the model.
    good = not report.failed and bool(leaves) and all(leaf.resolved for leaf in leaves)
    below = f"\n{verdict}" if good else ""
    sections = [
        ("summary", "In short", _facts(report, outputs, layers, number) + below),
        *(pictures if report.of_events else []),
        ("outputs", "Outputs", _outputs(report, outputs, number)),
        *(parts if report.of_events else []),
        ("laws", "Other laws of nature", law_section(report, format_value)),
        ("content", "Content by irrep", content),
        ("layers", "Layers", _layers(report, layers, number)),
        ("convergence", "Convergence with the grid", curve),
        *([] if report.of_events else [*pictures, parts[0]]),
        ("integration", "Integration over O(3)", verdicts(leaves)),
        *([] if report.of_events else parts[1:]),
        ("provenance", "Where the numbers come from", _provenance(report)),
    ]
    data = {
        "map": _map_data(report, layers + outputs),
        "curves": curves,
        "atoms": atoms,
        "clouds": clouds,
    }
    # "<" would let a name end the element; as an escape it is the same JSON.
    payload = json.dumps(_visible(data)).replace("<", "\\u003c")
    title = f"Symmetry report: {report.model.name}"
    page = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>{escape(title)}</title>
<style>
{_asset("report.css")}</style>
</head>
<body>
<a class="skip" href="#main">Skip to the numbers</a>
<header>
<h1>{escape(report.model.name)}
<small>symmetry report on {escape(_named(report))}</small></h1>
{"" if good else verdict}
</header>
<main id="main">
{"".join(_section(*section) for section in sections)}</main>
<footer>
{_DEFINITIONS}</footer>
<script type="application/json" id="data">{payload}</script>
<script>
{_asset("report.js")}{_asset("sort.js")}</script>
</body>
</html>
"""
    return page.encode("ascii", "xmlcharrefreplace").decode("ascii")


def save_html(report: Report, path: str | Path) -> None:
    """Writes the page of a report atomically.

    Args:
      report: The report.
      path: The file; its folder must exist.

    Raises:
      ReportError: The file cannot be written.

    Example:
      >>> import pathlib, tempfile
      >>> from symjax.report import schema
      >>> from symjax.report.html import save_html
      >>> report = schema.Report(
      ...     schema.Software("0.1.0", "0.10", "cpu"), schema.ModelInfo("pet", "ab"),
      ...     schema.Settings(6, "lebedev 13 x 14", 13, 2072, "all", "float32", 0.05),
      ...     ())
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = pathlib.Path(folder) / "report.html"
      ...     save_html(report, path)
      ...     path.stat().st_size > 1000
      True
    """
    text = to_html(report)
    write_atomically(
        Path(path),
        lambda part: part.write_text(text, encoding="ascii"),
        lambda: len(text),
    )


_DEFINITIONS = """<p><b>A</b>, the equivariance error: root-mean-square deviation of a
component of the prediction, rotated back, from its mean over O(3).
<b>A/RMS</b>: the same over the root mean square of the response; 0 is exactly
equivariant, 1 is no symmetry at all. An energy has an arbitrary zero, and is compared
with its spread over all that was measured or with kT. <b>1 - B</b>: what is not in the
irreps of the output; &lt; is below round-off. <b>B(l, &sigma;)</b>: fraction of the
response that transforms as the irrep of degree l; &sigma; = + for tensors, &minus; for
pseudotensors; the fractions and the remainder above the largest degree sum to 1.
Features of layers carry no representation: their A is the distance from invariance, in
the units of the features, and B is what they carry.</p>
<p>Domina, Abbott, Pegolo, Bigi, Ceriotti, <i>How unconstrained machine-learning models
learn physical symmetries</i>, arXiv:2603.24638.</p>
"""


def _visible(value: Any) -> Any:
    """The data of the page with all names as they can be shown."""
    if isinstance(value, dict):
        return {visible(key): _visible(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_visible(entry) for entry in value]
    return visible(value) if isinstance(value, str) else value


def _asset(name: str) -> str:
    folder = resources.files("symjax.report") / "assets"
    return (folder / name).read_text(encoding="ascii")


def _shown(report: Report, whole: list[int]) -> dict[str, Any]:
    """The report's object, with the leaves and atoms of some structures only."""
    structures = list(report.overview)
    for index in whole:
        structures[index] = report.structures[index]
    return head_to_json(report) | {
        "structures": [structure_to_json(structure) for structure in structures]
    }


def _numbers(value: Any) -> Number:
    """Writes a number of the report's object, found by its path."""

    def number(*path: str | int, form: Callable[[float], str] = format_value) -> str:
        found = value
        for key in path:
            found = found[key]
        steps = [str(key).replace("~", "~0").replace("/", "~1") for key in path]
        at = escape("/" + "/".join(steps))
        return f'<data value="{found!r}" data-at="{at}">{escape(form(found))}</data>'

    return number


def _percent(value: float) -> str:
    return f"{format_value(100 * value)} %"


def _count(value: float) -> str:
    return f"{value:,}"


def _section(name: str, title: str, content: str) -> str:
    if not content:
        return ""
    heading = f'<h2 id="{name}-title">{escape(title)}</h2>'
    return (
        f'<section id="{name}" aria-labelledby="{name}-title">\n{heading}\n{content}\n'
        "</section>\n"
    )


def _named(report: Report) -> str:
    measured = report.measured
    if len(measured) == 1:
        return measured[0].label
    return f"{len(measured)} {what_of(report)}"


def _verdict(report: Report, leaves: list[Leaf]) -> str:
    failed = len(report.failed)
    more = ""
    if failed:
        count = f"{failed} of {len(report.structures)} {what_of(report)} failed."
        more = f" <strong>{count}</strong>"
    if not leaves:
        return (
            f'<p class="verdict bad"><strong>Nothing was measured.</strong>{more}</p>'
        )
    bad = [leaf for leaf in leaves if not leaf.resolved]
    if not bad:
        kind = " bad" if failed else ""
        how = f"The grid resolves all {len(leaves)} responses"
        if report.settings.adaptive:
            how = f"The accuracy of all {len(leaves)} responses is certified"
        return (
            f'<p class="verdict{kind}"><strong>Resolved.</strong> {how}: these '
            "numbers are integrals over O(3), whatever they say of the model."
            f"{more}</p>"
        )
    degree = max(leaf.convergence.degree_to_try for leaf in bad if leaf.convergence)
    return (
        f'<p class="verdict bad"><strong>Not resolved:</strong> {len(bad)} of '
        f"{len(leaves)} responses. Do not quote the numbers in red; repeat with "
        f"<code>--grid {degree}</code>.{more}</p>"
    )


def _facts(
    report: Report, outputs: list[Leaf], layers: list[Leaf], number: Number
) -> str:
    if not report.measured:
        return ""
    elements = number("settings", "num_elements", form=_count)
    varies = report.settings.symmetry or report.settings.adaptive
    most = "at most " if varies else ""
    facts = [
        f"The model was evaluated at {most}{elements} rotations and reflections of "
        f"{escape(_named(report))}, in {escape(report.settings.dtype)}."
    ]
    for leaf in outputs:
        at = ("summary", leaf.name)
        error = number(*at, "equivariance_error")
        unit = f" {show_unit(leaf.unit)}" if leaf.unit else ""
        facts.append(
            f"<b>{escape(leaf.name)}</b>: turning the input changes a component by "
            f"{error}{unit} (root mean square), {_against(report, leaf, number)}."
        )
    by_error = sorted(layers, key=lambda leaf: leaf.totals.relative_error)
    if len(by_error) > 1:
        ends = [
            f"<b>{escape(leaf.name)}</b> "
            f"({number('summary', leaf.name, 'relative_error', form=_percent)})"
            for leaf in (by_error[0], by_error[-1])
        ]
        facts.append(
            f"Of {len(layers)} layers, {ends[0]} is nearest to invariance and "
            f"{ends[1]} is furthest from it."
        )
    if outputs and not report.of_events:
        facts.append(
            "What next: <code>symjax averages</code> tells which average over "
            "rotations makes these errors smaller, and what it costs; <code>symjax "
            "diagnose</code> on a report with layers looks for their causes."
        )
    items = "\n".join(f"<li>{fact}</li>" for fact in facts)
    return f'<ul class="facts">\n{items}\n</ul>'


def _against(report: Report, leaf: Leaf, number: Number) -> str:
    """What the error of an output is compared with, in words."""
    against = leaf.comparison(report.settings.dtype)
    at = ("summary", leaf.name)
    share = "" if against.ratio is None else number(*at, "ratio", form=_percent)
    error = ""
    if against.per_atom and against.ratio is not None:
        error = f"{number(*at, 'error_per_atom')} {show_unit(leaf.unit)} per atom, "
    return {
        "RMS": f"{share} of its size",
        "spread": f"{error}{share} of its spread over {what_of(report)}",
        "kT": f"{share} of kT at 300 K",
        "forbidden by symmetry": "where the symmetry of the structures allows nothing",
        "round-off": "which is round-off",
        "zero": "as its response is zero",
        "one value": "of which one value is known, and nothing to compare it with",
    }[against.scale]


def _outputs(report: Report, outputs: list[Leaf], number: Number) -> str:
    rows = []
    above = _above(report)
    for leaf in outputs:
        at = ("summary", leaf.name)
        cells = [
            escape(leaf.name),
            show_unit(leaf.unit) or "-",
            number(*at, "equivariance_error"),
            _against(report, leaf, number),
            number(*at, "root_mean_square"),
            f"{number(*at, 'missing', form=above)} "
            f"({escape('+'.join(dict.fromkeys(leaf.irreps)))})",
            number(*at, "remainder", form=above),
            show_resolved(leaf),
        ]
        rows.append((cells, leaf.resolved))
    columns = ["output", "unit", "A", "compared", "RMS", "1 - B", "B above"]
    caption = f"All {what_of(report)} together"
    return make_table(caption, [*columns, "resolved"], rows)


def _above(report: Report) -> Callable[[float], str]:
    """How a fraction is written that is a difference from 1."""
    floor = remainder_floor(report.settings.dtype)
    return lambda value: format_fraction(value, floor)


def _layers(report: Report, layers: list[Leaf], number: Number) -> str:
    rows = []
    above = _above(report)
    for leaf in layers:
        at = ("summary", leaf.name)
        share = min(leaf.totals.relative_error, 1.0)
        bar = f'<span class="bar"><i style="width:{100 * share:.2f}%"></i></span>'
        cells = [
            # Names of layers break behind their dots.
            escape(leaf.name).replace(".", ".<wbr>"),
            number(*at, "relative_error"),
            number(*at, "equivariance_error"),
            bar,
            number(*at, "remainder", form=above),
            show_resolved(leaf),
        ]
        rows.append((cells, leaf.resolved))
    columns = ["layer", "A/RMS", "A", "A/RMS, 0 to 1", "B above", "resolved"]
    return make_table("Distance of features from invariance", columns, rows)


def _columns(degree: int) -> list[str]:
    """Names of the columns of the heat map, in the order of its cells."""
    plus, minus = (
        [f"B({degree}, {sign})" for degree in range(degree + 1)]
        for sign in ("+", "\N{MINUS SIGN}")
    )
    return [*plus, *minus, f"B above degree {degree}"]


def _row_values(leaf: Leaf) -> list[float]:
    content = leaf.totals.content
    return [*content[:, 0].tolist(), *content[:, 1].tolist(), leaf.totals.remainder]


def _map_data(report: Report, leaves: list[Leaf]) -> dict[str, Any]:
    sets: list[dict[str, Any]] = [
        {"label": "all", "values": [_row_values(leaf) for leaf in leaves]}
    ]
    if 1 < len(report.measured) <= _MOST_STRUCTURES:
        for structure in report.measured:
            known = {leaf.name: _row_values(leaf) for leaf in structure.leaves}
            sets.append(
                {
                    "label": structure.label,
                    "values": [known.get(leaf.name) for leaf in leaves],
                }
            )
    return {
        "columns": _columns(report.settings.max_degree),
        "rows": [leaf.name for leaf in leaves],
        "decades": _DECADES,
        "sets": sets,
    }


def _content(report: Report, leaves: list[Leaf], number: Number) -> str:
    """The heat map, and its numbers as a table."""
    if not leaves:
        return ""
    settings = report.settings
    degrees = range(settings.max_degree + 1)
    floors = [
        content_floor(degree, settings.num_elements, settings.dtype)
        for degree in degrees
    ]
    rows = []
    for leaf in leaves:
        at = ("summary", leaf.name)
        cells = [escape(leaf.name)]
        cells += [
            number(
                *at,
                *("content", degree, sign),
                form=functools.partial(format_fraction, floor=floors[degree]),
            )
            for sign in (0, 1)
            for degree in degrees
        ]
        cells.append(number(*at, "remainder", form=_above(report)))
        rows.append((cells, leaf.resolved))
    columns = ["response", *(f"{n}+" for n in degrees)]
    columns += [f"{n}&minus;" for n in degrees] + ["above"]
    table = make_table(
        f"Content B(l, sigma), all {what_of(report)} together", columns, rows
    )
    return (
        f"{_heat_map(report, leaves)}\n<details><summary>The numbers as a table"
        f"</summary>\n{table}</details>"
    )


def _heat_map(report: Report, leaves: list[Leaf]) -> str:
    """Names at the left, which stay; cells at the right, which scroll."""
    count = report.settings.max_degree + 1
    # Left edges of the columns: two groups and the remainder, with gaps.
    edges = [_CELL * c + _GAP * (c >= count) for c in range(2 * count)]
    edges.append(2 * count * _CELL + 2 * _GAP)
    width, height = edges[-1] + _CELL + 24, _TOP + _ROW * len(leaves)
    parts = [
        f'<text class="group" x="{edges[start]}" y="14">\u03c3 = {sign}</text>'
        for start, sign in ((0, "+"), (count, "\N{MINUS SIGN}"))
    ]
    names = [*range(count), *range(count), f"> {count - 1}"]
    parts += [
        f'<text x="{edge + _CELL / 2:g}" y="38">{escape(name)}</text>'
        for edge, name in zip(edges, names, strict=True)
    ]
    paths = [
        *(f"content/{degree}/{sign}" for sign in (0, 1) for degree in range(count)),
        "remainder",
    ]
    for row, leaf in enumerate(leaves):
        base = leaf.name.replace("~", "~0").replace("/", "~1")
        for edge, value, path in zip(edges, _row_values(leaf), paths, strict=True):
            opacity = min(max(value, 0.0), 1.0)
            at = escape(f"/summary/{base}/{path}")
            parts.append(
                f'<rect class="cell" x="{edge}" y="{_TOP + _ROW * row}" '
                f'width="{_CELL}" height="{_ROW}" fill-opacity="{opacity:.3f}" '
                f'data-value="{value!r}" data-at="{at}"/>'
            )
    parts.append('<rect class="cursor" visibility="hidden"/>')
    rows = "\n".join(
        f'<li class="{leaf.kind}{"" if leaf.resolved else " bad"}" '
        f'title="{escape(leaf.name)}"><bdi>{escape(leaf.name)}</bdi></li>'
        for leaf in leaves
    )
    drawing = "\n".join(parts)
    return f"""<p>Fraction of every response that transforms as the irrep of degree l,
tensors (&sigma; = +) and pseudotensors (&sigma; = &minus;). An invariant has
B(0, +) = 1, a force B(1, +) = 1.</p>
<div class="controls"><fieldset><legend>Colors</legend>
<label><input type="radio" name="scale" value="log" checked> logarithmic</label>
<label><input type="radio" name="scale" value="linear"> linear</label></fieldset>
{_choice(report)}
<span class="scale"><span id="map-low">0</span><span class="ramp"></span>1</span></div>
{SCROLLS}
<div class="map"><ol id="map-rows">
{rows}
</ol>
<div class="scroll"><svg id="map" width="{width}" height="{height}" tabindex="0"
role="application" aria-label="Heat map of the content, {len(leaves)} rows; arrow keys
move, the value is read out" aria-describedby="map-readout">
{drawing}
</svg></div></div>
<p class="readout needs-js" id="map-readout" role="status">Point at or tap a cell,
or use the arrow keys.</p>"""


def _choice(report: Report) -> str:
    if not 1 < len(report.measured) <= _MOST_STRUCTURES:
        return ""
    options = ["all together", *(structure.label for structure in report.measured)]
    items = "".join(
        f'<option value="{index}">{escape(label)}</option>'
        for index, label in enumerate(options)
    )
    what = what_of(report).capitalize()
    return f'<label>{what} <select id="map-structure">{items}</select></label>'


def _viewer(report: Report, atoms: list[dict[str, Any]], number: Number) -> str:
    if not atoms:
        return ""
    choices = ""
    if len(atoms) > 1:
        items = "".join(
            f'<option value="{index}">{escape(entry["label"])}</option>'
            for index, entry in enumerate(atoms)
        )
        choices += f'<label>Structure <select id="atoms-structure">{items}</select>'
        choices += "</label>"
    outputs = dict.fromkeys(o["name"] for entry in atoms for o in entry["outputs"])
    if len(outputs) > 1:
        items = "".join(f"<option>{escape(name)}</option>" for name in outputs)
        choices += f'<label>Output <select id="atoms-output">{items}</select></label>'
    first = atoms[0]
    output = first["outputs"][0]
    at = ("structures", first["index"], "atoms", "errors", output["name"])
    rows = "\n".join(
        f'<tr><th scope="row">{escape(symbol)} {index}</th>'
        f"<td>{number(*at, index)}</td><td></td></tr>"
        for index, symbol in enumerate(first["symbols"])
    )
    return f"""<p>Equivariance error A of <b>{escape(", ".join(outputs))}</b>: how far
the prediction for each atom, rotated back, is from its mean over O(3).</p>
<div class="controls">{choices}</div>
<div class="viewer">
<figure class="needs-js"><canvas id="atoms-canvas" tabindex="0" role="application"
aria-label="The structure, colored by error. Arrow keys turn it, plus and minus zoom, n
and p step through the atoms" aria-describedby="atoms-readout"></canvas>
<figcaption class="soft">Drag to turn; keys: arrows, + and &minus;, n and p.
<span class="scale">0 <span class="heat"></span> <span id="atoms-high"></span></span>
</figcaption>
<p class="readout" id="atoms-readout" role="status"></p></figure>
<div class="list scroll tall" tabindex="0" role="region" aria-label="Errors of atoms">
<table><thead><tr><th scope="col" class="left">atom</th>
<th scope="col">A (<span id="atoms-unit">{escape(output["unit"])}</span>)</th>
<td></td></tr>
</thead><tbody id="atoms-rows">
{rows}
</tbody></table></div>
</div>"""


def _ratio(report: Report, leaf: Leaf, species: str) -> str:
    against = leaf.comparison(report.settings.dtype, species)
    if against.ratio is not None:
        return format_value(against.ratio)
    return NO_SCALE.get(against.scale, "-")


def _elements(report: Report, outputs: list[Leaf]) -> str:
    rows = []
    for leaf in outputs:
        for symbol, totals in leaf.species.items():
            cells = [
                escape(leaf.name),
                escape(symbol),
                show_unit(leaf.unit) or "-",
                format_value(totals.equivariance_error),
                _ratio(report, leaf, symbol),
                format_value(totals.root_mean_square),
            ]
            rows.append((cells, leaf.resolved))
    columns = ["output", "element", "unit", "A", "A/RMS", "RMS"]
    return make_table("Sums over the atoms of one element", columns, rows)


def _structures(report: Report, outputs: list[Leaf], number: Number) -> str:
    rows = []
    # One after another: many structures stay on disk.
    for index, structure in enumerate(report.structures):
        at = ("structures", index)
        failure = structure.failure
        seconds = ["-", "-"]
        if structure.timing is not None:
            seconds = [
                number(*at, "timing", name, form=lambda s: f"{s:.1f} s")
                for name in ("compile_seconds", "evaluation_seconds")
            ]
        cells = [
            escape(structure.label),
            escape(structure.formula),
            number(*at, "num_atoms", form=_count),
            *_errors(structure, outputs),
            number(*at, "num_elements", form=_count),
            escape(structure.point_group or "-"),
            *([escape(structure.grid or "-")] if report.settings.adaptive else []),
            *seconds,
            "measured" if failure is None else escape(failure.message),
        ]
        rows.append((cells, failure is None))
    columns = [
        *("label", "formula", "atoms"),
        *(f"A of {escape(_with_unit(leaf))}" for leaf in outputs),
        *("elements of O(3)", "point group"),
        *(["grid"] if report.settings.adaptive else []),
        *("compiling", "evaluating", "state"),
    ]
    table = make_table("In the order in which they were given", columns, rows)
    return f'<p class="needs-js">Click a heading to sort.</p>\n{table}'


def _errors(structure: StructureReport, outputs: list[Leaf]) -> list[str]:
    """A of a structure, by output; a dash where it has no such output."""
    own = {leaf.name: leaf.totals.equivariance_error for leaf in structure.leaves}
    return [
        format_value(own[leaf.name]) if leaf.name in own else "-" for leaf in outputs
    ]


def _with_unit(leaf: Leaf) -> str:
    unit = show_unit(leaf.unit)
    return f"{leaf.name} ({unit})" if unit else leaf.name


def _provenance(report: Report) -> str:
    settings, software = report.settings, report.software
    entries = {
        "command": report.command or "not recorded (written from Python, or before)",
        "model": report.model.name,
        "model, SHA-256": report.model.digest,
        **({"evaluated": report.model.note} if report.model.note else {}),
        "grid": grid_line(settings),
        "seed": seed_line(settings),
        "content": f"through degree {settings.max_degree}",
        **({"forces": forces_line(settings)} if forces_line(settings) else {}),
        "layers": settings.layers,
        "precision": precision_line(settings),
        "tolerance": tolerance_line(settings),
        "point groups": "used" if settings.symmetry else "not used",
        "software": f"symjax {software.symjax}, JAX {software.jax} on "
        f"{software.platform}",
    }
    code = ("command", "model, SHA-256", "layers")
    if report.of_events:
        del entries["point groups"]
        entries["points that are read"] = settings.points
    items = []
    for name, value in entries.items():
        text = f"<code>{escape(value)}</code>" if name in code else escape(value)
        items.append(f"<dt>{escape(name)}</dt><dd>{text}</dd>")
    return "<dl>\n" + "\n".join(items) + "\n</dl>"
