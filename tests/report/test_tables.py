"""Tables fit, say what is not to be trusted, and need no terminal."""

import dataclasses
import io
import locale
import re

import fake_report
import numpy as np
import pytest

from symjax.report import formats, tables
from symjax.report.scales import Spread


@pytest.mark.parametrize("width", [80, 40])
@pytest.mark.parametrize("layers", [0, 1, 30])
@pytest.mark.parametrize("resolved", [True, False])
def test_fits_without_control_characters(layers, resolved, width):
    report = fake_report.report(
        layers=layers, failed=2, resolved=resolved, max_degree=8, structures=5
    )
    report = named(report, {"energy": "an_output_with_a_long_name_of_many_words"})
    text = tables.to_text(report, width)
    # The digest is one word of 64.
    lines = [line for line in text.splitlines() if report.model.digest not in line]
    assert max(map(len, lines)) <= max(width, 54)
    assert "\x1b" not in text
    assert "\N{HORIZONTAL ELLIPSIS}" not in text


def named(report, names):
    """The report with other names of responses."""

    def rename(leaf):
        return dataclasses.replace(leaf, name=names.get(leaf.name, leaf.name))

    structures = tuple(
        dataclasses.replace(one, leaves=tuple(map(rename, one.leaves)))
        for one in report.structures
    )
    return dataclasses.replace(report, structures=structures)


NUMBER = re.compile(r"(?<![\w.])<?\d+\.?\d*(?:e[+-]\d+)?(?![\w.])")


@pytest.mark.parametrize("width", [20, 33, 40, 60, 80, 200])
def test_no_number_and_no_name_is_cut_at_any_width(width):
    names = {name: f"{name}_with_a_name_that_is_long" for name in OUTPUTS}
    report = named(fake_report.report(layers=4), names)
    whole, text = tables.to_text(report), tables.to_text(report, width)
    numbers = set(NUMBER.findall(table_part(whole)))
    assert numbers
    assert numbers - set(NUMBER.findall(text)) == set()
    for name in names.values():
        assert name in text
        assert name in whole
    for name in report.aggregate():
        assert name in whole


OUTPUTS = ("energy", "forces", "stress")


def table_part(text):
    return text[text.index("Outputs") : text.index("equivariance error:")]


def test_names_are_text():
    forged = "a\n1/1 b: resolved\x1b[2J\u202egpj"
    report = named(fake_report.report(layers=1), {"forces": forged})
    text = tables.to_text(report)
    assert r"a\n1/1 b: resolved\x1b[2J\u202egpj" in text
    assert not set("\x1b\u202e") & set(text)


def test_what_is_below_round_off_is_written_as_such():
    assert formats.format_fraction(-6.5e-8, 4.8e-7) == "<5e-07"
    assert formats.format_fraction(1 - 6e-6) == "1.0000"
    report = fake_report.report(layers=0, structures=1)
    (structure,) = report.structures
    leaf = structure.leaves[1]
    power = leaf.totals.power * 0
    power[:, 1, 0] = leaf.totals.norm * (1 + 1e-8)
    leaf = dataclasses.replace(leaf, totals=leaf.totals._replace(power=power))
    structure = dataclasses.replace(structure, leaves=(leaf,))
    text = tables.to_text(dataclasses.replace(report, structures=(structure,)))
    (row,) = re.findall(r"^forces.*(?=\n)", text, re.MULTILINE)[:1]
    assert row.split()[-3:-1] == ["<5e-07", "<5e-07"]


def test_an_energy_is_not_compared_with_its_own_size():
    """The zero of an energy is arbitrary; its spread per atom is not."""
    report = fake_report.report(layers=0, structures=2)
    spreads = [Spread(1.0, np.array([v]), v**2, 1e-4) for v in (5.0, 7.0)]
    structures = tuple(
        dataclasses.replace(
            one,
            leaves=(dataclasses.replace(one.leaves[0], spread=spread),),
        )
        for one, spread in zip(report.structures, spreads, strict=True)
    )
    text = tables.to_text(dataclasses.replace(report, structures=structures))
    (row,) = re.findall(r"^energy/atom .*$", text, re.MULTILINE)
    # 1e-2 of |5 - 7| / sqrt(2)
    assert row.split() == ["energy/atom", "eV", *ROW]


ROW = ("0.0100", "spread", "1.41", "0.00707")


def test_every_number_has_its_unit():
    text = tables.to_text(fake_report.report(layers=0))
    for name, unit in (
        ("energy", "eV"),
        ("forces", "eV/\xc5"),
        ("stress", "eV/\xc5^3"),
    ):
        rows = re.findall(rf"^{name} +(\S+)", text, re.MULTILINE)
        # the overall table and the one by element
        assert rows == [unit, unit]


def test_numbers_are_those_of_the_added_totals():
    report = fake_report.report(layers=0, structures=3)
    totals = report.aggregate()["forces"].totals
    line = next(
        line for line in tables.to_text(report).splitlines() if line.startswith("force")
    )
    cells = line.split()
    # three significant digits are printed
    assert float(cells[2]) == pytest.approx(totals.equivariance_error, rel=6e-3)
    assert cells[3] == "RMS"
    assert float(cells[4]) == pytest.approx(totals.root_mean_square, rel=6e-3)
    assert float(cells[5]) == pytest.approx(totals.relative_error, rel=6e-3)
    assert float(cells[6]) == pytest.approx(1 - totals.content[1, 0], rel=6e-3)


def test_unresolved_rows_are_loud():
    bad = tables.to_text(fake_report.report(resolved=False))
    assert "NOT RESOLVED, outputs: energy" in bad
    assert "NOT RESOLVED, layers: 2 of 2" in bad
    assert "grid of degree 11" in bad
    assert "NO: 11" in bad
    good = tables.to_text(fake_report.report())
    assert "NOT RESOLVED" not in good
    assert "resolves all 5 responses" in good


def test_failures_are_listed():
    text = tables.to_text(fake_report.report(failed=1))
    assert "1 structure failed" in text
    assert "bad:0: atoms='Si': unknown. Leave out." in text
    nothing = tables.to_text(fake_report.report(structures=0, failed=2))
    assert "2 structures failed" in nothing
    assert "Nothing was measured" in nothing


class _Terminal(io.StringIO):
    def isatty(self):
        return True


def test_color_only_on_a_terminal(monkeypatch):
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    pipe, terminal = io.StringIO(), _Terminal()
    tables.print_report(fake_report.report(), pipe)
    tables.print_report(fake_report.report(), terminal, width=80)
    assert "\x1b[" not in pipe.getvalue()
    assert "\x1b[" in terminal.getvalue()


def test_a_dumb_terminal_of_forty_columns_in_the_c_locale(monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr(locale, "setlocale", lambda category: "C")
    terminal = _Terminal()
    report = fake_report.report()
    tables.print_report(report, terminal)
    text = terminal.getvalue()
    assert text.isascii()
    assert "\x1b" not in text
    digest = report.model.digest
    lines = [line for line in text.splitlines() if digest not in line]
    assert max(map(len, lines)) <= 40


def test_color_is_not_forced_into_a_pipe(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    pipe = io.StringIO()
    tables.print_report(fake_report.report(), pipe)
    assert "\x1b[" not in pipe.getvalue()


def test_output_that_is_ascii_only():
    buffer = io.BytesIO()
    stream = io.TextIOWrapper(buffer, encoding="ascii")
    tables.print_report(fake_report.report(), stream)
    stream.flush()
    assert "eV/angstrom" in buffer.getvalue().decode("ascii")
