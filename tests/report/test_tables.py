"""Tables fit, say what is not to be trusted, and need no terminal."""

import io
import re

import fake_report
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from symjax.report import tables


@pytest.mark.parametrize("layers", [0, 1, 30])
@pytest.mark.parametrize("resolved", [True, False])
def test_fits_in_80_columns_without_control_characters(layers, resolved):
    report = fake_report.report(
        layers=layers, failed=2, resolved=resolved, max_degree=8, structures=5
    )
    text = tables.to_text(report)
    assert max(map(len, text.splitlines())) <= 80
    assert "\x1b" not in text
    # nothing is cut off
    assert "\N{HORIZONTAL ELLIPSIS}" not in text
    joined = re.sub(r"\s", "", text)
    for name in report.aggregate():
        assert name in joined or name.split(".")[-1] in joined


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
    assert float(cells[3]) == pytest.approx(totals.relative_error, rel=6e-3)
    assert float(cells[4]) == pytest.approx(totals.root_mean_square, rel=6e-3)
    assert float(cells[5]) == pytest.approx(totals.content[1, 0], rel=6e-3)


def test_unresolved_rows_are_loud():
    bad = tables.to_text(fake_report.report(resolved=False))
    assert "NOT RESOLVED, outputs: energy" in bad
    assert "NOT RESOLVED, layers: 2 of 2" in bad
    assert "--grid 11" in bad
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
    assert "eV/angstr" in buffer.getvalue().decode("ascii")


@given(st.floats(1e-14, 1e14))
def test_format_value_keeps_three_digits(value):
    text = tables.format_value(value)
    assert float(text) == pytest.approx(value, rel=5.1e-3)
    assert len(text) <= 9


@given(st.floats(0, 1))
def test_format_fraction_keeps_both_ends(value):
    text = tables.format_fraction(value)
    assert len(text) <= 8
    if text.startswith("1-"):
        assert float(text[2:]) == pytest.approx(1 - value, rel=0.51)
    else:
        # four decimals, or two digits for small fractions
        assert float(text) == pytest.approx(value, rel=5.1e-2, abs=1e-15)


@given(
    st.text("abc._0", min_size=1, max_size=60),
    st.integers(8, 40),
)
def test_break_name_loses_nothing(name, width):
    lines = tables.break_name(name, width).split("\n")
    assert all(len(line) <= width for line in lines)
    joined = lines[0] + "".join(line.removeprefix("  ") for line in lines[1:])
    assert joined == name


def test_top_sectors_are_sorted():
    totals = fake_report.totals(np.random.default_rng(1), "feature", 5)
    values = [value for _, value in tables.top_sectors(totals, 6)]
    assert values == sorted(values, reverse=True)
    assert sum(values) + totals.remainder == pytest.approx(1, abs=1e-12)
