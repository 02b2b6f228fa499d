"""Curves of convergence on the page."""

import dataclasses

import fake_report
import numpy as np
import pytest

from symjax.metrics import RuleTotals, Totals
from symjax.metrics.convergence import degree_to_try
from symjax.report import storage
from symjax.report._integration import convergence, curve_data
from symjax.runs import Options


# Elements that have no end tag.
def curves_of(report):
    return curve_data(report, list(report.aggregate()), 40)


def test_curves_end_at_the_reported_values():
    report = fake_report.report()
    curves = curves_of(report)
    together, *each = curves["sets"]
    assert [one["label"] for one in each] == ["water:0", "water:1"]
    sources = [report.aggregate()]
    sources += [{leaf.name: leaf for leaf in s.leaves} for s in report.structures]
    for one, leaves in zip([together, *each], sources, strict=True):
        for name, values in zip(curves["rows"], one["values"], strict=True):
            totals = leaves[name].totals
            assert values["degrees"] == [3, 5]
            assert values["error"][-1] == totals.equivariance_error
            assert values["relative"][-1] == totals.relative_error
            assert values["content"][-1] == totals.content.sum(axis=1).tolist()
            assert values["sectors"] == totals.content.tolist()
            (point,) = leaves[name].coarser
            assert values["error"][0] == point.totals.equivariance_error
            assert len(values["content"][0]) == 2
    # Sums of squares, not averages of errors.
    squares = [s.leaves[0].coarser[0].totals.variance.sum() for s in report.structures]
    counts = [s.leaves[0].coarser[0].totals.count.sum() for s in report.structures]
    row = curves["rows"].index("energy")
    assert together["values"][row]["error"][0] == pytest.approx(
        (sum(squares) / sum(counts)) ** 0.5
    )


def test_the_extrapolated_tail_is_that_of_the_degree_to_try():
    report = fake_report.report(structures=1, layers=0)
    content = np.array([0.5**n for n in range(7)])
    power = np.zeros((1, 7, 2))
    power[0, :, 0] = content
    totals = Totals(np.ones(1), content.sum()[None], power, np.ones(1))
    short = totals._replace(power=power[:, :3])
    leaf = dataclasses.replace(
        report.structures[0].leaves[0],
        totals=totals,
        species={},
        coarser=(RuleTotals(7, 728, short),),
    )
    structure = dataclasses.replace(report.structures[0], leaves=(leaf,), atoms=None)
    settings = Options(max_degree=6, tolerance=0.01).settings()
    report = dataclasses.replace(report, settings=settings, structures=(structure,))
    (values,) = curves_of(report)["sets"][0]["values"]
    tail = values["tail"]
    share = totals.content.sum(axis=1)
    band = (degree_to_try(share, 13, 0.01) - 1) // 2
    assert tail["degrees"][0] == 6
    assert tail["degrees"][-1] >= band
    np.testing.assert_allclose(
        tail["content"], share[6] * 0.5 ** (np.array(tail["degrees"]) - 6)
    )


def test_why_there_are_no_curves():
    value = storage.to_json(fake_report.report())
    for structure in value["structures"]:
        for leaf in structure["leaves"]:
            leaf["coarser"] = []
    report = storage.from_json(value)
    curves = curves_of(report)
    assert all(one is None for one in curves["sets"][0]["values"])
    text = convergence(report, list(report.aggregate().values()), curves)
    assert "No curves" in text
    assert "curve-response" not in text
