"""``symjax diagnose``: output, exit codes, and every way to misuse it."""

import dataclasses
import functools
import json
import re

import pytest
import toys

from symjax import cli
from symjax.diagnose import Kind, diagnose
from symjax.report.storage import read_report


@pytest.fixture
def invoke(tmp_path, monkeypatch):
    return toys.command(tmp_path, monkeypatch)


@pytest.fixture
def written(tmp_path):
    return functools.partial(toys.written, tmp_path)


def test_nothing_found(invoke, written):
    result = invoke(written())
    assert result.exit_code == cli.OK, result.output
    assert "Nothing was found." in result.stdout
    for kind in Kind:
        if kind is not Kind.SYMMETRY_TRAP:
            assert f"  {kind.value}: " in result.stdout


def test_findings_are_in_plain_words_and_no_error(invoke, written, tmp_path):
    result = invoke(written("missing").parent, "--json", "out.json")
    assert result.exit_code == cli.OK, result.output
    text = result.stdout
    assert "1. MISSING IRREP, critical" in text
    for row in ("where   node_heads.tensor.0", "irrep   2+", "figure  B(2+) ="):
        assert row in text
    assert "equivariant readout" in text
    assert max(map(len, text.splitlines())) <= 80
    value = toys.read_back(tmp_path / "out.json")
    assert value["schema"] == "symjax-diagnosis/1"
    (finding,) = value["findings"]
    assert finding["kind"] == "missing irrep"
    assert finding["severity"] == "critical"
    assert finding["outputs"] == ["tensor"]
    assert set(finding["figure"]) == {"name", "value", "uncertainty", "unit"}
    assert {check["kind"] for check in value["checks"]} >= {"leakage", "aliasing"}


def test_unresolved(invoke, written):
    result = invoke(written("aliased"))
    assert result.exit_code == cli.UNRESOLVED, result.output
    assert "ALIASING" in result.stdout
    assert re.search(r"grid of degree\s+\d+", result.stdout)


def test_targets_and_layers(invoke, written):
    head = toys.HEADS["tensor"]
    path = written()
    result = invoke(path, "--target", "octupole=3+,1-", "--reads", f"octupole={head}")
    assert result.exit_code == cli.OK, result.output
    assert "octupole needs 3+" in " ".join(result.stdout.split())
    assert "needs 1-" not in result.stdout


BAD = {
    "missing file": ("absent", [], "REPORT='.*absent.json': cannot be read.*Pass"),
    "truncated": (100, [], "REPORT='.*report.json': is truncated or not JSON.*restore"),
    "empty": (0, [], "REPORT='.*report.json': is truncated or not JSON.*restore"),
    "other version": (
        {"schema": "symjax-report/99"},
        [],
        "report.json: schema='symjax-report/99': is not the format.*Read it with",
    ),
    "no object": ([], [], "report.json=.*should be an object.*restore"),
    "only outputs": (
        "outputs",
        ["--target", "dipole=1+"],
        "REPORT='none': has no layers.*Measure again with --layers all",
    ),
    "nothing measured": ("failed", [], "REPORT='exact': has no structure.*Measure"),
    "irrep": (None, ["--target", "a=2"], "--target='2': is not the label.*Write"),
    "target": (None, ["--target", "a"], "--target='a': is not of the form.*Pass"),
    "reads": (None, ["--reads", "=b"], "--reads='=b': is not of the form.*Pass"),
    "reads nothing known": (
        None,
        ["--reads", "spin=x"],
        "--reads='spin': is neither an output.*Use energy",
    ),
    "layer": (
        None,
        ["--reads", "energy=nope"],
        "--reads='energy=nope': names no layer.*Use names from gnn_layers",
    ),
    "model alone": (None, ["--model", "x"], "--model='x'.*without --structures.*Pass"),
    "products alone": (None, ["--probe-products"], "--probe-products=True.*Pass"),
    "figure alone": (None, ["--probe-figure", "a.png"], "figure='a.png'.*Pass"),
    "no figure": (
        None,
        ["--probe", "H2O", "--probe-figure", "a.gif"],
        "--probe-figure='a.gif': is not a figure file.*png",
    ),
    "frames alone": (None, ["--frames", "0"], "--frames='0'.*without --structures"),
    "molecule": (
        None,
        ["--structures", "XYZZY"],
        "--structures='XYZZY'",
    ),
    "model": (
        None,
        ["--structures", "H2O", "--model", "nope"],
        "--model='nope': is neither a model.*Use",
    ),
    "empty model": (
        None,
        ["--structures", "H2O", "--model", ""],
        "--model='': is an empty name",
    ),
    "other model": (
        None,
        ["--structures", "H2O", "--model", "pet-ethanol"],
        "--model='pet-ethanol': is not the model of the report.*Pass",
    ),
    "existing json": (
        None,
        ["--json", "report.json"],
        "--json='report.json': exists already.*--overwrite",
    ),
    "folder for json": (
        None,
        ["--json", "no/such/out.json"],
        "--json='no/such/out.json': cannot be written.*Choose",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name, invoke, written, tmp_path):
    damage, args, match = BAD[name]
    report = toys.report("exact")
    if damage == "outputs":
        report = toys.without_layers(report)
        settings = dataclasses.replace(report.settings, layers="none")
        report = dataclasses.replace(report, settings=settings)
    if damage == "failed":
        report = dataclasses.replace(report, structures=())
    path = written(whole=report)
    if damage == "absent":
        path = tmp_path / "absent.json"
    elif isinstance(damage, int):
        path.write_bytes(path.read_bytes()[:damage])
    elif isinstance(damage, dict | list):
        path.write_text(json.dumps(damage))
    result = invoke(path, *args)
    assert result.exit_code == cli.BAD_INPUT, result.output
    lines = result.stderr.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("Error: ")
    assert lines[0].endswith(".")
    assert re.search(match, lines[0]), lines[0]


def test_help_and_documentation_list_every_option(request, invoke):
    import typer

    text = (request.config.rootpath / "docs" / "cli.md").read_text("utf-8")
    section = text.split("## `symjax diagnose`")[1].split("\n## ")[0]
    shown = invoke("--help").output
    command = {c.name: c for c in typer.main.get_command(cli.app).commands.values()}
    for parameter in command["diagnose"].params:
        names = [*parameter.opts, *parameter.secondary_opts]
        if parameter.name not in ("source", "help"):
            assert any(f"`{name}" in section for name in names), names
            assert any(name in shown for name in names), names


def test_written_reports_are_read_as_they_were(written):
    path = written("missing")
    assert diagnose(read_report(path)) == diagnose(toys.report("missing"))
