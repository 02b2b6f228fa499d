"""Which layers an output reads, and which irreps it needs."""

import toys

from symjax.diagnose import Kind, diagnose

HEAD = toys.HEADS


def test_target_that_is_no_output():
    """Every irrep of the features would serve, one above them would not."""
    report = toys.report("exact")
    reads = {name: [HEAD["tensor"]] for name in ("torque", "octupole")}
    found = diagnose(
        report, targets={"torque": ["1-"], "octupole": ["3+"]}, layers_read=reads
    )
    assert {(f.kind, f.irrep) for f in found.findings} == {(Kind.MISSING_IRREP, "3+")}


def test_last_layers_without_heads():
    report = toys.without_layers(
        toys.report("missing"), lambda leaf: "heads" not in leaf.name
    )
    (finding,) = diagnose(report).findings
    assert (finding.kind, finding.layer) == (Kind.MISSING_IRREP, toys.LAYERS[1])
    assert "only a nonlinear head" in finding.sentence


def test_partial_layers_are_not_mistaken_for_a_readout():
    report = toys.without_layers(
        toys.report("missing", layers="gnn.*"),
        lambda leaf: "heads" not in leaf.name,
    )
    found = diagnose(report)
    assert not found.findings
    assert "layers that tensor reads are not among" in found.checks[1].note


def test_derivatives_read_nothing():
    report = toys.report("exact")
    renamed = toys.renamed(report, {"dipole": "forces"})
    found = diagnose(renamed)
    assert not found.findings
    assert "forces is a derivative of energy" in found.checks[1].note
