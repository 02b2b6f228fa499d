"""Cells know how they are written, and whether there is something to write."""

import math

import pytest

from symjax.report.table_cells import Figure, LayerName, Link, Name, Number, Unit


def form(value):
    return f"{value:.1f}"


@pytest.mark.parametrize("value", [None, math.nan])
def test_what_is_not_known_is_a_dash(value):
    number = Number(value, form, bar=True)
    assert (str(number), number.known) == ("-", False)


def test_zero_is_known():
    assert (str(Number(0.0, form)), Number(0.0, form).known) == ("0.0", True)


def test_an_interval_needs_both_ends():
    assert str(Figure((2.0, 1.0, 3.0), form)) == "2.0 [1.0, 3.0]"
    assert str(Figure((2.0, 1.0, None), form)) == "2.0"
    assert str(Figure((None, None, None), form)) == "-"


def test_names_and_links_are_their_text():
    for kind in (Name, LayerName, Unit):
        assert kind("eV") == "eV"
    assert str(Link("water", "structure-0")) == "water"
