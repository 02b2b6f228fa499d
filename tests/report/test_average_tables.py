"""Averages in the terminal: numbers, and what the measured degrees do not tell."""

import numpy as np

from symjax.metrics import ResponseSpectrum
from symjax.report.average_tables import averages_table, averages_text
from symjax.report.layout import Display


def spectrum(name, variance, inside):
    """A part of degree 2, and the rest above all degrees."""
    gram = tuple(np.zeros((2, size, size)) for size in (1, 3, 5))
    gram[2][0, 2, 2] = inside
    return ResponseSpectrum(name, "eV", gram, variance, 1, 1e-12)


def test_rows_fall_from_the_output_as_it_is():
    table = averages_table("title", {"energy": spectrum("energy", 4.0, 4.0)})
    first, *others = [[str(cell) for cell in row.cells] for row in table.rows]
    assert first[:4] == ["energy", "as it is", "1", "2.00"]
    assert others
    shares = [float(row[-1].lstrip("<")) for row in others]
    assert shares == sorted(shares, reverse=True)
    assert shares[-1] < 1e-6
    loud = averages_table("title", {"energy": spectrum("energy", 4.0, 4.0)}, ["energy"])
    assert not any(row.good for row in loud.rows)


def test_an_error_below_its_uncertainty_is_shown_as_a_bound():
    # O leaves nothing of degree 2, and cannot be told from the tail of 1.
    table = averages_table("title", {"energy": spectrum("energy", 4.0, 3.0)})
    rows = {str(row.cells[1]): [str(c) for c in row.cells[3:]] for row in table.rows}
    assert rows["as it is"] == ["2.00", "2.50e-13", "eV", "1.00"]
    error, uncertainty, _, share = rows["T"]
    assert (error, uncertainty, share) == ("<1.00", "1.00", "<0.500")


def test_the_tail_and_round_off_are_said():
    found = {"a": spectrum("a", 4.0, 3.0), "b": spectrum("b", 1e-14, 1e-14)}
    text = averages_text("model", found, Display(200)).plain
    assert "a: 25.0 % of A squared lies above degree 2" in text
    assert "b: A is not larger than its uncertainty" in text
