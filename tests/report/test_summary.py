"""Figures of a row follow from added totals."""

import fake_report
import numpy as np
import pytest

from symjax.report.storage import to_json


def test_summary_follows_from_added_totals_not_from_averaged_ratios():
    report = fake_report.report(structures=3)
    parts = [structure.leaves[1].totals for structure in report.structures]
    variance = sum(part.variance.sum() for part in parts)
    count = sum(part.count.sum() for part in parts)
    summary = to_json(report)["summary"]["forces"]
    # three additions and one root in float64
    assert summary["equivariance_error"] == pytest.approx(
        np.sqrt(variance / count), rel=1e-14
    )
    averaged = np.mean([part.equivariance_error for part in parts])
    assert abs(summary["equivariance_error"] - averaged) > 1e-6
    assert report.aggregate()["forces"].species["H"].count == pytest.approx(3 * 18)
    total = np.sum(summary["content"]) + summary["remainder"]
    assert total == pytest.approx(1, abs=1e-12)
