import pathlib
import sys

import ase.build
import pytest

from symjax.models import load_model
from symjax.runs import Options, measure_items

# The toys are a helper of these tests alone.
sys.path.insert(0, str(pathlib.Path(__file__).parent))


@pytest.fixture(scope="session")
def ethanol_report(tmp_path_factory):
    """The model that ships on the molecule that it knows, with all layers."""
    folder = tmp_path_factory.mktemp("ethanol") / "report"
    ethanol = {"CH3CH2OH": ase.build.molecule("CH3CH2OH")}
    options = Options(max_degree=4, layers="all", dtype="float32")
    return measure_items(load_model("pet-ethanol"), ethanol, options, folder)
