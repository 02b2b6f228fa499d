"""Runs that go on with other settings, against runs that had them from the start."""

import json
import shutil
import subprocess
import sys
import textwrap

import ase.io
import numpy as np
import pytest
from small_models import drawn_pet
from water_runs import ENERGY, frames, settings

from symjax.errors import ArgumentError
from symjax.models import load_model, save_model
from symjax.training import parse_run, read_table, train
from symjax.training.logs import METRICS, TRAJECTORY, VALIDATION
from symjax.training.optimisation import Schedule, learning_rate
from symjax.training.resuming import changes_of

CONSTANT = {"warmup": 2, "learning_rate": 1e-2, "schedule": "constant"}
COSINE = {"warmup": 2, "learning_rate": 1e-2}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "frames.xyz"
    ase.io.write(path, frames())
    save_model(drawn_pet((1, 7, 8)), path.with_name("model"))
    return path


def run_of(data, **changes):
    """Trains a part of the model beside its data: few arrays are saved and compiled."""
    plain = {"steps": 4, "optimizer": CONSTANT, "validate_every": 0, "targets": ENERGY}
    model = {"initial": str(data.with_name("model")), "refit_baselines": True}
    model["trainable"] = ["gnn_layers.0.compress"]
    return parse_run(settings(data, model=model, **{**plain, **changes}))


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """Four steps, undisturbed."""
    folder = tmp_path_factory.mktemp("whole")
    train(run_of(data), folder / "run")
    return folder / "run"


def weights(folder):
    return (folder / "model" / "model.safetensors").read_bytes()


def stop_after(run, folder, steps):
    """Leaves a run after some steps, as a limit of time does."""
    for _ in range(steps):
        train(run, folder, resume=True, max_seconds=0.0)


def test_logging_and_monitoring_are_free(data, whole, tmp_path):
    stop_after(run_of(data), tmp_path / "run", 1)
    monitor = {"every": 2, "max_degree": 1, "grid": 3, "structures": 1, "max_share": 1}
    monitor["survey"] = 2
    changed = run_of(
        data, log_every=1, checkpoint_every=3, validate_every=2, monitor=monitor
    )
    assert train(changed, tmp_path / "run", resume=True).complete
    assert weights(tmp_path / "run") == weights(whole)
    rows = read_table(tmp_path / "run" / TRAJECTORY)
    surveyed = rows["quantity"] == "survey_A"
    assert rows["name"][surveyed].tolist() == ["energy"] * 2
    assert rows["step"][surveyed].tolist() == [2, 4]
    metrics = read_table(tmp_path / "run" / METRICS)
    np.testing.assert_array_equal(metrics["step"], [2, 3, 4])
    every = read_table(whole / METRICS)
    np.testing.assert_array_equal(every["step"], [3, 4])
    # The first line of the other run is the mean over three steps, here over two and
    # one more.
    np.testing.assert_allclose(
        (2 * metrics["loss"][0] + metrics["loss"][1]) / 3, every["loss"][0], rtol=1e-12
    )
    record = json.loads((tmp_path / "run" / "run.json").read_text())["changes"]
    assert {change["key"] for change in record} == {
        "log_every",
        "checkpoint_every",
        "validate_every",
        "monitor",
    }
    assert {change["step"] for change in record} == {1}
    assert load_model(tmp_path / "run" / "model").card["changes"] == record


def test_more_steps_at_a_constant_rate(data, whole, tmp_path):
    """Also of a run that was complete."""
    first = train(run_of(data, steps=3), tmp_path / "run")
    assert first.complete
    assert train(run_of(data), tmp_path / "run", resume=True).complete
    assert weights(tmp_path / "run") == weights(whole)
    fewer = run_of(data, steps=3)
    with pytest.raises(ArgumentError, match=r"steps=3: the run has done 4"):
        train(fewer, tmp_path / "run", resume=True)


def test_a_schedule_of_the_total_is_extended_only_if_asked(data, tmp_path):
    """A killed extension makes the same bits as one that was not."""
    short, longer = (run_of(data, steps=n, optimizer=COSINE) for n in (2, 4))
    train(short, tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    with pytest.raises(
        ArgumentError,
        match=r"steps=4: the run was started with 2.*'cosine'.*extend=True.*recorded",
    ):
        train(longer, tmp_path / "a", resume=True)
    assert json.loads((tmp_path / "a" / "run.json").read_text())["run"]["steps"] == 2
    train(longer, tmp_path / "a", resume=True, extend=True)
    change = {"step": 2, "key": "steps", "before": 2, "after": 4}
    assert load_model(tmp_path / "a" / "model").card["changes"] == [change]
    rates = read_table(tmp_path / "a" / METRICS)["learning_rate"]
    schedule = Schedule.of(longer.optimizer, 4)
    assert rates[-1] == float(learning_rate(schedule, 3))

    train(longer, tmp_path / "b", resume=True, extend=True, max_seconds=0.0)
    assert train(longer, tmp_path / "b", resume=True).complete
    assert weights(tmp_path / "a") == weights(tmp_path / "b")


def test_an_overwritten_run_leaves_no_rows(data, tmp_path):
    """Its validations are not among those of the new one, nor its best score."""
    train(run_of(data, steps=2, validate_every=1), tmp_path)
    train(run_of(data, steps=2), tmp_path, overwrite=True)
    np.testing.assert_array_equal(read_table(tmp_path / VALIDATION)["step"], [2])


def test_a_score_that_is_not_a_number_hides_no_better_one(data, tmp_path):
    run = run_of(data, steps=2, validate_every=1)
    stop_after(run, tmp_path, 1)
    path = tmp_path / VALIDATION
    head, row = path.read_text().splitlines()
    path.write_text("\n".join([head, f"{row.rpartition(',')[0]},nan", ""]))
    train(run, tmp_path, resume=True)
    assert load_model(tmp_path / "best").card["steps"] == 2


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"seed": 3}, r"seed=3: the run was started with 0"),
        ({"augmentation": "none"}, "augmentation='none'"),
        ({"optimizer": {**CONSTANT, "beta1": 0.8}}, "optimizer="),
        (
            {"batch": {"max_structures": 3, "max_atoms": 12, "accumulate": 2}},
            r"batch.accumulate=2.*accumulate x devices was 1.*Keep the product",
        ),
        (
            {"batch": {"max_structures": 2, "max_atoms": 12}},
            r"batch.max_structures=2: the run was started with 3",
        ),
    ],
)
def test_what_changes_the_numbers_is_refused(data, changes, match):
    with pytest.raises(ArgumentError, match=match):
        changes_of(run_of(data), run_of(data, **changes), 2)


def test_other_data_under_the_same_name_are_refused(data, tmp_path):
    """As many structures of the same species, of which every number is another."""
    shutil.copytree(data.parent, tmp_path / "data")
    path, folder = tmp_path / "data" / "frames.xyz", tmp_path / "run"
    stop_after(run_of(path), folder, 1)
    before = (folder / "run.json").read_bytes()
    ase.io.write(path, frames()[::-1])
    with pytest.raises(ArgumentError, match=r"data=.*frames\.xyz.*have changed since"):
        train(run_of(path), folder, resume=True)
    assert (folder / "run.json").read_bytes() == before
    ase.io.write(path, frames())
    assert train(run_of(path), folder, resume=True).complete


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("{", "truncated or not JSON"),
        ('{"run": {"kind": "events", "steps": 0}}', r"steps=0"),
        ('{"run": {"kind": "events", "steps": 1}, "chang": []}', "unknown key"),
    ],
)
def test_damaged_files_of_runs_are_named(tmp_path, text, match):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(ArgumentError, match=match) as caught:
        train(parse_run({"kind": "events", "steps": 1}), tmp_path, resume=True)
    assert "run.json" in str(caught.value)


def test_devices_of_events_are_kept():
    """Their batch norms average over devices, and follow micro-batches."""
    run = {"kind": "events", "steps": 4, "batch": {"accumulate": 2}}
    other = parse_run({**run, "batch": {"devices": 2}})
    with pytest.raises(ArgumentError, match=r"accumulate=1.*batch norms depend"):
        changes_of(parse_run(run), other, 2)


@pytest.mark.slow
def test_devices_are_free_at_equal_batches(data, tmp_path):
    """In a process of its own, whose CPU counts as two devices."""
    script = f"""
    import sys
    import jax
    jax.config.update("jax_num_cpu_devices", 2)
    jax.config.update("jax_enable_x64", True)
    sys.path[:0] = {sys.path!r}
    import json, pathlib
    from symjax.training import parse_run, train
    one, two = map(parse_run, json.loads(sys.argv[1]))
    folder = pathlib.Path(sys.argv[2])
    train(one, folder / "whole")
    train(one, folder / "moved", resume=True, max_seconds=0.0)
    train(two, folder / "moved", resume=True)
    """
    batch = {"max_structures": 2, "max_atoms": 12}
    runs = [
        run_of(data, batch={**batch, **split}).model_dump(mode="json")
        for split in ({"accumulate": 2}, {"devices": 2})
    ]
    subprocess.run(
        [
            sys.executable,
            "-c",
            textwrap.dedent(script),
            json.dumps(runs),
            str(tmp_path),
        ],
        check=True,
    )
    # One sum of two parts is compiled in two ways: last bits of float32 differ. Of them
    # the optimizer makes whole steps where a gradient is nothing else: that of the bias
    # of keys, on which no prediction depends.
    for name in (METRICS, VALIDATION):
        one, other = (read_table(tmp_path / f / name) for f in ("whole", "moved"))
        for column in set(one) - {"structures_per_second", "atoms_per_second"}:
            np.testing.assert_allclose(one[column], other[column], rtol=1e-4)


def scalars(folder):
    """What TensorBoard would show: values by name and step."""
    event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2")

    found = {}
    for path in sorted((folder / "tensorboard").iterdir()):
        data = path.read_bytes()
        while data:
            length = int.from_bytes(data[:8], "little")
            event = event_pb2.Event.FromString(data[12 : 12 + length])
            data = data[12 + length + 4 :]
            for value in event.summary.value:
                found[value.tag, event.step] = value.simple_value
    return found


def test_tensorboard_has_everything_after_a_resume(data, tmp_path):
    """Whatever was lost of its files: they are written again from the tables."""
    monitor = {"every": 2, "max_degree": 1, "grid": 3, "structures": 1, "max_share": 1}
    run = run_of(data, log_every=1, validate_every=2, monitor=monitor)
    stop_after(run, tmp_path / "run", 2)
    for path in (tmp_path / "run" / "tensorboard").iterdir():
        path.unlink()
    with (tmp_path / "run" / METRICS).open("a") as file:
        file.write("4,0.5,0.")  # cut off within a number
    assert train(run, tmp_path / "run", resume=True).complete
    found = scalars(tmp_path / "run")
    metrics = read_table(tmp_path / "run" / METRICS)
    np.testing.assert_array_equal(metrics["step"], [1, 2, 3, 4])
    for step, loss in zip(metrics["step"], metrics["loss"], strict=True):
        assert found["training/loss", int(step)] == pytest.approx(loss, rel=1e-6)
    validation = read_table(tmp_path / "run" / VALIDATION)
    for step, score in zip(validation["step"], validation["score"], strict=True):
        assert found["validation/score", int(step)] == pytest.approx(score, rel=1e-6)
    steps = {step for tag, step in found if tag.startswith("symmetry/")}
    assert {2, 4} <= steps
