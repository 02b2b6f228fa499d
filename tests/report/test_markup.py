"""Cells of tables as HTML."""

from symjax.report._markup import pointer, show
from symjax.report.table_cells import Figure, LayerName, Link, Name, Number, Unit


def test_names_break_between_their_parts_alone():
    broken = "gnn_<wbr>layers.<wbr>0/<wbr>a&amp;b"
    for kind in (Name, LayerName):
        assert show(kind("gnn_layers.0/a&b")) == broken
    link = show(Link("gnn_layers.0/a&b", "a.b"))
    assert link == f'<a href="#a.b">{broken}</a>'
    assert show("1.5e-3") == "1.5e-3"


def test_numbers_have_their_path_and_all_digits():
    cell = Number(1 / 3, lambda value: f"{value:.2f}", ("summary", "a/b~c", 0))
    path = "/summary/a~1b~0c/0"
    assert pointer(cell.at) == path
    assert show(cell) == f'<data value="{1 / 3!r}" data-at="{path}">0.33</data>'
    assert show(Number(float("nan"), str, cell.at)) == "-"


def test_an_interval_that_is_not_known_is_left_out():
    assert show(Figure((1.0, None, None), str)) == "1.0"
    assert show(Figure((1.0, 0.5, 2.0), str)).endswith("[0.5, 2.0]</span>")


def test_units_have_raised_powers():
    assert show(Unit("eV/angstrom^3")) == "eV/\xc5<sup>3</sup>"
    assert show(Unit("")) == "-"
