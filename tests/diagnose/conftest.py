import dataclasses

import ase.build
import pytest
import toys

from symjax.models import fingerprint, load_model
from symjax.report.schema import ModelInfo
from symjax.runs import Options, measure_items


@pytest.fixture(scope="session")
def ethanol_report(tmp_path_factory):
    """The model that ships on the molecule that it knows, with all layers."""
    folder = tmp_path_factory.mktemp("ethanol") / "report"
    ethanol = {"CH3CH2OH": ase.build.molecule("CH3CH2OH")}
    options = Options(max_degree=4, layers="all", dtype="float32")
    return measure_items(load_model("pet-ethanol"), ethanol, options, folder)


@pytest.fixture
def invoke(tmp_path, monkeypatch):
    """The command, in an empty folder."""
    return toys.command(tmp_path, monkeypatch)


@pytest.fixture
def shipped(tmp_path):
    """The file of a report that claims to be of the model that ships."""
    model = load_model("pet-ethanol")
    info = ModelInfo(model.name, fingerprint(model))
    report = dataclasses.replace(toys.report("exact"), model=info)
    return toys.written(tmp_path, whole=report)
