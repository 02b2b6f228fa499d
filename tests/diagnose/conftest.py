import dataclasses

import ase.build
import pytest
import toys
from typer.testing import CliRunner

from symjax import cli
from symjax.models import fingerprint, load_model
from symjax.report import write_report
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
    monkeypatch.chdir(tmp_path)
    # The state of the process, which other tests share, stays as it is.
    monkeypatch.setattr(cli.diagnose, "configure_jax", lambda *args: None)

    def run(*args):
        return CliRunner().invoke(cli.app, ["diagnose", *map(str, args)])

    return run


@pytest.fixture
def written(tmp_path):
    """The file of a report."""

    def write(variant="exact", report=None):
        path = tmp_path / "report.json"
        write_report(report or toys.report(variant), path)
        return path

    return write


@pytest.fixture
def shipped(written):
    """The file of a report that claims to be of the model that ships."""
    model = load_model("pet-ethanol")
    info = ModelInfo(model.name, fingerprint(model))
    return written(report=dataclasses.replace(toys.report("exact"), model=info))
