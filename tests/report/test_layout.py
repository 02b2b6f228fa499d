"""Tables of text are never cut."""

from symjax.report.layout import Display, Row, Table


def test_a_cell_that_is_wider_than_the_terminal_is_broken_between_words():
    rows = [Row(["energy", "0.00281 [0.00228, 0.00347]"])]
    table = Table("A", ["output", "of its population"], rows)
    lines = table.text(Display(30, True)).plain.splitlines()
    assert lines[2:] == ["  of its population 0.00281", "    [0.00228, 0.00347]"]
