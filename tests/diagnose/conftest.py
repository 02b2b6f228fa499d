import dataclasses

import ase.build
import pytest
import toys
from small_models import drawn_pet

from symjax.models import fingerprint, load_model, save_model
from symjax.report.schema import ModelInfo
from symjax.runs import Options, measure_items


@pytest.fixture(scope="session")
def ethanol_report(tmp_path_factory):
    """The model that ships on the molecule that it knows, with all layers."""
    folder = tmp_path_factory.mktemp("ethanol") / "report"
    ethanol = {"CH3CH2OH": ase.build.molecule("CH3CH2OH")}
    options = Options(max_degree=3, layers="all", dtype="float32")
    return measure_items(load_model("pet-ethanol"), ethanol, options, folder)


@pytest.fixture
def invoke(tmp_path, monkeypatch):
    """The command, in an empty folder."""
    return toys.command(tmp_path, monkeypatch)


def claimed(folder, model):
    """The file of a report that claims to be of a model."""
    info = ModelInfo(model.name, fingerprint(model))
    report = dataclasses.replace(toys.report("exact"), model=info)
    return toys.written(folder, whole=report)


@pytest.fixture
def shipped(tmp_path):
    """The file of a report that claims to be of the model that ships."""
    return claimed(tmp_path, load_model("pet-ethanol"))


@pytest.fixture
def small(tmp_path):
    """The same of a small model of two layers, and how to name that."""
    model = drawn_pet((1, 6, 8), num_gnn_layers=2)
    save_model(model, tmp_path / "model")
    return claimed(tmp_path, model), "--model", tmp_path / "model"
