"""Calculators and functions as models of a run over many structures."""

import os
import pickle
import sys

import ase.build
import pytest

from symjax.errors import ArgumentError, ModelError
from symjax.interop import foreign_sources
from symjax.interop.foreign_sources import CalculatorSource, FunctionSource, is_function
from symjax.runs import Destination, Options, measure_items
from symjax.runs.sources import Source, as_source

EMT = "ase.calculators.emt:EMT"
# Cannot be made without a structure.
SINGLE = "ase.calculators.singlepoint:SinglePointCalculator"
CODE = """
import jax.numpy as jnp
from symjax.metrics import Output, Problem
from symjax.so3 import VECTOR

def function(x):
    return {"dipole": x.sum(0) + 0.1}

def problem(atoms):
    return Problem(function, atoms.positions, {"dipole": Output(VECTOR, "e*angstrom")})

def wrong(atoms):
    return 1

number = 3
"""


SPRING = """
from ase.calculators.calculator import Calculator

class Spring(Calculator):
    implemented_properties = ("energy",)
    strength = 1

    def calculate(self, *args, **kwargs):
        super().calculate(*args, **kwargs)
        self.results["energy"] = self.strength * self.atoms.get_distance(0, 1)
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(CODE)
    return path


def structures():
    made = {}
    for seed in range(2):
        atoms = ase.build.molecule("CO")
        atoms.rattle(0.05, seed=seed)
        made[f"CO:{seed}"] = atoms
    made["silane"] = ase.build.molecule("SiH4")
    return made


def test_a_run_with_a_calculator(tmp_path):
    options = Options(max_degree=1, grid=3, dtype="float64")
    report = measure_items(CalculatorSource(EMT), structures(), options, tmp_path)
    assert report.model.name == EMT
    assert [structure.label for structure in report.failed] == ["silane"]
    forces = report.aggregate()["forces"]
    assert forces.unit == "eV/angstrom"
    assert forces.totals.relative_error < 1e-9
    # Finished ones are kept; another calculator is another model.
    measure_items(
        CalculatorSource(EMT), structures(), options, Destination(tmp_path, resume=True)
    )
    other = CalculatorSource(EMT, '{"asap_cutoff": true}')
    with pytest.raises(ValueError, match="model"):
        measure_items(other, structures(), options, Destination(tmp_path, resume=True))


def test_a_run_with_a_function(tmp_path, file):
    source = FunctionSource(f"{file}:problem")
    options = Options(max_degree=1, grid=3)
    report = measure_items(source, structures(), options, tmp_path / "out")
    dipole = report.aggregate()["dipole"]
    assert dipole.unit == "e*angstrom"
    assert dipole.totals.equivariance_error == pytest.approx(0.1, rel=1e-5)
    assert report.model.name == "mine.py:problem"


def test_sources_travel_by_what_makes_them(file):
    for source in (CalculatorSource(EMT), FunctionSource(f"{file}:problem")):
        again = pickle.loads(pickle.dumps(source))
        assert isinstance(again, Source)
        assert again == source
        assert again.digest == source.digest
        assert as_source(source) is source


def test_changed_code_is_another_model(tmp_path, monkeypatch):
    """In a file or in a module; nothing of the former one is used again.

    Both have the same size, and are written within a second, for which Python takes
    the bytecode of one for that of the other.
    """
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.syspath_prepend(tmp_path)
    file = tmp_path / "changing_code.py"
    file.write_text(CODE + SPRING)
    written = file.stat()
    targets = [f"{file}:", "changing_code:"]
    calculators = [CalculatorSource(target + "Spring") for target in targets]
    sources = [FunctionSource(target + "problem") for target in targets]
    before = [source.digest for source in (*calculators, *sources)]
    atoms = ase.build.molecule("CO")

    def energy():
        problem = calculators[0].problem(atoms, None, None)
        return float(problem.function(problem.x)["energy"])

    first = energy()
    file.write_text(CODE + SPRING.replace("strength = 1", "strength = 2"))
    os.utime(file, (written.st_atime, written.st_mtime))
    foreign_sources._module.cache_clear()  # as in another process
    after = [source.digest for source in (*calculators, *sources)]
    assert len({*before, *after}) == 8
    assert energy() == pytest.approx(2 * first)


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda f: CalculatorSource("EMT"), ModelError, "names no function"),
        (lambda f: CalculatorSource("no.such:EMT"), ModelError, "cannot be imported"),
        (lambda f: CalculatorSource("ase.build:EMT"), ModelError, "has no EMT"),
        (lambda f: CalculatorSource(EMT, "[1]"), ArgumentError, "is not a JSON object"),
        (lambda f: CalculatorSource(EMT, "{"), ArgumentError, "is not JSON"),
        (lambda f: FunctionSource("none.py:f"), ModelError, "no such file"),
        (lambda f: FunctionSource(f"{f}:number"), ModelError, "is not a function"),
    ],
)
def test_bad_targets_are_refused(make, error, text, file):
    with pytest.raises(error, match=text):
        make(file)


def test_what_is_made_is_checked(file):
    co = ase.build.molecule("CO")
    with pytest.raises(ModelError, match="cannot be made"):
        CalculatorSource(SINGLE).problem(co, None, None)
    with pytest.raises(ModelError, match="returned int"):
        FunctionSource(f"{file}:wrong").problem(co, None, None)
    with pytest.raises(ArgumentError, match="has no layers"):
        CalculatorSource(EMT).settings(Options(layers="all"))


def test_names_of_models_are_no_functions(tmp_path):
    (tmp_path / "a.py:b").mkdir()
    assert is_function("mine.py:problem")
    assert is_function("package.module:problem")
    for name in ("pet-ethanol", "model/", "model.ckpt", "C:\\models", "pet-mad-s@1.0"):
        assert not is_function(name)
    assert not is_function(str(tmp_path / "a.py:b"))


def test_options_that_a_calculator_would_pass_over_are_refused():
    """ASE's base class takes any keyword; those of TBLite and EMT are listed."""
    CalculatorSource(EMT, '{"asap_cutoff": true, "label": "a"}')
    with pytest.raises(ArgumentError, match=r"ignores asap_cuoff.*Use .*asap_cutoff"):
        CalculatorSource(EMT, '{"asap_cuoff": true}')
    # What writes input files passes on what it does not know.
    CalculatorSource("ase.calculators.siesta:Siesta", '{"fdf_arguments_x": 1}')
