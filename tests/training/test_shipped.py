"""The run files beside the models that ship make such models."""

import tomllib

import pytest

from symjax.models import load_model
from symjax.models.io import shipped_folder
from symjax.models.pointmae import PointMAEConfig
from symjax.training import parse_run, read_run, train


def test_the_run_of_the_shipped_pet():
    run = read_run(shipped_folder("pet-ethanol") / "run.toml")
    assert run.pet_config((1, 6, 8)) == load_model("pet-ethanol").config


def test_the_runs_of_the_shipped_pointmae():
    folder = shipped_folder("polarmae-events")
    first, second = (read_run(folder / f"{n}.toml") for n in ("pretraining", "run"))
    config = PointMAEConfig.from_json(first.model.hyperparameters)
    assert config == load_model("polarmae-events").config
    assert second.model.initial == "pretraining/model"


@pytest.mark.slow
def test_the_shipped_pet_is_made_again(shared, tmp_path):
    """Three hundred of 24,000 steps: on the way, 0.81 eV/angstrom of 1.27."""
    settings = tomllib.loads((shipped_folder("pet-ethanol") / "run.toml").read_text())
    settings["data"]["training"] = str(shared / "data" / "ethanol_reduced_100.xyz")
    settings |= {"steps": 300, "validate_every": 0}
    settings["optimizer"]["warmup"] = 30
    del settings["monitor"]
    trained = train(parse_run(settings), tmp_path / "run")
    assert trained.errors["forces_rmse"] < 1.0
    assert trained.model.config == load_model("pet-ethanol").config


@pytest.mark.slow
def test_the_shipped_pointmae_is_made_again(tmp_path, monkeypatch):
    """Two steps of each run, on eight events."""
    monkeypatch.chdir(tmp_path)
    for name in ("pretraining", "run"):
        path = shipped_folder("polarmae-events") / f"{name}.toml"
        settings = tomllib.loads(path.read_text())
        settings["data"] |= {"num_training": 8, "num_validation": 2}
        settings["batch"] = {"max_structures": 4}
        trained = train(parse_run({**settings, "steps": 2}), name)
    assert trained.model.config == load_model("polarmae-events").config
    assert 0 <= trained.errors["accuracy"] <= 1
