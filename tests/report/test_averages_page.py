"""What averages leave, drawn: a curve for every output that an average helps."""

import dataclasses
import re

import fake_report
import numpy as np

from symjax.metrics import ResponseSpectrum
from symjax.report._averages_page import averages_section


def report_on(variances, resolved=True):
    """A report on outputs whose error is all of degree 2."""
    report = fake_report.report(structures=1, layers=0, resolved=resolved)
    first = report.structures[0].leaves[0]
    found = []
    for name, variance in variances.items():
        gram = tuple(np.zeros((2, size, size)) for size in (1, 3, 5))
        gram[2][0, 2, 2] = variance
        spectrum = ResponseSpectrum(name, "eV", gram, variance, 1, 1e-12)
        found.append(dataclasses.replace(first, name=name, response=spectrum))
    structure = dataclasses.replace(report.structures[0], leaves=tuple(found))
    return dataclasses.replace(report, structures=(structure,))


def test_a_curve_for_every_output_that_an_average_helps():
    page = averages_section(report_on({"energy": 1.0, "a<b>": 4.0, "exact": 0.0}))
    assert page.count("<polyline") == 2
    assert len(set(re.findall('stroke-dasharray="([^"]*)"', page))) == 2
    assert "a&lt;b&gt;" in page
    for points in re.findall('points="([^"]*)"', page):
        x, y = np.array([pair.split(",") for pair in points.split()], float).T
        assert (np.diff(x) >= 0).all()
        assert (np.diff(y) >= 0).all()  # downwards: the error falls
    assert 'data-at="/averages/energy/1/error"' in page


def test_what_is_not_resolved_is_red():
    assert "class=bad" in averages_section(report_on({"energy": 1.0}, resolved=False))
    assert "class=bad" not in averages_section(report_on({"energy": 1.0}))


def test_without_responses_there_is_nothing():
    assert averages_section(fake_report.report()) == ""
