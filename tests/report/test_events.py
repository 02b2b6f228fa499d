"""Reports of events, from a file with the command line to the stored numbers."""

import json
import math

import jax
import numpy as np
import pytest
from typer.testing import CliRunner

from symjax.cli import app
from symjax.data.point_clouds import (
    SMALL,
    generate_event,
    make_cloud,
    voxel_length,
    write_events,
)
from symjax.errors import ModelError, StructureError
from symjax.models import load_model, save_model
from symjax.models.pointmae import PointMAEConfig, init_pointmae
from symjax.report import read_report
from symjax.report.breaking import breaking_text, measure_breaking
from symjax.report.events import event_digest, prepare_clouds

SEEDS = (12, 20)


@pytest.fixture(scope="module")
def model():
    config = PointMAEConfig(
        detector_size=SMALL.size,
        group_radius=5 * voxel_length(SMALL.size),
        context_length=32,
        group_points=6,
        pointnet_widths=(4, 4, 6),
        embed_dim=8,
        depth=1,
        num_heads=2,
        decoder_depth=1,
        num_classes=4,
        fetch_layers=(0,),
        seg_head_dim=6,
    )
    return init_pointmae(config, jax.random.key(0), "tiny")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, model):
    """An event file, a model and a report of one by the other."""
    path = tmp_path_factory.mktemp("events")
    write_events(path / "events.h5", [generate_event(seed, SMALL) for seed in SEEDS])
    save_model(model, path / "model")
    return path


def run(folder, *options):
    command = ["report", str(folder / "events.h5"), "--model", str(folder / "model")]
    command += ["-o", str(folder / "out"), "--no-compile-cache", *options]
    return CliRunner().invoke(app, command)


@pytest.fixture(scope="module")
def result(folder):
    layers = "encoder.transformer.blocks.0,upsampler"
    return run(folder, "--max-degree", "1", "--layers", layers)


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


def test_sources_are_written(folder, result):
    stored = json.loads((folder / "out" / "breaking.json").read_text())
    cubic, full = stored["events"]["events.h5:0"]
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
    out = run(folder, "--max-degree", "1", "--estimate")
    assert out.exit_code == 0, out.output
    elements = read_report(folder / "out").settings.num_elements
    lines = out.stdout.splitlines()
    assert [line.partition(": ")[0] for line in lines] == [
        "events.h5:0",
        "events.h5:1",
        "all",
    ]
    assert f"{elements:,} evaluations" in lines[0]
    assert f"{2 * elements:,} evaluations" in lines[2]
    assert sorted(path.name for path in (folder / "out").iterdir()) == before


def test_a_report_resumes(folder, result):
    layers = "encoder.transformer.blocks.0,upsampler"
    again = run(folder, "--max-degree", "1", "--layers", layers, "--resume")
    assert again.exit_code == result.exit_code
    assert "completed earlier" in again.output


def test_sources_of_one_event(model):
    event = prepare_clouds(model, {"a": generate_event(12, SMALL)})["a"]
    cubic, full = measure_breaking(model, event, samples=8)
    assert cubic.network > 0
    assert full.num_elements == 8
    assert cubic.labels.frequencies.shape == (len(event.mask), 4)
    text = breaking_text({"a": (cubic, full)})
    assert "O(3)" in text
    assert "%" in text


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (["--frames", "5"], "has 2 events"),
        (["--frames", "x"], "neither a number nor a slice"),
        (["--frames", "::0"], "steps by 0"),
        (["--model", "pet-ethanol"], "cannot be measured on events"),
        (["--layers", "gnn.*"], "matches no layer"),
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
    with pytest.raises(ModelError, match="no model of point clouds"):
        prepare_clouds(load_model("pet-ethanol"), {})
    with pytest.raises(StructureError, match="none to measure"):
        prepare_clouds(model, {})
    far = make_cloud(np.full((3, 3), 700.0), np.ones(3), np.ones(3, int))
    with pytest.raises(ModelError, match="outside the detector"):
        prepare_clouds(model, {"far": far})


def test_labels_are_part_of_the_digest():
    event = generate_event(12, SMALL)
    other = event._replace(semantic=np.where(event.semantic == 1, 0, event.semantic))
    assert event_digest(event) != event_digest(other)
