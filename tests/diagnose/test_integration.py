"""Cancellation between features and outputs, and what a grid does not resolve."""

import dataclasses

import numpy as np
import pytest
import toys

from symjax.diagnose import Kind
from symjax.diagnose.integration import aliasing


def test_leakage_is_what_a_sum_without_cancellation_passes_on():
    """Eight copies of 3 x beside a tenth of an invariant, of five atoms."""
    (finding,) = toys.diagnosis("leaking").findings
    square = np.sum(toys.POSITIONS**2, axis=1)
    invariant = np.sum((0.1 * square * (1 + 0.5 * square)) ** 2)
    share = invariant / (invariant + 8 * 9 * square.sum() / 3)
    assert finding.figure.value == pytest.approx(share, rel=1e-4)
    assert finding.effect == pytest.approx(np.sqrt((1 - share) / 5), rel=1e-4)


def test_a_finer_grid_is_asked_for():
    leaves = toys.report("aliased").aggregate()
    (finding,), check = aliasing(leaves, 0.05)
    degree = leaves[finding.layer].convergence.degree_to_try
    assert finding.remedy == f"Measure again with a grid of degree {degree}"
    assert check.looked_at == len(leaves)


def test_content_above_the_projected_degrees_is_no_fault_of_the_grid():
    """A tolerance says from where on it is told."""
    leaf = toys.report("exact").aggregate()["dipole"]
    totals = leaf.totals
    # Of what there is, a tenth lies above.
    leaf = dataclasses.replace(leaf, totals=totals._replace(power=0.9 * totals.power))
    assert aliasing({"dipole": leaf}, 0.2)[0] == []
    (finding,), _ = aliasing({"dipole": leaf}, 0.05)
    assert finding.kind is Kind.ALIASING
    assert "10% of dipole is above the largest projected degree 3" in finding.sentence
    assert finding.remedy == "Measure to degree 6 or more"
