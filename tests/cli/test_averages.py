"""``symjax averages``: tables, limits, exit codes, and what must be refused."""

import json

import ase.build
import ase.io
import numpy as np
import pytest
from typer.testing import CliRunner

from symjax import cli

BROKEN = '''
import jax.numpy as jnp
from symjax.metrics import Output, Problem
from symjax.so3 import SCALAR


def energy(x):
    """An energy whose only content beyond the invariant is of degree 2."""
    return {"energy": 0.01 * x[0, 2] ** 2}


def quadratic(atoms):
    outputs = {"energy": Output(SCALAR, "eV")}
    return Problem(energy, jnp.asarray(atoms.positions), outputs)
'''


@pytest.fixture
def invoke(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli.averages, "configure_jax", lambda *args: None)
    (tmp_path / "broken.py").write_text(BROKEN)
    atoms = ase.build.molecule("H2O")
    atoms.positions[0] = [0.6, 0.0, 0.8]
    ase.io.write("water.xyz", [atoms, atoms])

    def run(*args):
        options = ["averages", "water.xyz", "--model", "broken.py:quadratic"]
        return CliRunner().invoke(cli.app, [*options, "--max-degree", "2", *args])

    return run


def test_a_closed_form(invoke, tmp_path):
    """Groups without an invariant of degree 2 leave nothing; D2 leaves two of five."""
    result = invoke("--json", "out.json", "--reach", "energy=0.1 meV")
    assert result.exit_code == cli.OK, result.output
    assert "2 structures: A after averages" in result.stdout
    # Of degree 2 three elements that suit it leave nothing, also held out.
    said = "3 optimised elements, within the limit on structures held out; of groups"
    assert f"For energy = 0.1 meV: {said} and grids T, 12 elements." in result.stdout
    value = json.loads((tmp_path / "out.json").read_text())
    assert (value["num_structures"], value["enough"]["average"]) == (2, "optimised 3")
    turns = np.array(value["enough"]["elements"])
    np.testing.assert_allclose(turns[:, 2].T @ turns[:, 2], np.eye(3), atol=1e-3)
    averages = {one["average"]: one for one in value["outputs"]["energy"]["averages"]}
    # |x| = 1: the standard deviation of z^2 over directions is sqrt(4/45).
    assert averages["none"]["error"] == pytest.approx(0.01 * (4 / 45) ** 0.5, rel=1e-4)
    assert averages["T"]["error"] < 1e-8
    assert "Ci" not in averages
    assert invoke("--json", "out.json").exit_code == cli.BAD_INPUT


def test_round_off_is_called_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli.averages, "configure_jax", lambda *args: None)
    (tmp_path / "exact.py").write_text(BROKEN.replace("x[0, 2] ** 2", "(x[0] @ x[0])"))
    ase.io.write("water.xyz", ase.build.molecule("H2O"))
    options = ["water.xyz", "--model", "exact.py:quadratic", "--max-degree", "2"]
    result = CliRunner().invoke(cli.app, ["averages", *options])
    assert result.exit_code == cli.OK, result.output
    assert "energy: A is not larger than its uncertainty" in result.stdout
    assert "Ci" not in result.stdout


def test_limits(invoke):
    plain = invoke("--reach", "energy=1 eV")
    assert "no average is needed" in plain.stdout
    none = invoke("--reach", "energy=1e-30 eV")
    assert none.exit_code == 5, none.output
    assert "no average is known to be sufficient" in none.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--reach", "energy"], "--reach"),
        (["--reach", "energy=1 angstrom"], "cannot be converted to eV"),
        (["--reach", "dipole=1"], "--reach='dipole'"),
        (["--max-degree", "-1"], "--max-degree"),
        (["--calculator", "ase.calculators.emt:EMT"], "--calculator"),
        (["--frames", "9"], "has no frames with index '9'"),
    ],
)
def test_bad_input(invoke, options, message):
    result = invoke(*options)
    assert result.exit_code == cli.BAD_INPUT, result.output
    assert message in result.stderr
