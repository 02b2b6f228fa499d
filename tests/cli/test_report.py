"""The command line: every way to misuse it, exit codes, and one run to the end."""

import json
import re

import ase.build
import ase.io
import fake_model
import numpy as np
import pytest
from fake_model import FAST, offer
from interrupted import interrupted_by_jax
from small_models import drawn_pet
from typer.testing import CliRunner
from water_runs import save_smallest_model

import symjax
from symjax import cli
from symjax.models import save_model
from symjax.report import read_report


def write(path, name="H2O", frames=1):
    atoms = ase.build.molecule(name)
    images = []
    for index in range(frames):
        image = atoms.copy()
        image.rattle(0.02, seed=index)
        images.append(image)
    ase.io.write(path, images, format="extxyz")
    return path


@pytest.fixture
def saved_model(tmp_path):
    """Folder of a small PET, which is never evaluated."""
    save_smallest_model(tmp_path / "saved")
    return tmp_path / "saved"


# Bad input: what stands in the folder, the arguments, and what the message must say:
# the argument, its value and the remedy.


def nothing(folder):
    pass


def existing_report(folder):
    (folder / "out").mkdir()
    (folder / "out" / "report.json").write_text("{}")


def existing_journal(folder):
    (folder / "out").mkdir()
    (folder / "out" / "structures.jsonl").write_text('{"schema": "other"}\n')


def cut_journal(folder):
    (folder / "out").mkdir()
    (folder / "out" / "structures.jsonl").write_text('{"schema": "symjax-str')


def file_named_out(folder):
    (folder / "out").write_text("mine")


def content(name, data):
    def prepare(folder):
        (folder / name).write_bytes(data)

    return prepare


def frames(folder):
    write(folder / "frames.xyz", frames=3)


def twice(folder):
    atoms = ase.Atoms("OH2", positions=np.zeros((3, 3)))
    ase.io.write(folder / "twice.xyz", atoms, format="extxyz")


def not_finite(folder):
    (folder / "nan.xyz").write_text("1\n\nO nan 0 0\n")


def no_cell(folder):
    (folder / "flat.xyz").write_text(
        '1\npbc="T T T" Lattice="0 0 0 0 0 0 0 0 0"\nO 0 0 0\n'
    )


def subfolder(folder):
    (folder / "sub").mkdir()


BAD = {
    "unknown molecule": (nothing, ["XYZZY"], "TARGET='XYZZY'.*Pass"),
    "mistyped molecule": (nothing, ["CH3CH20H"], "TARGET=.*close: .*CH3CH2OH"),
    "missing file": (nothing, ["no/where.xyz"], r"TARGET='no/where.xyz'.*Pass"),
    "empty name": (nothing, [""], "TARGET=''.*Pass"),
    "empty file": (content("a.xyz", b""), ["a.xyz"], "TARGET='a.xyz': is empty"),
    "folder": (subfolder, ["sub"], "TARGET='sub': holds no structure file.*Pass"),
    "cut file": (content("a.xyz", b"9\n\nO 0 0 0\n"), ["a.xyz"], "TARGET.*is whole"),
    "binary file": (content("a.xyz", b"\0\1\xff" * 50), ["a.xyz"], "TARGET='a.xyz'"),
    "unknown format": (content("a.qqq", b"hello"), ["a.qqq"], "TARGET.*Convert"),
    "unknown element": (nothing, ["SiH4"], "Si.*it knows H, C, O.*Leave out"),
    "atoms at one place": (twice, ["twice.xyz"], "atoms 0 and 1.*Remove"),
    "not finite": (not_finite, ["nan.xyz"], "must be finite"),
    "no cell": (no_cell, ["flat.xyz"], "has no cell vector.*Set atoms.cell"),
    "grid too coarse": (
        nothing,
        ["H2O", "--grid", 3, "--max-degree", 6],
        "--grid=3: is too coarse.*Use --grid 13, or --max-degree 1",
    ),
    "grid negative": (nothing, ["H2O", "--grid", -5], "--grid=-5.*Use --grid 13"),
    "grid zero": (
        nothing,
        ["H2O", "--grid", 0, "--max-degree", 0],
        "--grid=0.*Use --grid 1",
    ),
    "grid no number": (nothing, ["H2O", "--grid", "x"], "--grid='x'.*Pass --grid 13"),
    "grid auto and tolerance": (
        nothing,
        ["H2O", "--grid", "auto", "--tolerance", 0.1],
        "--tolerance=0.1: is for a fixed grid.*Leave out --tolerance",
    ),
    "grid auto and an estimate": (
        nothing,
        ["H2O", "--grid", "auto", "--estimate"],
        "--grid='auto': an estimate needs a fixed grid.*Use --grid 13",
    ),
    "degree negative": (
        nothing,
        ["H2O", "--max-degree", -1],
        "--max-degree=-1: is not a degree. Pass",
    ),
    "degree no number": (
        nothing,
        ["H2O", "--max-degree", "two"],
        "Invalid value for '--max-degree'",
    ),
    "tolerance zero": (nothing, ["H2O", "--tolerance", 0], "--tolerance=0.*Use"),
    "tolerance large": (nothing, ["H2O", "--tolerance", 1.5], "--tolerance=1.5.*Use"),
    "tolerance NaN": (nothing, ["H2O", "--tolerance", "nan"], "--tolerance=nan.*Use"),
    "memory zero": (nothing, ["H2O", "--memory", 0], "--memory=0.*Pass 2"),
    "memory negative": (nothing, ["H2O", "--memory", -2], "--memory=-2.*Pass 2"),
    "memory NaN": (nothing, ["H2O", "--memory", "nan"], "--memory=nan.*Pass 2"),
    "memory infinite": (nothing, ["H2O", "--memory", "inf"], "--memory=inf.*Pass 2"),
    "memory too little": (
        nothing,
        ["H2O", "--memory", 1e-8],
        r"--memory=.*need \d+ bytes.*Allow --memory 0\.\d",
    ),
    "dtype": (nothing, ["H2O", "--dtype", "float16"], "--dtype.*float32.*float64"),
    "figure format": (
        nothing,
        ["H2O", "--figure-format", "gif"],
        "--figure-format.*png.*svg.*pdf",
    ),
    "frames no slice": (
        frames,
        ["frames.xyz", "--frames", "abc"],
        "--frames='abc'.*Pass a number",
    ),
    "frames step zero": (
        frames,
        ["frames.xyz", "--frames", "::0"],
        "--frames='::0'.*Pass a number",
    ),
    "frames outside": (
        frames,
        ["frames.xyz", "--frames", "5:9"],
        "5:9.*Pass an index within",
    ),
    "frame outside": (frames, ["frames.xyz", "--frames", "7"], "Pass an index within"),
    "frames of a molecule": (
        nothing,
        ["H2O", "--frames", "0:2"],
        "--frames='0:2'.*Leave out",
    ),
    "output is a file": (file_named_out, ["H2O"], "--output=.*is a file.*Choose"),
    "output in a file": (
        file_named_out,
        ["H2O", "-o", "out/sub"],
        "--output=.*is a file.*Choose",
    ),
    "report exists": (
        existing_report,
        ["H2O"],
        "--output='out': already holds a report.*--resume.*--overwrite",
    ),
    "journal exists": (existing_journal, ["H2O"], "already holds a report"),
    "nothing to resume": (
        nothing,
        ["H2O", "--resume"],
        "--output='out'.*nothing to resume.*Leave out --resume",
    ),
    "resume a report without journal": (
        existing_report,
        ["H2O", "--resume"],
        "nothing to resume",
    ),
    "resume a foreign journal": (
        existing_journal,
        ["H2O", "--resume"],
        "structures.jsonl, line 1: schema='other'.*",
    ),
    "resume a cut journal": (
        cut_journal,
        ["H2O", "--resume"],
        "no complete line.*--overwrite",
    ),
    "resume and overwrite": (
        existing_report,
        ["H2O", "--resume", "--overwrite"],
        "--overwrite.*contradicts resuming.*Pass --resume",
    ),
    "jobs zero": (nothing, ["H2O", "--jobs", 0], "--jobs=0.*Pass 1 or more"),
    "more devices than there are": (
        nothing,
        ["H2O", "--devices", 99],
        "--devices='99': is not a number of devices.*Use --jobs",
    ),
    "devices no number": (nothing, ["H2O", "--devices", "x"], "--devices='x'"),
    "scheduler and jobs": (
        nothing,
        ["H2O", "--scheduler", "tcp://a:1", "--jobs", 2],
        "--jobs=2: is for this machine.*Pass one of them",
    ),
    "pattern without files": (nothing, ["*.xyz"], "TARGET='.*xyz': matches no file"),
    "no target": (nothing, [], "Missing argument.*TARGET"),
    "unknown option": (nothing, ["H2O", "--max-deg"], "No such option.*--max-deg"),
    "two targets": (nothing, ["H2O", "CH4"], "unexpected extra argument"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name, invoke, tmp_path):
    prepare, args, match = BAD[name]
    prepare(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    options = [] if "-o" in args else ["-o", "out"]
    result = invoke("report", *args, "--model", "fake", "--no-figures", *options)
    check_refusal(result, match)
    # nothing was written, nothing was changed
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert after == before


def check_refusal(result, match):
    text = result.output
    assert result.exit_code == cli.BAD_INPUT, text
    assert "Traceback" not in text
    assert "Error: " in text
    assert re.search(match, text.replace("\n", " ")), text
    # problem and remedy, as sentences
    if "Usage:" not in text:
        assert text.startswith("Error: ")
        assert text.rstrip().endswith(".")
        assert text.count("\n") == 1


def test_unknown_model(invoke, tmp_path):
    result = invoke("report", "H2O", "--model", "nope", "-o", "out")
    check_refusal(result, "--model='nope': is neither.*Use")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("file", "damage", "match"),
    [
        ("model.json", None, "--model=.*model.json.*no such file"),
        ("model.json", 40, "--model=.*model.json.*cannot be read"),
        ("model.json", 0, "--model=.*model.json.*cannot be read"),
        ("model.safetensors", None, "--model=.*model.safetensors.*cannot be read"),
        ("model.safetensors", 200, "--model=.*model.safetensors.*cannot be read"),
        ("model.safetensors", 3, "--model=.*model.safetensors.*cannot be read"),
    ],
)
def test_damaged_model(invoke, saved_model, tmp_path, file, damage, match):
    path = saved_model / file
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:damage])
    result = invoke("report", "H2O", "--model", saved_model, "-o", "out")
    check_refusal(result, match)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("pattern", ["nope", "(", "node_heads.*,nope", ""])
def test_unknown_layers(invoke, saved_model, tmp_path, pattern):
    result = invoke(
        "report", "H2O", "--model", saved_model, "--layers", pattern, "-o", "out"
    )
    check_refusal(result, "--layers=")
    assert not (tmp_path / "out").exists()


class TestReport:
    def test_success(self, invoke, tmp_path):
        options = [word for word in FAST if word != "--no-laws"]
        result = invoke("report", "H2O", *options, "--layers", "all", "-o", "a/b")
        assert result.exit_code == cli.OK, result.output
        assert "\x1b" not in result.output
        assert "Other laws of nature, of H2O" in result.stdout
        assert "eV/" in result.stdout
        assert "H2O: resolved" in result.stderr
        folder = tmp_path / "a" / "b"
        report = read_report(folder)
        assert report.settings.max_degree == 1
        assert report.settings.dtype == "float32"
        assert report.software.symjax == symjax.__version__
        assert [leaf.name for leaf in report.structures[0].leaves][-1] == "a_layer_node"
        assert (folder / "report.txt").read_text("utf-8") in _stripped(result.stdout)
        assert report.command == (
            "symjax report H2O --model fake --max-degree 1 --layers all --output a/b "
            "--no-figures"
        )
        assert sorted(path.name for path in folder.iterdir()) == [
            "report.html",
            "report.json",
            "report.txt",
            "results.h5",
            "structures.jsonl",
        ]

    def test_float64(self, invoke, tmp_path):
        result = invoke("report", "H2O", *FAST, "--dtype", "float64")
        assert result.exit_code == cli.OK, result.output
        report = read_report(tmp_path / "report")
        assert report.settings.dtype == "float64"
        # an invariant, in the round-off of float64 and far below that of float32
        assert report.aggregate()["energy"].totals.relative_error < 1e-12

    def test_frames(self, invoke, tmp_path):
        write(tmp_path / "w.xyz", frames=4)
        result = invoke("report", "w.xyz", *FAST, "--frames", "1:3")
        assert result.exit_code == cli.OK, result.output
        labels = [s.label for s in read_report(tmp_path / "report").structures]
        assert labels == ["w.xyz:1", "w.xyz:2"]

    def test_folder_with_a_bad_file(self, invoke, tmp_path):
        (tmp_path / "data").mkdir()
        write(tmp_path / "data" / "w.xyz", frames=3)
        (tmp_path / "data" / "cut.xyz").write_text("3\n\nO 0 0 0\n")
        (tmp_path / "data" / "notes.txt").write_text("mine")
        result = invoke("report", "data", *FAST, "--devices", "1")
        assert result.exit_code == cli.FAILED, result.output
        assert "not structure files: notes.txt" in result.stderr
        assert "cut.xyz: FAILED: path=" in result.stderr
        assert re.search(r"2/4 w.xyz:0: resolved in .* s; \d+ s left", result.stderr)
        assert "4/4 w.xyz:2: resolved" in result.stderr
        report = read_report(tmp_path / "report")
        assert [s.label for s in report.measured] == [f"w.xyz:{n}" for n in range(3)]
        assert [s.label for s in report.failed] == ["cut.xyz"]

    def test_bars_on_a_terminal(self, invoke, tmp_path, monkeypatch):
        monkeypatch.setenv("FORCE_COLOR", "1")
        write(tmp_path / "w.xyz", frames=3)
        assert invoke("report", "w.xyz", *FAST, "--frames", "0").exit_code == cli.OK
        result = invoke("report", "w.xyz", *FAST, "--resume")
        assert result.exit_code == cli.OK, result.output
        shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", result.stderr)
        assert "1/3 w.xyz:0: completed earlier" in shown
        assert "3/3 w.xyz:2: resolved" in shown
        assert re.search(r"all .* [123]/3 +items", shown), shown

    def test_overwrite(self, invoke, tmp_path):
        assert invoke("report", "H2O", *FAST).exit_code == cli.OK
        assert invoke("report", "CH3OH", *FAST).exit_code == cli.BAD_INPUT
        assert invoke("report", "CH3OH", *FAST, "--overwrite").exit_code == cli.OK
        labels = [s.label for s in read_report(tmp_path / "report").structures]
        assert labels == ["CH3OH"]

    def test_bad_input_does_not_destroy_the_old_report(self, invoke, tmp_path):
        assert invoke("report", "H2O", *FAST).exit_code == cli.OK
        before = (tmp_path / "report" / "report.json").read_bytes()
        for bad in (["SiH4"], ["H2O", "--grid", 1], ["nope"]):
            result = invoke("report", *bad, *FAST, "--overwrite")
            assert result.exit_code == cli.BAD_INPUT
        assert (tmp_path / "report" / "report.json").read_bytes() == before

    def test_unresolved(self, invoke, tmp_path, monkeypatch):
        offer(monkeypatch, fake_model.FakeModel(rough=True))
        result = invoke("report", "H2O", *FAST)
        assert result.exit_code == cli.UNRESOLVED, result.output
        assert "NOT RESOLVED, outputs: energy" in result.stdout
        assert "Repeat with a grid of degree" in result.stdout
        assert "NOT RESOLVED" in result.stderr
        assert not read_report(tmp_path / "report").resolved

    def test_failed_structures(self, invoke, tmp_path):
        frames = [ase.build.molecule(name) for name in ("H2O", "SiH4", "H2O")]
        ase.io.write(tmp_path / "f.xyz", frames, format="extxyz")
        result = invoke("report", "f.xyz", *FAST)
        assert result.exit_code == cli.FAILED, result.output
        assert "1 of 3 structures failed" in result.stderr
        assert "f.xyz:1: FAILED" in result.stderr
        assert len(read_report(tmp_path / "report").measured) == 2

    def test_all_structures_fail(self, invoke, tmp_path):
        frames = [ase.build.molecule("SiH4")] * 2
        ase.io.write(tmp_path / "f.xyz", frames, format="extxyz")
        # figures are asked for, but there is nothing to draw
        result = invoke("report", "f.xyz", *FAST[:-1])
        assert result.exit_code == cli.FAILED, result.output
        assert "Nothing was measured" in result.stdout
        assert len(read_report(tmp_path / "report").failed) == 2

    def test_interrupt_and_resume(self, invoke, tmp_path, monkeypatch):
        from symjax.runs import run

        write(tmp_path / "w.xyz", frames=3)
        original, calls = run.measure, []

        def measure(*args, **kwargs):
            calls.append(1)
            if len(calls) == 2:
                interrupted_by_jax()
            return original(*args, **kwargs)

        monkeypatch.setattr(run, "measure", measure)
        result = invoke("report", "w.xyz", *FAST)
        assert result.exit_code == cli.INTERRUPTED, result.output
        assert "run the same command with --resume" in result.stderr
        assert "Traceback" not in result.output
        assert not (tmp_path / "report" / "report.json").exists()
        lines = (tmp_path / "report" / "structures.jsonl").read_text().splitlines()
        assert [json.loads(line)["label"] for line in lines[1:]] == ["w.xyz:0"]

        result = invoke("report", "w.xyz", *FAST, "--resume")
        assert result.exit_code == cli.OK, result.output
        assert "1/3 w.xyz:0: completed earlier" in result.stderr
        assert len(calls) == 4
        assert len(read_report(tmp_path / "report").measured) == 3

    def test_resume_with_other_settings(self, invoke, tmp_path):
        assert invoke("report", "H2O", *FAST).exit_code == cli.OK
        before = (tmp_path / "report" / "report.json").read_bytes()
        result = invoke("report", "H2O", *FAST, "--resume", "--tolerance", 0.2)
        check_refusal(result, "--tolerance=0.2: differs.*which has 0.05.*--overwrite")
        assert (tmp_path / "report" / "report.json").read_bytes() == before

    def test_interrupt_before_anything(self, invoke, tmp_path, monkeypatch):
        def interrupt(*args, **kwargs):
            raise KeyboardInterrupt

        monkeypatch.setattr("symjax.data.find_structures", interrupt)
        result = invoke("report", "H2O", *FAST)
        assert result.exit_code == cli.INTERRUPTED
        assert "Interrupted" in result.output

    @pytest.mark.parametrize("debug", [False, True])
    def test_internal_error(self, invoke, monkeypatch, debug):
        def fail(*args, **kwargs):
            raise RuntimeError("secret detail")

        monkeypatch.setattr("symjax.runs.run.measure", fail)
        result = invoke("report", "H2O", *FAST, *(["--debug"] if debug else []))
        assert result.exit_code == cli.INTERNAL
        assert "Internal error: RuntimeError: secret detail" in result.output
        assert "--debug" in result.output
        assert ("Traceback" in result.output) == debug

    def test_debug_shows_where_bad_input_was_found(self, invoke):
        result = invoke("report", "XYZZY", *FAST, "--debug")
        assert result.exit_code == cli.BAD_INPUT
        assert "Traceback" in result.output


def _stripped(text):
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


def test_shipped_model_end_to_end(tmp_path):
    from symjax.models.io import shipped_models

    if "pet-ethanol" not in shipped_models():
        pytest.skip("the model pet-ethanol does not ship with this checkout")
    out = tmp_path / "out"
    # water: three atoms compile fastest
    result = CliRunner().invoke(
        cli.app,
        [
            *("report", "H2O", "--max-degree", "2", "--no-laws", "-o", str(out)),
        ],
    )
    # Whether degree 5 resolves this model is not for this test to say.
    assert result.exit_code in (cli.OK, cli.UNRESOLVED), result.output
    report = read_report(out)
    leaves = report.aggregate()
    assert {"energy", "forces"} <= set(leaves)
    assert leaves["forces"].unit == "eV/angstrom"
    for leaf in leaves.values():
        totals = leaf.totals
        assert 0 < totals.relative_error < 1
        # the trained model has learned what it predicts: an invariant, a vector
        main = totals.content[0 if leaf.name == "energy" else 1, 0]
        assert main == totals.content.max()
    assert (out / "report_content.png").stat().st_size > 10_000
    figures = {path.name for path in out.glob("report_*")}
    assert figures == {"report_content.png", "report_errors.png"}
    assert result.exit_code == (cli.OK if report.resolved else cli.UNRESOLVED)


@pytest.mark.slow
def test_a_grid_is_chosen_for_a_network(tmp_path):
    """A small PET with random parameters, with its layers."""
    save_model(drawn_pet((1, 8)), tmp_path / "saved")
    options = ["--layers", "gnn_layers.0.trans.layers.0_node", "--max-degree", "2"]
    options += ["--model", str(tmp_path / "saved"), "--no-figures"]
    out = tmp_path / "out"
    result = CliRunner().invoke(
        cli.app, ["report", "H2O", "--grid", "auto", *options, "-o", str(out)]
    )
    assert result.exit_code == cli.OK, result.output
    assert "chosen for each structure" in result.stdout
    assert "Certificates" in (out / "report.html").read_text()
    report = read_report(out)
    assert "--grid auto" in report.command
    (structure,) = report.structures
    assert structure.grid.startswith("adaptive: lebedev")
    assert len(structure.leaves) == 3
    for leaf in structure.leaves:
        assert leaf.certificate.certified
        *coarser, last = leaf.curve(report.settings)
        assert last.degree == leaf.certificate.degree > coarser[-1].degree
        # What is certified: the last rules agree within what was asked for.
        before, after = (point.totals for point in (coarser[-1], last))
        assert before.relative_error == pytest.approx(after.relative_error, rel=0.02)
        few = min(before.power.shape[1], 3)
        np.testing.assert_allclose(before.content[:few], after.content[:few], atol=2e-3)


def test_estimate_says_the_cost_and_writes_nothing(invoke, tmp_path):
    molecules = [ase.build.molecule(name) for name in ("H2O", "CH4")]
    ase.io.write(tmp_path / "two.xyz", molecules, format="extxyz")
    result = invoke("report", "two.xyz", *FAST, "--estimate", "-o", "report")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].startswith("two.xyz:0: 48 evaluations, about")
    assert lines[1].startswith("two.xyz:1: 48 evaluations, about")
    assert lines[2].startswith("all: 96 evaluations, about")
    assert "GiB" in lines[2]
    assert not (tmp_path / "report").exists()
