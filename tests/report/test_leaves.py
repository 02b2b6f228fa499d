"""Leaves of several structures, added up."""

import fake_report
import pytest

from symjax.metrics import add_totals
from symjax.report import schema
from symjax.report.leaves import Leaf, ReportError


def test_aggregate_verdict_is_the_worst():
    good, bad = fake_report.report(), fake_report.report(resolved=False)
    both = schema.Report(
        good.software,
        good.model,
        good.settings,
        (good.structures[0], bad.structures[1]),
    )
    verdict = both.aggregate()["energy"].convergence
    assert not verdict.resolved
    assert verdict.degree_to_try == 11
    assert verdict.reason == "content changes by 0.3"
    assert not both.resolved
    assert good.resolved


def test_aggregate_skips_elements_that_a_structure_lacks():
    report = fake_report.report()
    first, second = report.structures
    forces = first.leaves[1]
    leaves = (Leaf(**{**vars(forces), "species": {"O": forces.species["H"]}}),)
    changed = schema.Report(
        report.software,
        report.model,
        report.settings,
        (schema.StructureReport("w", "O", 1, "0", leaves), second),
    )
    species = changed.aggregate()["forces"].species
    assert set(species) == {"O", "H"}
    expected = add_totals([second.leaves[1].species["H"]])
    assert species["H"].norm == pytest.approx(expected.norm, rel=0)


def test_leaves_that_do_not_fit_together_are_refused():
    report = fake_report.report()
    leaf = report.structures[0].leaves[0]
    other = Leaf(**{**vars(leaf), "unit": "kcal/mol"})
    structures = (
        report.structures[0],
        schema.StructureReport("x", "H2", 2, "0", (other,)),
    )
    broken = schema.Report(report.software, report.model, report.settings, structures)
    with pytest.raises(ReportError, match=r"energy\.unit"):
        broken.aggregate()
