"""Whole runs: files, resuming to the bit, failures, fine-tuning, devices."""

import json
import signal
import subprocess
import sys
import time

import ase.io
import jax
import numpy as np
import pytest
import water_runs
from small_models import drawn_pointmae
from water_runs import TINY, frames

from symjax.errors import ArgumentError, StructureError
from symjax.models import load_model, save_model
from symjax.training import TrainingError, parse_run, read_table, train
from symjax.training.logs import METRICS, TRAJECTORY, VALIDATION

SPEEDS = {"structures_per_second", "atoms_per_second"}
# An energy with forces and a vector.
TARGETS = {name: water_runs.TARGETS[name] for name in ("energy", "dipole_moment")}
DIPOLE = {"dipole_moment": TARGETS["dipole_moment"]}


def settings(path, **changes):
    return water_runs.settings(path, **{"targets": TARGETS, **changes})


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "frames.xyz"
    ase.io.write(path, frames())
    return path


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """A run from start to end."""
    folder = tmp_path_factory.mktemp("whole")
    monitor = {"every": 3, "max_degree": 1, "grid": 3, "structures": 1, "max_share": 1}
    run = parse_run(settings(data, log_every=2, checkpoint_every=3, monitor=monitor))
    seen = []
    trained = train(run, folder / "run", watch=lambda step, values: seen.append(step))
    # What is measured changes no number, and takes most of the time of a second run.
    plain = run.model_copy(update={"monitor": None})
    return plain, folder / "run", trained, seen


def same_files(first, second):
    for name in (METRICS, VALIDATION):
        one, other = read_table(first / name), read_table(second / name)
        assert set(one) == set(other)
        for column in set(one) - SPEEDS:
            np.testing.assert_array_equal(one[column], other[column])
    for model in ("model", "best"):
        tensors = [f / model / "model.safetensors" for f in (first, second)]
        assert tensors[0].read_bytes() == tensors[1].read_bytes()


def test_a_run_leaves_what_it_promises(whole):
    run, folder, trained, seen = whole
    assert trained.complete
    assert trained.step == run.steps == 6
    metrics, validation = (read_table(folder / name) for name in (METRICS, VALIDATION))
    np.testing.assert_array_equal(metrics["step"], [2, 4, 6])
    np.testing.assert_array_equal(validation["step"], [4, 6])
    assert seen == [2, 4, 4, 6, 6]
    names = {"energy", "forces", "dipole_moment"}
    assert names < set(metrics)
    total = sum(metrics[name] for name in names)
    np.testing.assert_allclose(total, metrics["loss"], rtol=1e-5)
    assert validation["score"][-1] == trained.errors["score"]
    model = load_model(folder / "model")
    assert model.card["steps"] == 6
    assert model.card["errors_validation"] == trained.errors
    best = load_model(folder / "best").card["steps"]
    assert best == validation["step"][np.argmin(validation["score"])]
    assert json.loads((folder / "run.json").read_text())["run"]["steps"] == 6
    assert list((folder / "tensorboard").iterdir())
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == [
        "3",
        "6",
    ]
    jax.tree.map(
        np.testing.assert_array_equal, model.parameters, trained.model.parameters
    )


def test_the_monitor_follows_every_output(whole):
    _, folder, _, _ = whole
    rows = read_table(folder / TRAJECTORY)
    np.testing.assert_array_equal(np.unique(rows["step"]), [0, 3, 6])
    assert {"energy", "forces", "dipole_moment"} == set(rows["name"])
    content = rows["quantity"] == "B"
    for step in (0, 3, 6):
        for name in ("energy", "forces"):
            of_this = content & (rows["step"] == step) & (rows["name"] == name)
            rest = (rows["quantity"] == "remainder") & (rows["step"] == step)
            rest &= rows["name"] == name
            total = rows["value"][of_this].sum() + rows["value"][rest].sum()
            assert total == pytest.approx(1.0, abs=1e-6)


def test_a_stopped_run_goes_on_to_the_bit(whole, tmp_path):
    """Stopped by its time between two lines of metrics, then by a signal at a line."""
    run, folder, _, _ = whole

    def interrupt(step, values):
        raise KeyboardInterrupt

    stopped = train(run, tmp_path / "run", resume=True, max_seconds=0.0)
    assert not stopped.complete
    assert stopped.step == 1
    with pytest.raises(KeyboardInterrupt, match="after step 2; resume"):
        train(run, tmp_path / "run", resume=True, watch=interrupt)
    assert (tmp_path / "run" / "checkpoints" / "2").is_dir()
    assert train(run, tmp_path / "run", resume=True).complete
    same_files(folder, tmp_path / "run")


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_bit(whole, data, tmp_path):
    """Killed without warning, in a process of its own, after its first line."""
    path = tmp_path / "run.json"
    run = settings(data, steps=40, log_every=1, checkpoint_every=3, validate_every=0)
    path = tmp_path / "run.yaml"
    path.write_text(json.dumps(run))
    environment = {"JAX_ENABLE_X64": "1"}
    command = [sys.executable, "-m", "symjax", "train", str(path), "--resume", "-o"]

    def start(folder):
        import os

        return subprocess.Popen(
            [*command, str(tmp_path / folder)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **environment},
        )

    process = start("killed")
    metrics = tmp_path / "killed" / METRICS
    for _ in range(2400):
        if metrics.is_file() and metrics.read_text().count("\n") > 8:
            break
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (tmp_path / "killed" / "model").exists()
    again, other = start("killed"), start("whole")
    for process in (again, other):
        output = process.communicate()[0]
        assert process.returncode == 0, output
        assert "Wrote the model" in output
    same_files(tmp_path / "killed", tmp_path / "whole")


def test_an_interrupted_validation_is_made_again(whole, tmp_path):
    """Of a signal before it, when the line of metrics is written, and one within."""
    run, folder, _, _ = whole
    for line in ("loss", "validation/score"):

        def interrupt(step, values, line=line):
            if step == run.validate_every and line in values:
                signal.raise_signal(signal.SIGINT)

        # Shells let background processes ignore it.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            with pytest.raises(KeyboardInterrupt, match="after step 4; resume"):
                train(run, tmp_path / "run", resume=True, watch=interrupt)
        finally:
            signal.signal(signal.SIGINT, before)
    assert train(run, tmp_path / "run", resume=True).complete
    same_files(folder, tmp_path / "run")


def test_folders_are_not_mixed_up(whole, data, tmp_path):
    run, folder, _, _ = whole
    with pytest.raises(ArgumentError, match="holds a run"):
        train(run, folder)
    other = run.model_copy(update={"seed": 1})
    with pytest.raises(ArgumentError, match=r"seed=1: the run was started with 0"):
        train(other, folder, resume=True)
    with pytest.raises(StructureError, match="missing"):
        train(parse_run(settings(tmp_path / "missing.xyz")), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_damaged_checkpoints_are_named(whole, tmp_path):
    import shutil

    run, folder, _, _ = whole
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    for path in (copy / "checkpoints" / "6").rglob("*"):
        if path.is_file() and path.stat().st_size > 100:
            path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ArgumentError, match=r"checkpoints/6.*cannot be read"):
        train(run, copy, resume=True)
    shutil.rmtree(copy / "checkpoints" / "6")
    assert train(run, copy, resume=True).complete
    same_files(folder, copy)


@pytest.fixture(scope="module")
def tuning(whole, tmp_path_factory):
    """Settings that train a part of a trained model, also for a new target."""
    made = frames()
    for atoms in made:
        atoms.info["twist"] = np.nan
    made[0].info["twist"] = 1.0
    path = tmp_path_factory.mktemp("more") / "more.xyz"
    ase.io.write(path, made)
    return settings(
        path,
        steps=2,
        targets={**DIPOLE, "twist": {"kind": "0-", "allow_missing": True}},
        model={"initial": str(whole[1] / "best"), "trainable": ["gnn_layers.0"]},
        penalty={"layers": ["gnn_layers.0.trans.layers.0_.*"], "sectors": ["1+"]},
    )


def test_a_loss_that_is_not_finite_stops_with_a_diagnosis(tuning, tmp_path):
    optimizer = {"learning_rate": 1e30, "warmup": 0}
    run = parse_run({**tuning, "optimizer": optimizer, "steps": 9})
    with pytest.raises(TrainingError) as caught:
        train(run, tmp_path / "run")
    text = str(caught.value)
    for part in ("at step 1", "learning rate is 9.7e+29", "dipole_moment", "training["):
        assert part in text, text
    assert "optimizer.learning_rate" in caught.value.remedy


def test_trained_models_are_fine_tuned(whole, tuning, tmp_path):
    """What is not named stays to the bit, also where a layer's content is penalised."""
    trained = train(parse_run(tuning), tmp_path / "run")
    # Of no structure held out: no error, rather than one of 0.
    assert "dipole_moment_rmse" in trained.errors
    assert "twist_rmse" not in trained.errors
    assert "penalty" in read_table(tmp_path / "run" / METRICS)
    before, after = load_model(whole[1] / "best"), trained.model
    assert [target.name for target in after.config.targets] == [*TARGETS, "twist"]
    for name in TARGETS:
        jax.tree.map(
            np.testing.assert_array_equal,
            before.parameters["scale"][name],
            after.parameters["scale"][name],
        )
    changed = {
        name
        for name, part in before.parameters["network"].items()
        if not jax.tree.all(
            jax.tree.map(np.array_equal, part, after.parameters["network"][name])
        )
    }
    assert changed == {"gnn_layers_0"}


def test_events_are_trained_by_the_same_loop(tmp_path):
    """The loss falls, and what is not frozen moves.

    A frozen encoder stays, whatever the weight decay; its batch norms follow the data.
    """
    save_model(drawn_pointmae(), tmp_path / "initial")
    run = parse_run(
        {
            "kind": "events",
            "steps": 15,
            "log_every": 1,
            "validate_every": 0,
            "optimizer": {
                **{"learning_rate": 5e-3, "warmup": 2, "average": 0.0},
                "weight_decay": 0.5,
            },
            "freeze_encoder": True,
            "data": {"num_training": 4, "num_validation": 2, "num_points": 200},
            "batch": {"max_structures": 2},
            "losses": {"segmentation": 1.0},
            "model": {"initial": str(tmp_path / "initial")},
        }
    )
    assert train(run, tmp_path / "run", max_seconds=0.0).step == 1
    trained = train(run, tmp_path / "run", resume=True)
    metrics = read_table(tmp_path / "run" / METRICS)
    parts = metrics["chamfer"] + metrics["energy"] + metrics["focal"]
    np.testing.assert_allclose(parts, metrics["loss"], rtol=1e-5)
    assert np.mean(metrics["loss"][-5:]) < 0.8 * np.mean(metrics["loss"][:5])
    assert 0 <= trained.errors["accuracy"] <= 1
    old, new = drawn_pointmae().parameters, trained.model.parameters
    encoders = (each["params"]["encoder"] for each in (old, new))
    jax.tree.map(np.testing.assert_array_equal, *encoders)
    assert np.abs(new["params"]["decoder"]["transformer"]["norm"]["beta"]).max() > 0
    saved = load_model(tmp_path / "run" / "model").parameters["batch_stats"]
    assert np.abs(saved["seg_head"]["bn1"]["mean"]).max() > 0
    statistics = saved["encoder"]["tokenizer"]["embedding"]
    assert np.abs(statistics["first_conv_1"]["mean"]).max() > 0


def test_the_smallest_hyperparameters_are_used(whole):
    assert {k: getattr(whole[2].model.config, k) for k in TINY} == TINY
