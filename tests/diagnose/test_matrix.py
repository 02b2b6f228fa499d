"""Planted failures are found, absent ones are not: all detectors on all toys."""

import functools

import numpy as np
import pytest
import toys

from symjax.diagnose import Kind, Severity, diagnose, recommend, symmetry_traps
from symjax.models.biases import Biases

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


@functools.cache
def diagnosis(variant):
    traps = [symmetry_traps(toys.problem(variant), "tetrahedron")]
    return diagnose(toys.report(variant), traps=traps)


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
    found = diagnosis(variant)
    anywhere = any(layer is None for _, _, layer, *_ in PLANTED[variant])
    assert described(found.findings, anywhere) == PLANTED[variant]
    assert len(found.findings) == len(PLANTED[variant])
    looked_for = [check.kind for check in found.checks]
    assert looked_for == list(Kind)
    assert all(check.looked_at for check in found.checks)


def test_most_severe_first():
    effects = [finding.effect for finding in diagnosis("lost").findings]
    assert effects == sorted(effects, reverse=True)


@pytest.mark.parametrize("variant", ["exact", "missing", "blind"])
def test_float64(variant):
    found = diagnose(toys.report(variant, dtype="float64"))
    expected = {entry[:2] for entry in PLANTED[variant]}
    assert {(f.kind, f.irrep) for f in found.findings} == expected


@pytest.mark.parametrize("variant", ["exact", "starved", "bottleneck", "late"])
def test_several_structures(variant):
    found = diagnose(toys.report(variant, num=3))
    expected = {entry[:2] for entry in PLANTED[variant]}
    assert {(f.kind, f.irrep) for f in found.findings} == expected


def test_figures_match_closed_forms():
    """V of the planted axis: what T_d allows in a vector is nothing."""
    whole, finding = diagnosis("trapped").findings
    totals = toys.report("trapped").aggregate()["dipole"].totals
    assert whole.figure.value == totals.equivariance_error
    assert whole.effect == totals.relative_error
    length = np.sum(toys.TETRAHEDRON**2)
    # 0.01 * length along z, root mean square over the three components
    assert finding.figure.value == pytest.approx(0.01 * length / np.sqrt(3), rel=1e-5)
    assert finding.figure.uncertainty < 1e-5
    assert finding.effect == pytest.approx(1.0, abs=1e-5)


def test_starved_error_is_noise_over_amplitude():
    (finding,) = diagnosis("starved").findings
    epsilon = float(np.finfo(np.float32).eps)
    assert finding.effect == pytest.approx(
        epsilon / np.sqrt(finding.figure.value), rel=0.5
    )


def test_scale_of_other_structures_weakens_a_trap():
    problem = toys.problem("trapped")
    (finding,), _ = symmetry_traps(problem, "tetrahedron", scales={"dipole": 7.0})
    assert finding.effect == pytest.approx(finding.figure.value / 7.0)


class TestTargets:
    def test_target_that_is_no_output(self):
        """Every irrep of the features would serve, one above them would not."""
        report = toys.report("exact")
        reads = {name: [HEAD["tensor"]] for name in ("torque", "octupole")}
        found = diagnose(
            report, targets={"torque": ["1-"], "octupole": ["3+"]}, layers_read=reads
        )
        assert {(f.kind, f.irrep) for f in found.findings} == {
            (Kind.MISSING_IRREP, "3+")
        }

    def test_last_layers_without_heads(self):
        report = toys.without_layers(
            toys.report("missing"), lambda leaf: "heads" not in leaf.name
        )
        (finding,) = diagnose(report).findings
        assert (finding.kind, finding.layer) == (Kind.MISSING_IRREP, SECOND)
        assert "head that is not linear" in finding.sentence

    def test_degree_that_was_not_projected_is_said(self):
        found = diagnose(toys.report("exact"), targets={"tensor": ["5+"]})
        assert not found.findings
        assert "5+ of tensor lies above the projected degrees" in found.checks[1].note

    def test_partial_layers_are_not_mistaken_for_a_readout(self):
        report = toys.without_layers(
            toys.report("missing", layers="gnn.*"),
            lambda leaf: "heads" not in leaf.name,
        )
        found = diagnose(report)
        assert not found.findings
        assert "layers that tensor reads are not among" in found.checks[1].note

    def test_derivatives_read_nothing(self):
        report = toys.report("exact")
        renamed = toys.renamed(report, {"dipole": "forces"})
        found = diagnose(renamed)
        assert not found.findings
        assert "forces is a derivative of energy" in found.checks[1].note

    def test_no_pseudotensors_and_none_needed(self):
        report = toys.without_layers(
            toys.report("blind"), lambda leaf: "chi" not in leaf.name
        )
        (finding,) = diagnose(report).findings
        assert finding.kind is Kind.PARITY_BLINDNESS
        assert finding.severity is Severity.NOTE
        assert "nothing that was measured needs them" in finding.sentence

    @pytest.mark.parametrize(("atoms", "found"), [(2, False), (3, True), (5, True)])
    def test_what_small_structures_cannot_show(self, atoms, found):
        """Two atoms lie on a line: no model has pseudotensors there."""
        report = toys.resized(toys.report("blind"), atoms)
        kinds = diagnose(report).kinds
        assert (Kind.PARITY_BLINDNESS in kinds) == found


# Variants whose outputs call for an equivariant readout, and for averaging.
READOUT = {
    "missing": "tensor",
    "starved": "tensor",
    "lost": "tensor",
    "blind": "chi",
    "noisy": "chi",
}
AVERAGING = {"leaking": "energy", "trapped": "dipole"}


@pytest.mark.parametrize("variant", toys.VARIANTS)
def test_what_is_recommended(variant):
    """No bias without a finding or a severe error; the readout where one names it."""
    recommended = recommend(toys.report(variant), diagnosis(variant))
    leaves = toys.report(variant).aggregate()
    wrong = {
        name
        for name in ("dipole", "tensor", "chi")
        if leaves[name].totals.relative_error >= 0.1
    }
    named = {READOUT[variant]} if variant in READOUT else set()
    assert {reason.split(" ")[0] for reason in recommended.reasons} == named | wrong
    assert recommended.biases == Biases(readout="sum" if named | wrong else "linear")
    assert [text.split(":")[0] for text in recommended.averaging] == (
        [AVERAGING[variant]] if variant in AVERAGING else []
    )
    text = recommended.to_text()
    assert ('readout = "sum"' in text) == bool(named | wrong)
    assert ("No bias" in text) == (not named | wrong and variant not in AVERAGING)
