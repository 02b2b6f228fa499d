"""A report as one self-contained web page: no network, no library.

Every number of the page comes from ``report.json``: the attribute ``data-at`` of its
element is the JSON pointer (RFC 6901) of the field, and ``value`` has all digits.
"""

import json
from importlib import resources
from pathlib import Path
from typing import Any

from symjax._text import visible
from symjax.report._averages_page import averages_section
from symjax.report._content_map import content_map, map_data
from symjax.report._events_page import (
    cloud_data,
    cloud_viewer,
    event_figures,
    event_list,
    event_sources,
)
from symjax.report._integration import convergence, curve_data, verdicts
from symjax.report._markup import escape, show, show_table, show_unit, what_of
from symjax.report._viewer import atoms_viewer, viewer_data
from symjax.report.contents import (
    elements_table,
    field,
    laws_table,
    layers_of,
    layers_table,
    outputs_of,
    outputs_table,
    structures_table,
)
from symjax.report.formats import format_count, format_value
from symjax.report.provenance import Verdict, provenance, verdict_on
from symjax.report.schema import Report
from symjax.report.storage import write_atomically
from symjax.report.summary import Summary
from symjax.report.table_cells import Number
from symjax.report.worth import in_short, next_step

# Structures that can be looked at one by one; more would make pages of many megabytes.
MOST_STRUCTURES = 40
# The page may run its own script and style, and fetch nothing.
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "img-src data:"
)


def to_html(report: Report) -> str:
    """A report as a self-contained HTML page, in ASCII.

    It has a summary in words; tables with units; a heat map of the content B(l, sigma)
    of every layer and output, over all structures or for one of them; curves of A and B
    against the degree of the grid; the structure, which can be rotated, colored by the
    equivariance error of every atom; verdicts on the integration; and the provenance of
    the numbers. It follows the light or dark mode of the system, fits phones, and works
    with the keyboard. Without JavaScript the tables remain.

    Args:
      report: The report.

    Returns:
      The text of the page.
    """
    leaves = list(report.aggregate().values())
    outputs = [leaf for leaf in leaves if leaf.kind == "output"]
    layers = [leaf for leaf in leaves if leaf.kind != "output"]
    atoms = viewer_data(report, MOST_STRUCTURES)
    # Outputs first: a reader looks at those first.
    chosen = outputs + layers
    curves = curve_data(report, [leaf.name for leaf in chosen], MOST_STRUCTURES)
    clouds = cloud_data(report, MOST_STRUCTURES)
    if report.of_events:
        pictures = [
            ("cloud", "The event in three dimensions", cloud_viewer(clouds)),
            ("sources", "What breaks the symmetry", event_sources(report)),
        ]
        parts = [
            ("figures", "By class, particle and size", event_figures(report)),
            ("events", "Events", event_list(report)),
        ]
    else:
        pictures = [("atoms", "Error of every atom", atoms_viewer(atoms))]
        parts = [
            ("elements", "Outputs by element", show_table(elements_table(report))),
            ("structures", "Structures", _structures(report)),
        ]
    found = layers_of(report) + outputs_of(report)
    content = content_map(report, found, MOST_STRUCTURES)
    curve = convergence(report, chosen, curves)
    verdict = verdict_on(report)
    # A good verdict on the grid at the top would look like praise of the model.
    above, below = "", f"\n{_verdict(verdict)}"
    if not verdict.good:
        above, below = _verdict(verdict), ""
    sections = [
        ("summary", "In short", _facts(report) + below),
        *(pictures if report.of_events else []),
        ("outputs", "Outputs", show_table(outputs_table(report))),
        *(parts if report.of_events else []),
        ("averages", "Averages over rotations", averages_section(report)),
        ("laws", "Other laws of nature", _laws(report)),
        ("content", "Content by irrep", content),
        ("layers", "Layers", show_table(layers_table(report))),
        ("convergence", "Convergence with the grid", curve),
        *([] if report.of_events else [*pictures, parts[0]]),
        ("integration", "Integration over O(3)", verdicts(leaves)),
        *([] if report.of_events else parts[1:]),
        ("provenance", "Where the numbers come from", _provenance(report)),
    ]
    data = {
        "map": map_data(report, found, MOST_STRUCTURES),
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
{_failures(report)}{above}
</header>
<main id="main">
{"".join(_section(*section) for section in sections)}</main>
<footer>
{_DEFINITIONS}</footer>
<script type="application/json" id="data">{payload}</script>
<script>
{_asset("report.js")}{_asset("tables.js")}</script>
</body>
</html>
"""
    return page.encode("ascii", "xmlcharrefreplace").decode("ascii")


def save_html(report: Report, path: str | Path) -> None:
    """Writes the page of a report atomically.

    Args:
      report: The report.
      path: The file to write; its folder must exist.

    Raises:
      ReportError: The file cannot be written.
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
equivariant, 1 is no symmetry at all. An energy has an arbitrary zero, so it is compared
with its spread over all structures, or with kT. <b>1 - B</b>: what is not in the
irreps of the output; &lt; is below round-off. <b>B(l, &sigma;)</b>: fraction of the
response that transforms as the irrep of degree l; &sigma; = + for tensors, &minus; for
pseudotensors; the fractions and the remainder above the largest degree sum to 1.
Features of layers carry no representation: their A is the distance from invariance, in
the units of the features, and B is what they carry.</p>
<p>Domina, Abbott, Pegolo, Bigi, Ceriotti, <i>How unconstrained machine-learning models
learn physical symmetries</i>, arXiv:2603.24638.</p>
"""


def _visible(value: Any) -> Any:
    """The data of the page, with all names made printable."""
    if isinstance(value, dict):
        return {visible(key): _visible(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_visible(entry) for entry in value]
    return visible(value) if isinstance(value, str) else value


def _asset(name: str) -> str:
    folder = resources.files("symjax.report") / "assets"
    return (folder / name).read_text(encoding="ascii")


def _section(name: str, title: str, content: str) -> str:
    if not content:
        return ""
    heading = f'<h2 id="{name}-title">{escape(title)}</h2>'
    # A caption that says what stands above it.
    content = content.replace(f"<caption>{escape(title)}</caption>", "")
    content = content.replace(f"<caption>{escape(title)}, ", "<caption>")
    return (
        f'<section id="{name}" aria-labelledby="{name}-title">\n{heading}\n{content}\n'
        "</section>\n"
    )


def _named(report: Report) -> str:
    measured = report.measured
    if len(measured) == 1:
        return measured[0].label
    return f"{len(measured)} {what_of(report)}"


def _failures(report: Report) -> str:
    failed = len(report.failed)
    if not failed:
        return ""
    count = f"{failed} of {len(report.structures)} {what_of(report)} failed"
    return (
        f'<p class="verdict bad"><strong>{count}</strong>; all numbers are of the '
        "others.</p>\n"
    )


def _verdict(verdict: Verdict) -> str:
    first, *others = map(escape, verdict.lines)
    bad = "" if verdict.good else " bad"
    text = " ".join(others)
    return f'<p class="verdict{bad}"><strong>{first}</strong> {text}</p>'


def _facts(report: Report) -> str:
    if not report.measured:
        return ""
    outputs, layers = outputs_of(report), layers_of(report)
    at = ("settings", "num_elements")
    elements = show(Number(report.settings.num_elements, format_count, at))
    varies = report.settings.symmetry or report.settings.adaptive
    most = "at most " if varies else ""
    facts = [
        f"The model was evaluated at {most}{elements} rotations and reflections of "
        f"{escape(_named(report))}, in {escape(report.settings.dtype)}."
    ]
    for leaf in outputs:
        error = show(field(leaf, "equivariance_error"))
        unit = f" {show_unit(leaf.unit)}" if leaf.unit else ""
        facts.append(
            f"<b>{escape(leaf.name)}</b>: rotating the input changes a component by "
            f"{error}{unit} (root mean square), {_against(report, leaf)}."
        )
    facts += [f"{escape(line)}" for line in in_short(report.aggregate().values())]
    step = next_step(report)
    facts += [f"<b>{escape(step)}</b>"] if step else []
    by_error = sorted(layers, key=lambda leaf: leaf.relative_error)
    if len(by_error) > 1:
        ends = [
            f"<b>{escape(leaf.name)}</b> "
            f"({show(field(leaf, 'relative_error', _percent))})"
            for leaf in (by_error[0], by_error[-1])
        ]
        facts.append(
            f"Of {len(layers)} layers, {ends[0]} is nearest to invariance and "
            f"{ends[1]} is furthest from it."
        )
    items = "\n".join(f"<li>{fact}</li>" for fact in facts)
    return f'<ul class="facts">\n{items}\n</ul>'


def _against(report: Report, leaf: Summary) -> str:
    """What the error of an output is compared with, in words."""
    share = show(field(leaf, "ratio", _percent))
    error = ""
    if leaf.per_atom and leaf.ratio is not None:
        error = (
            f"{show(field(leaf, 'error_per_atom'))} {show_unit(leaf.unit)} per atom, "
        )
    return {
        "RMS": f"{share} of its size",
        "spread": f"{error}{share} of its spread over {what_of(report)}",
        "kT": f"{share} of kT at 300 K",
        "forbidden by symmetry": "where the symmetry of the structures allows nothing",
        "round-off": "which is round-off",
        "zero": "as its response is zero",
        "one value": "of which one value is known, and nothing to compare it with",
    }[leaf.compared_with]


def _percent(value: float) -> str:
    return f"{format_value(100 * value)} %"


def _structures(report: Report) -> str:
    table = show_table(structures_table(report))
    return f'<p class="needs-js">Click a heading to sort.</p>\n{table}'


def _laws(report: Report) -> str:
    table = show_table(laws_table(report))
    return table and (
        "<p>Predictions should not change under translations, permutations of like "
        "atoms, and another choice of cell for the same crystal, and forces should be "
        "minus the gradient of the energy. A law holds if the deviation is within five "
        "times the error of the check.</p>\n" + table
    )


def _provenance(report: Report) -> str:
    code = ("command", "SHA-256", "layers")
    items = []
    for name, value in provenance(report).items():
        text = f"<code>{escape(value)}</code>" if name in code else escape(value)
        items.append(f"<dt>{escape(name)}</dt><dd>{text}</dd>")
    return "<dl>\n" + "\n".join(items) + "\n</dl>"
