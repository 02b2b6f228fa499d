"""What the page shows of events: clouds for its script, and tables."""

import dataclasses

import fake_report
import numpy as np

from symjax.report import schema
from symjax.report._events_page import (
    cloud_data,
    cloud_viewer,
    event_figures,
    event_list,
    event_sources,
)


def report(*sources):
    failed = schema.StructureReport(
        *("bad", "event", 0, ""), failure=schema.Failure("E", "no point <b>")
    )
    return fake_report.event_report(
        fake_report.event("a", 40, 4.0, sources),
        failed,
        fake_report.event("b", 100, 16.0, sources),
    )


def test_clouds_are_about_their_middle_and_the_worst_is_first():
    found = report()
    first, second = cloud_data(found, 40)
    assert [first["label"], second["label"]] == ["b", "a"]
    assert [first["index"], second["index"]] == [2, 0]
    points = found.structures[2].points
    x = np.array(first["positions"]) + first["middle"]
    np.testing.assert_allclose(x, points.positions, atol=1e-3)
    assert first["extent"] >= np.linalg.norm(first["positions"], axis=1).max() - 1e-3
    assert first["errors"] == {"class_probabilities": [0.25] * 100}
    assert first["changes"][-1] == 1.0
    assert len(cloud_data(found, 1)) == 1
    assert 'id="cloud-event"' in cloud_viewer([first, second])
    assert cloud_viewer([]) == ""


def test_events_without_points_are_not_drawn():
    found = report()
    bare = tuple(dataclasses.replace(one, points=None) for one in found.structures)
    assert cloud_data(dataclasses.replace(found, structures=bare), 40) == []


def test_tables_say_what_failed_and_what_the_brackets_are():
    sources = (fake_report.breaking("O(3)", 40, 0.1, 0.9),)
    found = report(*sources)
    assert "no point &lt;b&gt;" in event_list(found)
    assert "intervals over events" in event_figures(found)
    assert "tokens frozen" in event_sources(found)
    assert event_sources(report()) == ""
