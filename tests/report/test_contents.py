"""What stands in the tables of a report."""

import re

import fake_report
import numpy as np
import pytest

from symjax.report import contents
from symjax.report.formats import format_value
from symjax.report.html import to_html


def test_top_sectors_are_sorted():
    totals = fake_report.totals(np.random.default_rng(1), "feature", 5)
    values = [value for _, value in contents.top_sectors(totals.content, 6)]
    assert values == sorted(values, reverse=True)
    assert sum(values) + totals.remainder == pytest.approx(1, abs=1e-12)


def test_every_structure_has_its_error_of_every_output():
    report = fake_report.report(structures=3, failed=1)
    section = to_html(report).partition('<section id="structures"')[2]
    head, rest = section.partition("<tbody>")[::2]
    outputs = [leaf for leaf in report.structures[0].leaves if leaf.kind == "output"]
    columns = re.findall("<th [^>]*>([^<]*)</th>", head)
    places = [
        columns.index(next(c for c in columns if c.startswith(f"A of {o.name}")))
        for o in outputs
    ]
    rows = rest.partition("</tbody>")[0].strip().splitlines()
    assert len(rows) == 4
    for structure, row in zip(report.structures, rows, strict=True):
        cells = [re.sub("<[^>]*>", "", cell) for cell in re.split("</t[hd]>", row)]
        known = {leaf.name: leaf.totals.equivariance_error for leaf in structure.leaves}
        shown = [cells[place] for place in places]
        right = [format_value(known[o.name]) if known else "-" for o in outputs]
        assert shown == right
