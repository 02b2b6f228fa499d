"""Names from files and models are text in whatever is written of them."""

import dataclasses
import functools
from io import StringIO

import numpy as np
import pytest
import typer

from symjax._text import visible
from symjax.cli.streams import say
from symjax.diagnose import Check, Diagnosis, Kind, Recommendation
from symjax.diagnose import to_text as diagnosis_text
from symjax.diagnose.probing import probes_figure, probes_to_text
from symjax.diagnose.tracing import Traced, trace_to_text
from symjax.errors import ArgumentError
from symjax.metrics import Decoded, Probes, ResponseSpectrum, Trace
from symjax.models.biases import Biases
from symjax.report import schema, tables
from symjax.report.average_tables import averages_text
from symjax.report.figures import content_figure, error_figure
from symjax.report.html import to_html
from symjax.so3 import Irrep
from tests import fake_report

FORGED = "1/1 b: resolved"
NAMES = [
    f"a\n{FORGED}",
    f"\r{FORGED}",
    f"\u2028{FORGED}",
    "\x1b[2J\x07\x9b31m",
    "\u202egpj.exe\u2066",
    "[/nothing]:smile:",
    "[red]{0}%s$\\frac$$",
    "<b>&amp;'\"",
    "\ud800",
]


def hostile(name):
    report = fake_report.report(layers=1, structures=1, failed=1)

    def renamed(structure):
        leaves = tuple(
            dataclasses.replace(one, name=name + one.name) for one in structure.leaves
        )
        failure = structure.failure and schema.Failure(name, name)
        return dataclasses.replace(
            structure, label=name, leaves=leaves, failure=failure
        )

    return dataclasses.replace(
        report,
        model=schema.ModelInfo(name, "a" * 64),
        structures=tuple(map(renamed, report.structures)),
        command=name,
    )


def printed(make):
    buffer = StringIO()
    tables.print_text(make, buffer)
    return buffer.getvalue()


def averages(name):
    gram = tuple(np.zeros((2, 2 * degree + 1, 2 * degree + 1)) for degree in range(3))
    gram[1][0, 1, 1] = 4.0
    one = ResponseSpectrum(name, "eV", gram, 4.0, 1, 1e-12)
    return printed(functools.partial(averages_text, name, {name: one}))


def traces(name):
    one = Trace((("node_0",),), {name: "eV"}, {name: np.array([2.0, 1.0])}, {})
    traced = {name: Traced(one, "all")}
    return printed(functools.partial(trace_to_text, traced))


def probes(name):
    return Probes({name: {Irrep(1, 1): Decoded(0.9, 0, 0.8)}}, {}, (4, 4), 1)


def survey_line(name):
    buffer = StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typer, "echo", lambda text, err: print(text, file=buffer))
        say(f"{name}: FAILED")
    return buffer.getvalue()


WRITERS = {
    "report": lambda name: tables.to_text(hostile(name), 40),
    "averages": averages,
    "trace": traces,
    "probe": lambda name: printed(functools.partial(probes_to_text, probes(name), {})),
    "diagnosis": lambda name: diagnosis_text(
        Diagnosis(name, (), (Check(Kind.LEAKAGE, 1, name),))
    ),
    "recommendation": lambda name: Recommendation(Biases(), (name,), ()).to_text(),
    "error": lambda name: str(ArgumentError(name, name, name, name)),
    "line": survey_line,
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("writer", WRITERS)
def test_in_text(writer, name):
    text = WRITERS[writer](name)
    # Lines are broken at spaces; an error shows the start of a value as Python does.
    assert "".join(visible(name).split()) in "".join(text.split())
    assert text.replace("\n", "").isprintable()
    assert not any(line.startswith(FORGED) for line in text.splitlines())


@pytest.mark.parametrize("name", NAMES)
def test_on_the_page(name):
    text = to_html(hostile(name))
    assert text.replace("\n", "").replace("\t", "").isprintable()
    assert "<b>&amp;'" not in text


def test_in_figures():
    """Two dollars would be a formula, here one that cannot be read."""
    name = "\u202e$\\frac$"
    for figure in (
        content_figure(hostile(name)),
        error_figure(hostile(name)),
        probes_figure(probes(name)),
    ):
        figure.canvas.draw()
