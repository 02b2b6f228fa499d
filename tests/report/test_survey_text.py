"""What a survey says: figures of its file, columns, a headline."""

import csv
import io
import math

import numpy as np
import pytest
from fake_survey import survey

from symjax.metrics import Survey
from symjax.report.storage import plain
from symjax.report.survey_text import (
    LISTED,
    by_size,
    candidates,
    headline,
    signed_root,
    survey_csv,
    worst,
)


def test_the_file_has_the_figures_of_the_parts():
    report = survey(8, failed=1)
    energy, forces, layer = report.file.outputs
    assert [one.name for one in (energy, forces)] == ["energy", "forces"]
    assert (energy.relative, layer.kind) == (None, "node")
    assert {part.name: part.structures for part in forces.by_element} == {
        **{"H": 8, "C": 4, "O": 4},
    }
    assert {part.name: part.structures for part in forces.by_size} == {"3": 4, "5": 4}
    assert {part.name: part.structures for part in forces.by_formula} == {
        **{"OH2": 4, "CH4": 4},
    }
    low, value, high = (getattr(forces.A.data, n) for n in ("low", "value", "high"))
    assert low < value < high
    assert value == pytest.approx(report.pool.error("forces", of="data").value)
    found = {(one.degree, one.sigma): one.B.data.value for one in forces.content}
    assert found[1, 1] == pytest.approx(3.8 / 4)
    assert (report.file.total, report.file.visited) == (9, 8)
    assert plain(report.file)["failed"] == {"bad 0": "atoms='U': unknown"}


def test_columns_are_those_of_single_structures():
    report = survey(4, names=["=1+1", "b\n", "c", "d"])
    head, *rows = csv.reader(io.StringIO(survey_csv(report)))
    assert head[:4] == ["structure", "formula", "atoms", "A of energy (eV)"]
    assert [row[0] for row in rows] == ["'=1+1", "b\\n", "c", "d"]
    squares = np.square([float(row[3]) for row in rows])
    whole = report.pool.error("energy", of="data").value
    assert np.sqrt(squares.mean()) == pytest.approx(whole)


def test_the_worst_are_measured_again():
    report = survey(24)
    assert len(candidates(report.pool, report.outputs)) == 2 * LISTED
    listed = worst(report)
    assert len(listed) == LISTED
    assert [one.again for one in listed] == sorted(
        (one.again for one in listed), reverse=True
    )
    assert all(one.first != one.again for one in listed)
    assert worst(survey(4, fresh=False)) == []


def test_roots_have_the_sign_of_the_square():
    assert [signed_root(value) for value in (4.0, -9.0, 0.0)] == [2.0, -3.0, 0.0]


def test_sizes_make_at_most_six_parts_with_every_structure():
    pool = survey(30).pool
    parts = dict(by_size(pool))
    assert list(parts) == ["3", "5"]
    assert sum(part.sum() for part in parts.values()) == 30


@pytest.mark.parametrize(
    ("reached", "says"),
    [
        (0.005, "is known to 0.50%"),
        (0.5, "ended before 1.00% was reached: A of every output is known to 50.00%"),
        (math.inf, "too few structures to say"),
    ],
)
def test_the_headline_says_what_was_reached(reached, says):
    over = Survey(8, until=0.01)
    text = headline(survey(4, failed=1, over=over, reached=reached))
    assert text.startswith("4 of 5 structures were visited, with 8 elements of O(3)")
    assert "1 could not be measured." in text
    assert says in text
