"""A diagnosis in plain words."""

import pytest
import toys

from symjax.diagnose import Check, Diagnosis, Figure, Finding, Kind, diagnose, to_text
from symjax.report import ReportError


def test_a_report_without_layers_has_its_outputs_judged():
    """As of calculators and exported models."""
    for variant, names in (("exact", set()), ("trapped", {"dipole"})):
        whole = diagnose(toys.report(variant))
        report = toys.without_layers(toys.report(variant))
        found = diagnose(report)
        unlearned = [one for one in whole.findings if one.kind is Kind.UNLEARNED]
        assert list(found.findings) == unlearned
        assert {name for one in unlearned for name in one.outputs} == names
        judged = {check.kind for check in found.checks if check.looked_at}
        assert judged == {Kind.UNLEARNED, Kind.ALIASING}
        assert "the report has no layers" in to_text(found)
    with pytest.raises(ReportError, match="has no layers"):
        diagnose(report, targets={"dipole": ["1+"]})


def test_text_names_what_could_not_be_looked_for():
    finding = Finding.of(
        Kind.LEAKAGE,
        2.0,
        layer="a",
        irrep="",
        figure=Figure("B", 0.5, 0.1),
        outputs=(),
        sentence="One.",
        remedy="Two",
    )
    assert finding.effect == 1.0
    checks = (Check(Kind.ALIASING, 0, "no layer"),)
    text = to_text(Diagnosis("m", (finding,), checks))
    assert "aliasing (could not be looked for): no layer" in text
    assert "irrep" not in text
    assert text.endswith("\n")
