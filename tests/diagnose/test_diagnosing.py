"""Planted failures are found, absent ones are not: all detectors on all toys."""

import numpy as np
import pytest
import toys

from symjax.diagnose import Kind, Severity, diagnose

FIRST, SECOND = toys.LAYERS
HEAD = toys.HEADS

# Kind, irrep, layer, outputs and severity of everything that is planted.
PLANTED = {
    "exact": set(),
    "missing": {
        (Kind.MISSING_IRREP, "2+", HEAD["tensor"], ("tensor",), Severity.CRITICAL)
    },
    "starved": {
        (Kind.MISSING_IRREP, "2+", HEAD["tensor"], ("tensor",), Severity.MINOR)
    },
    "bottleneck": {(Kind.BOTTLENECK, "2+", SECOND, ("tensor",), Severity.NOTE)},
    "lost": {
        (Kind.BOTTLENECK, "2+", SECOND, ("tensor",), Severity.CRITICAL),
        (Kind.MISSING_IRREP, "2+", HEAD["tensor"], ("tensor",), Severity.CRITICAL),
    },
    "late": {(Kind.LATE_EMERGENCE, "2+", HEAD["tensor"], ("tensor",), Severity.NOTE)},
    # Round-off decides which of its layers shows the most of nothing.
    "blind": {(Kind.PARITY_BLINDNESS, "0-", None, ("chi",), Severity.CRITICAL)},
    "noisy": {(Kind.PARITY_BLINDNESS, "0-", FIRST, ("chi",), Severity.CRITICAL)},
    "leaking": {(Kind.LEAKAGE, "0+", HEAD["energy"], ("energy",), Severity.SEVERE)},
    "aliased": {(Kind.ALIASING, "", FIRST, (), Severity.CRITICAL)},
    "trapped": {
        (Kind.UNLEARNED, "", "dipole", ("dipole",), Severity.MODERATE),
        (Kind.SYMMETRY_TRAP, "", "dipole", ("dipole",), Severity.CRITICAL),
    },
}


def described(findings, anywhere=False):
    return {
        (f.kind, f.irrep, None if anywhere else f.layer, f.outputs, f.severity)
        for f in findings
    }


def test_every_kind_is_planted():
    planted = {kind for entries in PLANTED.values() for kind, *_ in entries}
    assert planted == set(Kind)
    assert set(PLANTED) == set(toys.VARIANTS)


@pytest.mark.parametrize("variant", PLANTED)
def test_exactly_what_is_planted_is_found(variant):
    found = toys.diagnosis(variant)
    anywhere = any(layer is None for _, _, layer, *_ in PLANTED[variant])
    assert described(found.findings, anywhere) == PLANTED[variant]
    assert len(found.findings) == len(PLANTED[variant])
    looked_for = [check.kind for check in found.checks]
    assert looked_for == list(Kind)
    assert all(check.looked_at for check in found.checks)


def test_most_severe_first():
    effects = [finding.effect for finding in toys.diagnosis("lost").findings]
    assert effects == sorted(effects, reverse=True)


@pytest.mark.parametrize("variant", ["exact", "blind"])
def test_float64(variant):
    found = diagnose(toys.report(variant, dtype="float64"))
    expected = {entry[:2] for entry in PLANTED[variant]}
    assert {(f.kind, f.irrep) for f in found.findings} == expected


@pytest.mark.parametrize("variant", ["exact", "late"])
def test_several_structures(variant):
    found = diagnose(toys.report(variant, num=2))
    expected = {entry[:2] for entry in PLANTED[variant]}
    assert {(f.kind, f.irrep) for f in found.findings} == expected


def test_figures_match_closed_forms():
    """V of the planted axis: what T_d allows in a vector is nothing."""
    whole, finding = toys.diagnosis("trapped").findings
    totals = toys.report("trapped").aggregate()["dipole"].totals
    assert whole.figure.value == totals.equivariance_error
    assert whole.effect == totals.relative_error
    length = np.sum(toys.TETRAHEDRON**2)
    # 0.01 * length along z, root mean square over the three components
    assert finding.figure.value == pytest.approx(0.01 * length / np.sqrt(3), rel=1e-5)
    assert finding.figure.uncertainty < 1e-5
    assert finding.effect == pytest.approx(1.0, abs=1e-5)
