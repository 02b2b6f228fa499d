"""Reports of random elements: a few calls, and every figure with its uncertainty."""

import json

import ase.build
import numpy as np
import pytest
from typer.testing import CliRunner

from symjax import cli
from symjax.errors import ArgumentError
from symjax.interop.foreign_sources import FunctionSource
from symjax.report import read_report
from symjax.report.html import to_html
from symjax.report.tables import to_text
from symjax.runs import Cost, Options, estimate_items, measure_items

CODE = """
import numpy as np
from symjax.metrics import HostFunction, Output, Problem
from symjax.so3 import SCALAR, VECTOR

def nearly(atoms):
    def function(x):
        r = x - x.mean(axis=0)
        energy = np.sum(r**2) + 0.01 * np.sum(r[:, 2] ** 3)
        return {"energy": energy, "forces": -2 * r}
    outputs = {
        "energy": Output(SCALAR, "eV"),
        "forces": Output(VECTOR, "eV/angstrom", samples=atoms.numbers),
    }
    return Problem(HostFunction(function), atoms.positions, outputs)

def wild(atoms):
    def function(x):
        return {"energy": np.sin(9 * x[0, 0]) * np.cos(7 * x[1, 2])}
    return Problem(HostFunction(function), atoms.positions, {"energy": Output(SCALAR)})
"""
OPTIONS = Options(max_degree=2, samples=16, dtype="float64")


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("samples") / "mine.py"
    path.write_text(CODE)
    return path


@pytest.fixture(scope="module")
def structures():
    found = {}
    for seed, name in enumerate(("CH3OH", "H2O")):
        found[name] = ase.build.molecule(name)
        found[name].rattle(0.1, seed=seed)
    return found


@pytest.fixture(scope="module")
def report(path, structures):
    source, folder = FunctionSource(f"{path}:nearly"), path.parent / "nearly"
    whole = measure_items(source, structures, OPTIONS, folder)
    again = read_report(folder)
    assert again.settings == whole.settings
    return again


def test_what_is_stored_says_how_well_it_is_known(path, structures, report):
    assert report.resolved
    assert report.settings.num_elements == 32
    grid = Options(max_degree=2, grid=9, dtype="float64")
    source = FunctionSource(f"{path}:nearly")
    exact = measure_items(source, structures, grid, path.parent / "exact")
    for one, two in zip(exact.structures, report.structures, strict=True):
        for true, found in zip(one.leaves, two.leaves, strict=True):
            known = found.certificate
            assert known.samples == 16
            error = true.totals.equivariance_error
            assert found.totals.equivariance_error == pytest.approx(
                error, rel=2 * known.error_uncertainty, abs=1e-12
            )
            wrong = np.abs(found.totals.content - true.totals.content)
            assert wrong.max() <= 2 * known.content_uncertainty + 1e-12


@pytest.mark.parametrize("width", [40, 80, None])
def test_tables_and_page(report, width):
    text = to_text(report, width)
    flat = " ".join(text.split())
    assert "16 random pairs" in flat
    assert "32 random elements determine all 2 responses" in flat
    assert "A +-" in flat
    assert "The grid resolves all" not in flat
    page = to_html(report)
    assert "Random elements have no curve" in page
    assert "estimates of integrals over O(3)" in page


def test_what_is_not_known_is_not_resolved(path, structures):
    source, folder = FunctionSource(f"{path}:wild"), path.parent / "wild"
    measure_items(source, structures, OPTIONS, folder)
    report = read_report(folder)
    assert not report.resolved
    flat = " ".join(to_text(report, 80).split())
    assert "not known well enough" in flat
    assert "random rotations (samples), or a grid" in flat
    assert "&lt;" in to_html(report)


def test_the_cost_is_said_beforehand(path, structures):
    source = FunctionSource(f"{path}:nearly")
    costs = [cost for _, cost in estimate_items(source, structures, OPTIONS)]
    assert all(isinstance(cost, Cost) for cost in costs)
    assert sum(cost.cost.num_elements for cost in costs) == 64


def test_samples_and_a_grid_are_alternatives():
    with pytest.raises(ArgumentError, match="takes the place of grid=9"):
        Options(grid=9, samples=16, max_degree=2).settings()
    with pytest.raises(ArgumentError, match="num=3: is not an integer from 8 up"):
        Options(samples=3).settings()


def test_calculators_are_sampled_unless_a_grid_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["report", "CO", "--calculator", "ase.calculators.emt:EMT", "--no-figures"]
    words += ["--no-html", "--no-laws"]
    done = CliRunner().invoke(cli.app, [*words, "-o", "a"])
    assert done.exit_code == 0, done.output
    settings = json.loads((tmp_path / "a" / "report.json").read_text())["settings"]
    assert (settings["num_elements"], settings["degree"]) == (64, 0)
    done = CliRunner().invoke(cli.app, [*words, "-o", "b", "--grid", "5"])
    assert done.exit_code == 0, done.output
    settings = json.loads((tmp_path / "b" / "report.json").read_text())["settings"]
    assert settings["degree"] == 5
    done = CliRunner().invoke(cli.app, [*words, "-o", "c", "--samples", "3"])
    assert done.exit_code == cli.BAD_INPUT
    assert "--samples" in done.output
    done = CliRunner().invoke(cli.app, [*words, "--estimate"])
    assert "64 evaluations" in done.output


def test_turns_tell_what_averages_leave(path, structures, tmp_path):
    """As a grid predicts, in the report as read again, the text and the verdict."""
    turned = Options(max_degree=1, samples=96, turn="T", dtype="float64", tolerance=0.9)
    source = FunctionSource(f"{path}:nearly")
    measure_items(source, structures, turned, tmp_path / "turned")
    found = read_report(tmp_path / "turned")
    assert found.settings.grid == "96 random pairs in turns of T"
    exact = measure_items(
        source, structures, Options(max_degree=2, dtype="float64"), tmp_path / "exact"
    ).aggregate()["energy"]
    response = found.aggregate()["energy"].response
    for average in ("Ci", "D2", "T"):
        true, one = exact.response.after(average), response.after(average)
        assert abs(one.error - true.error) <= 2 * one.uncertainty + 1e-12
    text = " ".join(to_text(found).split())
    assert "averaged over Ci (2 elements): " in text
    assert "eV/angstrom, round-off" in text  # forces are exact
    code = f"{path}:nearly"
    result = CliRunner().invoke(
        cli.app,
        [
            *("report", "H2O", "--model", code, "-o", str(tmp_path / "cli")),
            *("--samples", "8", "--reach", "energy=1 eV", "--max-degree", "1"),
            *("--turn", "D2", "--dtype", "float64", "--no-html", "--no-figures"),
        ],
    )
    assert result.exit_code == cli.BAD_INPUT
    assert "--samples=8: is not an integer from 32 up" in result.stderr
