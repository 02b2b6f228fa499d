"""Reports of events, from a file with the command line to the stored numbers."""

import json
import math
import pathlib
import pickle
import re

import ase.build
import jax
import numpy as np
import pytest
from small_models import drawn_pointmae
from typer.testing import CliRunner

from symjax.cli import app
from symjax.data.digests import event_digest
from symjax.data.point_clouds import (
    PARTICLES,
    SMALL,
    find_events,
    generate_event,
    make_cloud,
    write_events,
)
from symjax.errors import ArgumentError, ModelError, StructureError
from symjax.models import load_model, save_model
from symjax.models.pointmae.source import prepare_cloud
from symjax.report import ReportError, read_report, storage
from symjax.report.formats import format_value
from symjax.report.table_cells import Figure
from symjax.report.tables import to_text
from symjax.runs import (
    Destination,
    Options,
    Workers,
    as_source,
    measure_items,
)
from symjax.so3 import haar

# Both are padded to the same size: one program measures them.
SEEDS = (12, 27)
# The same programs in all tests.
LAYERS = "encoder.transformer.blocks.0,upsampler"
SAME = ("--max-degree", "1", "--layers", LAYERS, "--no-compile-cache")


@pytest.fixture(scope="module")
def model():
    return drawn_pointmae()


@pytest.fixture(scope="module")
def folder(tmp_path_factory, model):
    """An event file, a model and a report of one by the other."""
    path = tmp_path_factory.mktemp("events")
    write_events(path / "events.h5", [generate_event(seed, SMALL) for seed in SEEDS])
    save_model(model, path / "model")
    return path


def run(folder, *options, out="out"):
    command = ["report", str(folder / "events.h5"), "--model", str(folder / "model")]
    command += ["-o", str(folder / out), *SAME, *options]
    return CliRunner().invoke(app, command)


@pytest.fixture(scope="module")
def result(folder):
    return run(folder)


def test_a_report_is_written(folder, result):
    assert result.exit_code in (0, 3), result.output
    report = read_report(folder / "out")
    labels = [structure.label for structure in report.structures]
    assert labels == ["events.h5:0", "events.h5:1"]
    leaves = report.aggregate()
    assert list(leaves) == [
        "class_probabilities",
        "reconstructed_positions",
        "reconstructed_energies",
        "encoder.transformer.blocks.0",
        "upsampler",
    ]
    assert leaves["encoder.transformer.blocks.0"].kind == "token"
    assert leaves["upsampler"].kind == "point"
    assert leaves["reconstructed_positions"].unit == "voxel"
    assert set(leaves["class_probabilities"].species) <= {
        "shower",
        "track",
        "michel",
        "delta",
    }
    assert "track" in leaves["class_probabilities"].species
    assert (folder / "out" / "report_content.png").is_file()


def test_probabilities_stand_beside_classes(folder, result, model):
    """Their squared error over orientations, near that at some random ones."""
    (leaf,) = (
        leaf
        for leaf in read_report(folder / "out").structures[0].leaves
        if leaf.name == "class_probabilities"
    )
    cloud = generate_event(SEEDS[0], SMALL)
    source = as_source(model)
    sizes, _ = source.sizes({"a": cloud})
    item, size = source.prepare("a", cloud, sizes["a"])
    problem = source.problem(item, size, Options(max_degree=1))
    elements = np.asarray(haar(jax.random.key(0), 16), np.float32)
    predict = jax.jit(problem.function)
    found = np.stack(
        [
            predict(problem.x @ (sign * g).T, *problem.args)["class_probabilities"]
            for g in elements
            for sign in (1, -1)
        ]
    )
    output = problem.outputs["class_probabilities"]
    truth = output.samples[output.mask]
    right = np.eye(9)[truth][:, :4]
    known = truth < 4
    brier = np.square(found[:, output.mask] - right)[:, known].sum(-1).mean()
    assert leaf.labels.column("count") == 4 * known.sum()
    assert 4 * leaf.labels.error**2 == pytest.approx(brier, rel=0.1)
    assert "RMSE of a class; Brier score 0." in " ".join(result.stdout.split())


def test_sources_are_written(folder, result):
    stored = json.loads((folder / "out" / "report.json").read_text())
    cubic, full = stored["structures"][0]["breaking"]
    assert (cubic["group"], full["group"]) == ("Oh", "O(3)")
    assert cubic["num_elements"] == 48
    assert math.isclose(sum(cubic["content"].values()), 1, abs_tol=1e-6)
    assert 0 <= cubic["labels"]["changing"] <= 1
    assert full["voxelisation"] > 0
    assert "Sources of symmetry breaking" in result.stdout
    assert "Sources of" in (folder / "out" / "report.txt").read_text()


def test_the_cost_is_said_beforehand(folder, result):
    """The same number of elements as a measurement; nothing is written."""
    before = sorted(path.name for path in (folder / "out").iterdir())
    out = run(folder, "--estimate")
    assert out.exit_code == 0, out.output
    elements = read_report(folder / "out").settings.num_elements
    lines = out.stdout.splitlines()
    assert [line.partition(": ")[0] for line in lines] == [
        "events.h5:0 and 1 more of its size"
    ]
    # Sources of symmetry breaking: three evaluations at each of 48 + 48 elements.
    assert f": {2 * (elements + 288):,} evaluations" in lines[0]
    assert sorted(path.name for path in (folder / "out").iterdir()) == before


def test_a_report_resumes(folder, result):
    again = run(folder, "--resume", "--no-figures", "--no-html")
    assert again.exit_code == result.exit_code
    assert "completed earlier" in again.output


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (["--frames", "5"], "has 2 events"),
        (["--frames", "x"], "neither a number nor a slice"),
        (["--frames", "::0"], "steps by 0"),
        (["--model", "pet-ethanol"], "cannot be measured on events"),
        (["--layers", "gnn.*"], "matches no layer"),
        (["--symmetry"], "is for structures"),
    ],
)
def test_bad_options_are_named(folder, options, match):
    out = run(folder, "--overwrite", *options)
    assert out.exit_code == 2
    assert match in out.output


def test_a_model_of_events_refuses_molecules(folder):
    command = ["report", "CH4", "--model", str(folder / "model"), "-o"]
    out = CliRunner().invoke(app, [*command, str(folder / "other")])
    assert out.exit_code == 2
    assert "cannot be measured on structures" in out.output


def test_bad_events(model):
    events = {"a": generate_event(12, SMALL)}
    with pytest.raises(ModelError, match="cannot be measured on a, which is an event"):
        measure_items(load_model("pet-ethanol"), events, Options(), "nowhere")
    with pytest.raises(StructureError, match="none to measure"):
        measure_items(model, {}, Options(), "nowhere")
    with pytest.raises(ArgumentError, match="events needs a fixed grid"):
        measure_items(model, events, Options(grid="auto"), "nowhere")
    with pytest.raises(ArgumentError, match="have no forces"):
        measure_items(model, events, Options(energy="energy"), "nowhere")
    water = {"water": ase.build.molecule("H2O")}
    with pytest.raises(ModelError, match="on water, which is not an event"):
        measure_items(model, water, Options(), pathlib.Path("nowhere"))
    assert not pathlib.Path("nowhere").exists()
    far = make_cloud(np.full((3, 3), 700.0), np.ones(3), np.ones(3, int))
    with pytest.raises(ModelError, match="outside the detector"):
        prepare_cloud(model, "far", far)


def test_which_points_are_read_can_be_chosen(folder, monkeypatch):
    """The report says which; a model's own rules are the default."""
    # What breaks the symmetry does not depend on that.
    monkeypatch.setattr("symjax.runs.run.measure_breaking", lambda problem: ())
    common = ("--frames", "0", "--overwrite", "--no-figures")
    chosen = ("--energy-threshold", "0.25", "--low-energy", "keep")
    out = run(folder, *common, *chosen, out="chosen")
    assert out.exit_code in (0, 3), out.output
    report = read_report(folder / "chosen")
    event = generate_event(SEEDS[0], SMALL)
    kept = (event.energies > 0.25).sum()
    assert report.structures[0].num_atoms == kept < event.num_points
    assert report.settings.points == "voxels above 0.25 MeV"
    assert "voxels above 0.25 MeV" in out.stdout
    command = ["report", "CH4", "--low-energy", "keep", "-o", str(folder / "other")]
    refused = CliRunner().invoke(app, command)
    assert refused.exit_code == 2
    assert "is for events" in refused.output
    assert run(folder, *common, "--energy-threshold=-1", out="chosen").exit_code == 2


def weak(event):
    """The same event, with less energy in each point than the threshold."""
    energies = np.where(event.mask, 0.05, 0).astype(np.float32)
    return event._replace(energies=energies)


def test_a_weak_event_and_a_damaged_file_fail_alone(tmp_path, folder, result):
    """The rest is measured, and its numbers are those it has alone."""
    (tmp_path / "events").mkdir()
    one, other = (generate_event(seed, SMALL) for seed in SEEDS)
    write_events(tmp_path / "events" / "a.h5", [one, weak(one), other], version=2)
    (tmp_path / "events" / "b.h5").write_text("no HDF5")
    command = ["report", str(tmp_path / "events" / "*.h5"), "--no-figures"]
    command += ["--model", str(folder / "model"), "-o", str(tmp_path / "out")]
    out = CliRunner().invoke(app, [*command, *SAME])
    assert out.exit_code == 4, out.output
    report = read_report(tmp_path / "out")
    failures = {s.label: s.failure.message for s in report.failed}
    assert list(failures) == ["a.h5:1", "b.h5"]
    assert "leaves no point" in failures["a.h5:1"]
    assert "no HDF5 file" in failures["b.h5"]
    assert [s.label for s in report.measured] == ["a.h5:0", "a.h5:2"]
    assert "2 of 4 events failed" in out.output
    first, second = (
        r.measured[-1].leaves[0].totals.equivariance_error
        for r in (report, read_report(folder / "out"))
    )
    assert first == second
    particles = report.aggregate()["class_probabilities"].particles
    assert set(particles) <= set(PARTICLES)
    assert len(particles) > 1


def test_events_come_one_after_another(tmp_path, unsized):
    """None is asked for before its turn, and twice only where a run is resumed.

    So is anything whose size is only known after reading.
    """
    events = {f"e{n}": ase.build.molecule("H2O") for n in range(2)}
    asked, finished = [], []

    class Stream(dict):
        def __getitem__(self, label):
            assert len(finished) == len(asked)
            asked.append(label)
            return super().__getitem__(label)

    def watch(step):
        if step.finished is not None:
            finished.append(step.label)

    options = Options(max_degree=1, dtype="float64")
    measure_items(unsized, Stream(events), options, tmp_path / "out", watch=watch)
    assert asked == finished == ["e0", "e1"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "report.json",
        "results.h5",
        "structures.jsonl",
    ]


CODE = """
import jax.numpy as jnp
from symjax.metrics import Output, Problem
from symjax.so3 import VECTOR

def function(x, energies):
    # The axis n breaks symmetry: V = 0.01 E^2 of three components.
    return {"pull": energies[:, None] * (x + jnp.array([0.0, 0.0, 0.1]))}

def problem(event):
    x = jnp.asarray(event.positions - event.positions.mean(0))
    outputs = {"pull": Output(VECTOR, "MeV voxel", samples=event.semantic)}
    return Problem(function, x, outputs, args=(jnp.asarray(event.energies),))
"""


def test_a_function_measures_events(folder):
    """What a user writes, against its closed form."""
    (folder / "mine.py").write_text(CODE)
    command = ["report", str(folder / "events.h5"), "-o", str(folder / "function")]
    command += ["--model", f"{folder / 'mine.py'}:problem", "--max-degree", "1"]
    command += ["--no-compile-cache", "--no-figures"]
    out = CliRunner().invoke(app, command)
    assert out.exit_code == 0, out.output
    report = read_report(folder / "function")
    assert report.of_events
    for seed, structure in zip(SEEDS, report.structures, strict=True):
        event = generate_event(seed, SMALL)
        expected = 0.1 * np.abs(event.energies) / np.sqrt(3)
        # float32 positions of some 100 voxels: their round-off over 0.1
        np.testing.assert_allclose(structure.points.errors["pull"], expected, rtol=1e-3)
    refused = CliRunner().invoke(
        app, [*command, "--overwrite", "--energy-threshold", "0.5"]
    )
    assert refused.exit_code == 2
    assert "reads all points" in refused.output


def test_devices_measure_events_at_once(tmp_path, folder, result, model):
    """As one after another; and what worker processes are sent survives it."""
    one = read_report(folder / "out").structures
    events = dict(find_events(folder / "events.h5").events)
    events["weak"] = weak(events["events.h5:0"])
    options = Options(max_degree=1, layers=LAYERS)
    # Two threads for one device are as good a test as two devices.
    workers = Workers(devices=jax.devices()[:1] * 2)
    many = measure_items(model, events, options, tmp_path / "many", workers=workers)
    assert [structure.label for structure in many.failed] == ["weak"]
    values = [
        [storage.structure_to_json(structure) for structure in structures]
        for structures in (one, many.measured)
    ]
    for structure in (*values[0], *values[1]):
        structure.pop("timing")
    # The same program for the same device: identical to the last bit.
    assert values[0] == values[1]
    source = as_source(model)
    item = source.prepare("e0", events["events.h5:0"], None)
    again, (cloud, size) = pickle.loads(pickle.dumps((source, item)))
    assert again.digest == source.digest
    assert event_digest(cloud) == one[0].digest
    assert size == len(cloud.mask)
    # An event that has changed is not kept.
    changed = {**events, "events.h5:0": events["events.h5:1"]}
    again = Destination(tmp_path / "many", resume=True)
    with pytest.raises(ReportError, match=r"'events.h5:0'.*has changed"):
        measure_items(model, changed, options, again)


def test_an_event_comes_back_from_a_file(folder, result):
    """Points and sources, as they were measured."""
    stored = json.loads((folder / "out" / "report.json").read_text())
    for structure in read_report(folder / "out").structures:
        points = structure.points
        assert points.positions.shape == (structure.num_atoms, 3)
        assert points.errors["class_probabilities"].shape == (structure.num_atoms,)
        leaf = structure.leaves[0]
        assert np.sqrt(
            np.mean(points.errors["class_probabilities"] ** 2)
        ) == pytest.approx(leaf.totals.equivariance_error)
        assert points.changes.max() < 1
        full = structure.breaking[1]
        assert np.mean(points.changes > 0) == pytest.approx(full.labels.changing)
    again = storage.to_json(storage.from_json(stored))
    assert json.loads(storage.dumps(again)) == stored


def test_labels_are_part_of_the_digest():
    event = generate_event(12, SMALL)
    other = event._replace(semantic=np.where(event.semantic == 1, 0, event.semantic))
    assert event_digest(event) != event_digest(other)


def test_the_page_shows_events(folder, result):
    page = (folder / "out" / "report.html").read_text()
    for phrase in (
        "The event in three dimensions",
        "What breaks the symmetry",
        "By class, particle and size",
        "O_h, 48 elements",
        "labels that change",
    ):
        assert phrase in page
    main = page[page.index("<main") : page.index("</main>")]
    text = re.sub(r"<[^>]*>", " ", main)
    for word in ("formula", "point group", "atom", "structure"):
        assert not re.search(rf"\b{word}s?\b", text, re.IGNORECASE), word
    data = json.loads(re.search(r'id="data">(.*?)</script>', page).group(1))
    report = read_report(folder / "out")
    errors = {s.label: s.leaves[0].totals.equivariance_error for s in report.structures}
    shown = [cloud["label"] for cloud in data["clouds"]]
    assert shown == sorted(errors, key=lambda label: -errors[label])
    cloud = data["clouds"][0]
    points = report.structures[cloud["index"]].points
    np.testing.assert_allclose(
        np.array(cloud["positions"]) + cloud["middle"], points.positions, atol=1e-3
    )
    assert cloud["labels"] == points.labels.tolist()


@pytest.mark.parametrize("width", [40, 80])
def test_tables_fit(folder, result, width):
    """Nothing is cut: every event, and every figure with its interval, is there."""
    report = read_report(folder / "out")
    text = to_text(report, width)
    tables = text[text.index("by class") :]
    assert max(map(len, tables.splitlines())) <= width
    assert "..." not in tables
    assert "\N{HORIZONTAL ELLIPSIS}" not in tables
    for line in report.event_lines:
        assert format_value(line.output.totals.equivariance_error) in tables
    for group in report.event_summary.breaking.values():
        assert str(Figure(group.network, format_value)) in tables
