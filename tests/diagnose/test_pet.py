"""Failures planted into a small PET, and the model that ships."""

import ase
from small_models import drawn_pet

from symjax.data.quantities import Block, Target
from symjax.diagnose import Kind, Severity, diagnose, recommend, to_text
from symjax.runs import Options, measure_items

TARGETS = (
    Target("energy", "eV"),
    Target("dipole", "e*angstrom", blocks=(Block("dipole", "vector"),)),
)
SIZES = dict.fromkeys(("d_pet", "d_node", "d_head", "d_feedforward"), 8)


def pet(directions):
    """A random PET that feels directions so strongly; with 0 it sees lengths only."""
    return drawn_pet((1, 6, 9, 17), TARGETS, directions, **SIZES, num_heads=2)


def chiral():
    """Four different atoms that lie in no plane: no symmetry."""
    positions = [[0, 0, 0], [1.1, 0, 0], [-0.4, 1.3, 0.1], [-0.5, -0.8, 1.5]]
    return ase.Atoms("CHFCl", positions=positions)


def measured(directions, folder):
    options = Options(max_degree=3, layers="all", dtype="float32")
    return measure_items(pet(directions), {"chiral": chiral()}, options, folder)


def kinds(report):
    return {(f.kind, f.irrep) for f in diagnose(report).findings}


def test_a_pet_that_sees_no_directions(tmp_path):
    found = diagnose(measured(0.0, tmp_path))
    # What it says is a dipole does not turn with the structure.
    assert found.findings[0].kind is Kind.UNLEARNED
    assert found.findings[0].outputs == ("dipole",)
    assert [(f.kind, f.irrep, f.severity) for f in found.findings[1:]] == [
        (Kind.MISSING_IRREP, "1+", Severity.CRITICAL),
        (Kind.PARITY_BLINDNESS, "", Severity.NOTE),
    ]
    missing = found.findings[1]
    assert missing.layer.endswith("_heads.dipole.0")
    assert missing.outputs == ("dipole",)
    assert "directions of edges" in missing.remedy


def test_a_pet_that_does(tmp_path):
    # Random weights: nothing but that it has not learned the symmetry.
    assert kinds(measured(0.05, tmp_path)) == {(Kind.UNLEARNED, "")}


def test_random_weights_are_found_first(tmp_path):
    report = measured(1.0, tmp_path)
    result = diagnose(report)
    assert result.findings[0].kind is Kind.UNLEARNED
    unlearned = [f.outputs for f in result.findings if f.kind is Kind.UNLEARNED]
    assert ("forces",) in unlearned
    assert "Nothing was found" not in to_text(result)
    advice = recommend(report, result).to_text()
    assert advice.startswith("First\n")
    assert "No bias is needed" not in advice
    assert max(map(len, advice.splitlines())) <= 80


class TestShipped:
    def test_snapshot(self, ethanol_report):
        """Nothing limits the energy; tensors that it was not trained on would be."""
        assert diagnose(ethanol_report).findings == ()
        wanted = {"dipole": ["1+"], "octupole": ["3+"], "chirality": ["0-"]}
        found = diagnose(ethanol_report, targets=wanted).findings
        assert [(f.kind, f.irrep, f.outputs, f.severity) for f in found] == [
            (Kind.MISSING_IRREP, "0-", ("chirality",), Severity.CRITICAL),
            (Kind.MISSING_IRREP, "3+", ("octupole",), Severity.MINOR),
        ]
