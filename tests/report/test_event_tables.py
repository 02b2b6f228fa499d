"""Tables of events: figures with intervals, sources, a list by A."""

import functools
import math
import operator

import fake_report
import numpy as np
import pytest

from symjax.report.event_tables import (
    event_tables,
    events_table,
    figure_tables,
    interval_note,
    sources_table,
)
from symjax.report.layout import Display
from symjax.report.storage import to_json
from symjax.report.table_cells import Figure


@pytest.fixture
def report():
    sources = [
        (
            fake_report.breaking("Oh", n, a / 100, 0.9),
            fake_report.breaking("O(3)", n, a, 0.9),
        )
        for n, a in ((40, 0.1), (100, 0.4))
    ]
    return fake_report.event_report(
        fake_report.event("a", 40, 4.0, sources[0]),
        fake_report.event("b", 100, 16.0, sources[1]),
    )


def texts(table):
    return [[str(cell) for cell in row.cells] for row in table.rows]


def test_figures_are_by_class_particle_and_size(report):
    (table,) = figure_tables(report)
    assert table.title == "class_probabilities, by class, particle, size of the event"
    rows = {row[0]: row for row in texts(table)}
    assert rows["all points"][1] == "2"
    assert float(rows["all points"][3]) == pytest.approx(np.sqrt(20 / 280), rel=5e-3)
    assert "[" in rows["all points"][2]  # an interval, of two events
    assert "[" not in rows["32-63 points"][2]


def test_sources_are_over_both_groups(report):
    table = sources_table(report)
    assert table.columns == ["source", "O_h", "O(3)"]
    rows = {row[0]: row for row in texts(table)}
    assert list(rows)[:4] == ["network", "tokens", "voxels", "all"]
    # Over points: sqrt((40 * 0.1^2 + 100 * 0.4^2) / 140)
    assert float(rows["network"][2].split()[0]) == pytest.approx(0.342, abs=1e-3)
    assert rows["labels that change"][1].startswith("20.0 %")


def test_the_largest_error_is_listed_first(report):
    rows = texts(events_table(report))
    assert [row[0] for row in rows] == ["b", "a"]
    assert events_table(report).columns[-2:] == ["compiling", "evaluating"]
    assert "sources over O(3)" in events_table(report).title


def test_every_number_is_that_of_its_field(report):
    whole = to_json(report)
    tables = [*figure_tables(report), sources_table(report), events_table(report)]
    cells = [cell for table in tables for row in table.rows for cell in row.cells]
    placed = [cell for cell in cells if getattr(cell, "at", ())]
    assert len(placed) >= 50
    for cell in placed:
        held = functools.reduce(operator.getitem, cell.at, whole)
        ends = cell.ends if isinstance(cell, Figure) else [cell.value]
        shown = [None if math.isnan(end) else end for end in ends]
        assert shown == (list(held) if isinstance(cell, Figure) else [held]), cell


def test_one_event_has_no_list_and_no_intervals():
    alone = fake_report.event_report(fake_report.event("a", 40, 4.0))
    assert sources_table(alone) is None
    parts = [part for part in event_tables(alone, Display()) if part is not None]
    assert len(parts) == 1
    assert interval_note(alone).startswith("In brackets: 95% intervals over events")
