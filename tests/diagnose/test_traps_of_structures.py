"""Symmetry traps of the model that ships."""

import ase.build
import ase.io

from symjax import cli
from symjax.diagnose import Kind, Severity, structure_traps
from symjax.models import load_model


def test_forces_off_what_symmetry_allows():
    model = load_model("pet-ethanol")
    (finding,), check = structure_traps(model, ase.build.molecule("CH4"))
    assert check.note == "forces of CH4 (Td)"
    assert finding.kind is Kind.SYMMETRY_TRAP
    # of the size of its equivariance error, 0.002 eV/angstrom
    assert 5e-4 < finding.figure.value < 2e-2
    assert finding.figure.unit == "eV/angstrom"
    assert finding.severity is Severity.MINOR


def test_no_symmetry():
    atoms = ase.build.molecule("CH3CH2OH")
    atoms.rattle(0.1, seed=1)
    findings, check = structure_traps(load_model("pet-ethanol"), atoms)
    assert findings == []
    assert check.looked_at == 0
    assert "no symmetry" in check.note


def test_traps_are_listed(invoke, shipped):
    result = invoke(shipped, "--structures", "CH4")
    assert result.exit_code == cli.OK, result.output
    assert "1. SYMMETRY TRAP, minor" in result.stdout
    assert "symmetry trap: forces of CH4 (Td)" in result.stdout


def test_structures_that_fail(invoke, shipped, tmp_path):
    frames = [ase.build.molecule(name) for name in ("CH4", "SiH4")]
    ase.io.write(tmp_path / "f.xyz", frames, format="extxyz")
    result = invoke(shipped, "--structures", "f.xyz")
    assert result.exit_code == cli.FAILED, result.output
    assert "f.xyz:1: FAILED: " in result.stderr
    assert "SYMMETRY TRAP" in result.stdout
    alone = invoke(shipped, "--structures", "f.xyz", "--frames", "1")
    assert alone.exit_code == cli.BAD_INPUT
    assert alone.stderr.startswith("Error: ")
