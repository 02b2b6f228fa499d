"""Figures over events: sums, groups and intervals."""

import numpy as np
import pytest
from fake_report import event
from pydantic import TypeAdapter

from symjax.report.event_schema import EventFigures
from symjax.report.event_summary import ratio_interval, summarise_events
from symjax.report.schema import Failure, StructureReport
from symjax.report.storage import dumps, plain


def test_groups_and_figures():
    failed = StructureReport("bad", "event", 0, "", failure=Failure("E", "no point"))
    found = summarise_events([event("a", 40, 4.0), failed, event("b", 100, 16.0)])
    rows = {row.name: row for row in found.outputs["class_probabilities"]}
    assert list(rows) == [
        "all points",
        "track",
        "muon",
        "32-63 points",
        "64-127 points",
    ]
    assert rows["all points"].events == 2
    assert rows["all points"].equivariance_error[0] == pytest.approx(np.sqrt(20 / 560))
    assert rows["all points"].relative_error[0] == pytest.approx(np.sqrt(20 / 280))
    assert rows["all points"].expected[0] == pytest.approx(1 - 20 / 280)
    assert plain(rows["64-127 points"])["equivariance_error"] == (
        *(pytest.approx(np.sqrt(16 / 400)), None, None),
    )
    assert TypeAdapter(EventFigures).validate_json(dumps(plain(found))).outputs


def test_intervals_hold_what_they_say():
    """95 of 100 intervals over 12 events hold the ratio of the expectations."""
    rng = np.random.default_rng(0)
    held = []
    for _ in range(2000):
        sizes = rng.uniform(50, 500, 12)
        parts = sizes * rng.gamma(4.0, 0.25, 12)
        figure = ratio_interval(parts, sizes, root=True)
        held.append(figure.low <= 1.0 <= figure.high)
    # Fewer than normal numbers would give: ratios of skew numbers, of twelve events.
    assert 0.91 < np.mean(held) < 0.96


def test_intervals_end_where_figures_do():
    assert ratio_interval([1.0, 3.0, 0.1], [3.0, 3.0, 3.0], most=1.0)[1:] == (0.0, 1.0)
    assert np.isnan(ratio_interval([1.0], [2.0])[1])
    assert np.isnan(ratio_interval([], [])[0])
    # An event without points of a class says nothing about it.
    assert ratio_interval([1.0, 0.0, 2.0], [2.0, 0.0, 3.0]) == ratio_interval(
        [1.0, 2.0], [2.0, 3.0]
    )
