"""Symmetry traps of the model that ships."""

import ase.build
import ase.io
import toys

from symjax import cli
from symjax.diagnose import structure_traps
from symjax.models import load_model


def test_forces_off_what_symmetry_allows(invoke, shipped, tmp_path):
    """They are listed, beside a structure that fails."""
    frames = [ase.build.molecule(name) for name in ("CH4", "SiH4")]
    ase.io.write(tmp_path / "f.xyz", frames, format="extxyz")
    result = invoke(shipped, "--structures", "f.xyz", "--json", "t.json")
    assert result.exit_code == cli.FAILED, result.output
    assert "f.xyz:1: FAILED: " in result.stderr
    assert "1. SYMMETRY TRAP, minor" in result.stdout
    assert "symmetry trap: forces of f.xyz:0 (Td)" in result.stdout
    (finding,) = toys.read_back(tmp_path / "t.json")["findings"]
    assert (finding["kind"], finding["severity"]) == ("symmetry trap", "minor")
    # of the size of its equivariance error, 0.002 eV/angstrom
    assert 5e-4 < finding["figure"]["value"] < 2e-2
    assert finding["figure"]["unit"] == "eV/angstrom"
    alone = invoke(shipped, "--structures", "f.xyz", "--frames", "1")
    assert alone.exit_code == cli.BAD_INPUT
    assert alone.stderr.startswith("Error: ")


def test_no_symmetry():
    atoms = ase.build.molecule("CH3CH2OH")
    atoms.rattle(0.1, seed=1)
    findings, check = structure_traps(load_model("pet-ethanol"), atoms)
    assert findings == []
    assert check.looked_at == 0
    assert "no symmetry" in check.note
