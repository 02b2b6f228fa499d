"""A report: which structures were measured, held or read when they are needed."""

import dataclasses

import fake_report
import pytest

from symjax.report import ReportError
from symjax.report.schema import Place, StoredStructures, without_numbers


def test_measured_and_failed_ones_keep_their_order():
    report = fake_report.report(structures=2, failed=1)
    first, second, bad = report.structures
    mixed = dataclasses.replace(report, structures=(first, bad, second))
    assert [one.label for one in mixed.measured] == ["water:0", "water:1"]
    assert [one.label for one in mixed.failed] == ["bad:0"]
    assert all(not one.leaves and one.atoms is None for one in mixed.overview)


def test_stored_structures_are_read_one_by_one():
    report = fake_report.report(structures=3, failed=1)
    places, read = list(range(4)), []

    def fetch(place):
        read.append(place)
        return report.structures[place]

    overview = [without_numbers(one) for one in report.structures]
    stored = StoredStructures(places, overview, fetch)
    whole = dataclasses.replace(report, structures=stored)
    assert len(whole.measured) == 3
    assert [one.label for one in whole.failed] == ["bad:0"]
    assert read == [3]  # of the failed one, as it was asked for
    assert whole.measured[1:][0].label == "water:1"
    expected = report.aggregate()["forces"].totals.equivariance_error
    assert whole.aggregate()["forces"].totals.equivariance_error == expected


def test_a_place_is_read_as_long_as_its_line_stands(tmp_path):
    path = tmp_path / "structures.jsonl"
    path.write_bytes(b"head\nline\n")
    place = Place.of(path, 5, b"line\n")
    assert place.read() == "line"
    path.write_bytes(b"head\nlone\n")
    with pytest.raises(ReportError, match="written again"):
        place.read()
    path.unlink()
    with pytest.raises(ReportError, match="cannot be read any more"):
        place.read()


def test_events_are_told_from_structures():
    assert not fake_report.report().of_events
    report = fake_report.event_report(fake_report.event("a", 4, 1.0))
    assert report.of_events
    assert [line.event.label for line in report.event_lines] == ["a"]
