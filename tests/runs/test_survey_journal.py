"""The journal of a survey: continued by the same one alone, to the same bits."""

import ase
import ase.build
import jax
import numpy as np
import pytest
from small_models import drawn_pet

from symjax.errors import SymjaxError
from symjax.metrics import Survey
from symjax.runs import Destination, Options, survey_structures

OPTIONS = Options(max_degree=1)


@pytest.fixture(scope="module")
def model():
    return drawn_pet((1, 6, 8))


def molecules(num):
    random = np.random.default_rng(0)
    found = {}
    for number in range(num):
        atoms = ase.build.molecule(("H2O", "CH4")[number % 2])
        atoms.positions += 0.05 * random.normal(size=(len(atoms), 3))
        found[f"molecule {number}"] = atoms
    return found


def test_a_journal_of_something_else_is_refused(model, tmp_path):
    structures = molecules(6)
    survey_structures(model, structures, Survey(8), tmp_path, options=OPTIONS)
    again = Destination(tmp_path, resume=True)
    with pytest.raises(SymjaxError, match="already holds a survey"):
        survey_structures(model, structures, Survey(8), tmp_path, options=OPTIONS)
    with pytest.raises(SymjaxError, match="differs from the survey"):
        survey_structures(model, structures, Survey(4), again, options=OPTIONS)
    with (
        jax.default_matmul_precision("tensorfloat32"),
        pytest.raises(SymjaxError, match=r"matmul_precision=.*differs"),
    ):
        survey_structures(model, structures, Survey(8), again, options=OPTIONS)
    structures["molecule 0"].positions[0, 0] += 1e-6
    with pytest.raises(SymjaxError, match=r"structures=.*differs"):
        survey_structures(model, structures, Survey(8), again, options=OPTIONS)
