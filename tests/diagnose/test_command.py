"""``symjax diagnose``: output, exit codes, and every way to misuse it."""

import dataclasses
import json
import re

import ase.build
import ase.io
import pytest
import toys
from pydantic import TypeAdapter
from typer.testing import CliRunner

from symjax import cli
from symjax.diagnose import Check, Diagnosis, Figure, Finding, Kind, diagnose, to_text
from symjax.diagnose.document import DiagnosisFile
from symjax.report import ReportError, write_report
from symjax.report.storage import dumps, plain, read_report


@pytest.fixture
def invoke(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # The state of the process, which other tests share, stays as it is.
    monkeypatch.setattr(cli.diagnose, "configure_jax", lambda *args: None)

    def run(*args):
        return CliRunner().invoke(cli.app, ["diagnose", *map(str, args)])

    return run


@pytest.fixture
def written(tmp_path):
    def write(variant="exact", report=None):
        path = tmp_path / "report.json"
        write_report(report or toys.report(variant), path)
        return path

    return write


def test_nothing_found(invoke, written):
    result = invoke(written())
    assert result.exit_code == cli.OK, result.output
    assert "Nothing was found." in result.stdout
    for kind in Kind:
        if kind is not Kind.SYMMETRY_TRAP:
            assert f"  {kind.value}: " in result.stdout


def check_read_back(path):
    """What a file says, which is read back as it was written."""
    read = TypeAdapter(DiagnosisFile).validate_json(path.read_text())
    assert dumps(plain(read)) + "\n" == path.read_text()
    return json.loads(path.read_text())


def test_findings_are_in_plain_words_and_no_error(invoke, written, tmp_path):
    result = invoke(written("missing").parent, "--json", "out.json")
    assert result.exit_code == cli.OK, result.output
    text = result.stdout
    assert "1. MISSING IRREP, critical" in text
    for row in ("where   node_heads.tensor.0", "irrep   2+", "figure  B(2+) ="):
        assert row in text
    assert "equivariant readout" in text
    assert max(map(len, text.splitlines())) <= 80
    value = check_read_back(tmp_path / "out.json")
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
    "truncated": (100, [], "REPORT='.*report.json': is truncated or no JSON.*restore"),
    "empty": (0, [], "REPORT='.*report.json': is truncated or no JSON.*restore"),
    "other version": (
        {"schema": "symjax-report/99"},
        [],
        "report.json: schema='symjax-report/99': is not the format.*Read it with",
    ),
    "no object": ([], [], "report.json=.*should be an object.*restore"),
    "only outputs": (
        "outputs",
        ["--target", "dipole=1+"],
        "REPORT='none': holds no layers.*Measure again with --layers all",
    ),
    "nothing measured": ("failed", [], "REPORT='exact': holds no structure.*Measure"),
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
        "--probe-figure='a.gif': is no figure.*png",
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
    path = written(report=report)
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


def test_a_report_without_layers_has_its_outputs_judged():
    """As of calculators and exported models."""
    for variant, names in (("exact", set()), ("trapped", {"dipole"})):
        whole = diagnose(toys.report(variant))
        report = toys.without_layers(toys.report(variant))
        found = diagnose(report)
        unlearned = [one for one in whole.findings if one.kind is Kind.UNLEARNED]
        assert list(found.findings) == unlearned
        assert {name for one in unlearned for name in one.outputs} == names
        judged = {check.kind for check in found.checks if check.looked_at}
        assert judged == {Kind.UNLEARNED, Kind.ALIASING}
        assert "the report holds no layers" in to_text(found)
    with pytest.raises(ReportError, match="holds no layers"):
        diagnose(report, targets={"dipole": ["1+"]})


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


def test_text_names_what_could_not_be_looked_for():
    finding = Finding.of(
        Kind.LEAKAGE,
        2.0,
        layer="a",
        irrep="",
        figure=Figure("B", 0.5, 0.1),
        outputs=(),
        sentence="One.",
        remedy="Two",
    )
    assert finding.effect == 1.0
    checks = (Check(Kind.ALIASING, 0, "no layer"),)
    text = to_text(Diagnosis("m", (finding,), checks))
    assert "aliasing (could not be looked for): no layer" in text
    assert "irrep" not in text
    assert text.endswith("\n")


class TestStructures:
    @pytest.fixture
    def path(self, written):
        """A report that claims to be of the model that ships."""
        from symjax.models import fingerprint, load_model
        from symjax.report.schema import ModelInfo

        model = load_model("pet-ethanol")
        info = ModelInfo(model.name, fingerprint(model))
        return written(report=dataclasses.replace(toys.report("exact"), model=info))

    def test_traps_are_listed(self, invoke, path):
        result = invoke(path, "--structures", "CH4")
        assert result.exit_code == cli.OK, result.output
        assert "1. SYMMETRY TRAP, minor" in result.stdout
        assert "symmetry trap: forces of CH4 (Td)" in result.stdout

    def test_layers_at_which_an_error_enters(self, invoke, path):
        result = invoke(path, "--trace", "H2O")
        assert result.exit_code == cli.OK, result.output
        assert "Where the error of energy enters: A = " in result.stdout
        rows = [line.split() for line in result.stdout.splitlines()]
        shares = [float(row[-1]) for row in rows if row[:2] == ["GNN", "layer"]]
        behind = [float(row[-1]) for row in rows if row[:2] == ["behind", "them"]]
        # of the energy, and then of its forces
        assert len(shares) == 4
        assert sum(shares[:2] + behind[:1]) == pytest.approx(100, abs=0.2)
        # heads read what is invariant by then
        assert abs(behind[0]) < 0.1
        assert "H2O: forces traced on all 3 atoms." in result.stdout

    def test_sectors_share_out_what_a_layer_changes(
        self, invoke, path, tmp_path, monkeypatch
    ):
        """Shapley values and what enters elsewhere add up to A^2, in table and file."""
        monkeypatch.setattr("symjax.diagnose.tracing.DEGREE", 2)
        monkeypatch.setattr("symjax.diagnose.tracing.SECTOR_DEGREE", 1)
        result = invoke(path, "--trace", "OH", "--shapley", "--json", "t.json")
        assert result.exit_code == cli.OK, result.output
        rows = [line.split() for line in result.stdout.splitlines()]
        shapley = [float(row[-2]) for row in rows if row[:1] in (["0-"], ["1+"])]
        assert len(shapley) == 4  # two sectors of two layers
        traced = json.loads((tmp_path / "t.json").read_text())["traces"]["OH"]
        assert traced["forces"] == "all 2 atoms"
        for layer in traced["shares"]:
            whole = sum(layer["values"]["energy"]) + layer["left"]["energy"]
            error = traced["trace"]["errors"]["energy"][0]
            assert whole == pytest.approx(error**2, rel=1e-3)
            # a line has no pseudotensors
            shares = dict(zip(layer["sectors"], layer["values"]["energy"], strict=True))
            assert abs(shares["0-"]) < 1e-6 * whole or layer != traced["shares"][0]
        check_read_back(tmp_path / "t.json")
        alone = invoke(path, "--shapley")
        assert alone.exit_code == cli.BAD_INPUT
        assert "--shapley=True: is of no use without --trace" in alone.stderr

    def test_what_can_be_read_from_layers(self, invoke, path, tmp_path):
        """Water: tensors of every layer behind the first, 0- of none, as it is flat."""
        frames = [ase.build.molecule("H2O") for _ in range(10)]
        for seed, atoms in enumerate(frames):
            atoms.rattle(0.1, seed=seed)
        frames.append(ase.build.molecule("SiH4"))
        ase.io.write(tmp_path / "f.xyz", frames, format="extxyz")
        asked = ["--json", "out.json", "--probe-figure", "probes.svg"]
        result = invoke(path, "--probe", "f.xyz", *asked)
        assert result.exit_code == cli.FAILED, result.output
        assert "f.xyz:10: FAILED: " in result.stderr
        assert "a layer carries (B), and that can be read from it" in result.stdout
        found = check_read_back(tmp_path / "out.json")["probes"]
        assert found["structures"] == [5, 5]
        first = found["sectors"]["gnn_layers.0.compress"]
        assert first["1+"]["score"] > 0.9
        assert "0-" not in first
        # a linear map of vectors and their lengths, and no more
        edges = found["sectors"]["gnn_layers.0.edge_embedder"]
        assert (
            {"1+"}
            <= {name for name in edges if edges[name]["decodable"]}
            <= {
                "0+",
                "1+",
            }
        )
        assert "</svg>" in (tmp_path / "probes.svg").read_text()
        few = invoke(path, "--probe", "f.xyz", "--frames", ":3")
        assert few.exit_code == cli.BAD_INPUT
        assert "--probe=3: are too few" in few.stderr

    def test_products_of_features_are_read_too(self, invoke, path, tmp_path):
        """Of one vector per atom: of degree 2 only its products tell."""
        report = read_report(path)
        name = "gnn_layers.0.edge_embedder"
        settings = dataclasses.replace(report.settings, layers=name)
        write_report(dataclasses.replace(report, settings=settings), path)
        frames = [ase.build.molecule("CH3OH") for _ in range(12)]
        for seed, atoms in enumerate(frames):
            atoms.rattle(0.1, seed=seed)
        ase.io.write(tmp_path / "f.xyz", frames, format="extxyz")
        asked = ["--probe", "f.xyz", "--probe-products", "--json", "out.json"]
        result = invoke(path, *asked)
        assert result.exit_code == cli.OK, result.output
        found = check_read_back(tmp_path / "out.json")["probes"]
        of_one, of_two = found["sectors"][name], found["products"][name]
        assert of_one["1+"]["decodable"]
        assert not of_one["2+"]["decodable"]
        assert of_two["2+"]["decodable"]

    def test_structures_that_fail(self, invoke, path, tmp_path):
        frames = [ase.build.molecule(name) for name in ("CH4", "SiH4")]
        ase.io.write(tmp_path / "f.xyz", frames, format="extxyz")
        result = invoke(path, "--structures", "f.xyz")
        assert result.exit_code == cli.FAILED, result.output
        assert "f.xyz:1: FAILED: " in result.stderr
        assert "SYMMETRY TRAP" in result.stdout
        alone = invoke(path, "--structures", "f.xyz", "--frames", "1")
        assert alone.exit_code == cli.BAD_INPUT
        assert alone.stderr.startswith("Error: ")
