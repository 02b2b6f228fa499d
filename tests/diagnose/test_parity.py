"""Layers that do not tell mirror images apart."""

import pytest
import toys

from symjax.diagnose import Kind, Severity, diagnose


def test_no_pseudotensors_and_none_needed():
    report = toys.without_layers(
        toys.report("blind"), lambda leaf: "chi" not in leaf.name
    )
    (finding,) = diagnose(report).findings
    assert finding.kind is Kind.PARITY_BLINDNESS
    assert finding.severity is Severity.NOTE
    assert "no measured output needs pseudotensors" in finding.sentence


@pytest.mark.parametrize(("atoms", "found"), [(2, False), (3, True), (5, True)])
def test_what_small_structures_cannot_show(atoms, found):
    """Two atoms lie on a line: no model has pseudotensors there."""
    report = toys.resized(toys.report("blind"), atoms)
    kinds = diagnose(report).kinds
    assert (Kind.PARITY_BLINDNESS in kinds) == found
