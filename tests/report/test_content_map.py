"""The heat map: a cell for every sector of every row, and the same for the script."""

import re

import fake_report
import numpy as np

from symjax.report._content_map import content_map, map_data
from symjax.report.contents import summaries


def test_every_sector_has_a_cell_with_its_number():
    report = fake_report.report(layers=1)
    found = summaries(report)
    page = content_map(report, found, 40)
    cells = re.findall(r'data-value="([^"]*)" data-at="([^"]*)"/>', page)
    # Degrees 0 to 2 of both parities, and what lies above.
    assert len(cells) == 7 * len(found)
    values = {path: float(value) for value, path in cells}
    for one in found:
        base = f"/summary/{one.name}"
        assert values[f"{base}/content/2/1"] == one.content[2, 1]
        assert values[f"{base}/remainder"] == one.remainder
    assert content_map(report, [], 40) == ""


def test_the_script_has_all_structures_if_they_are_few():
    report = fake_report.report(layers=1)
    found = summaries(report)
    data = map_data(report, found, 40)
    assert data["columns"][:2] == ["B(0, +)", "B(1, +)"]
    assert data["columns"][-1] == "B above degree 2"
    assert [one["label"] for one in data["sets"]] == ["all", "water:0", "water:1"]
    row = data["sets"][1]["values"][0]
    leaf = next(one for one in report.structures[0].leaves if one.name == found[0].name)
    np.testing.assert_array_equal(row[:3], leaf.totals.content[:, 0])
    assert len(map_data(report, found, 1)["sets"]) == 1
