"""Other laws of nature, of everything that a run measures, and in its report."""

import dataclasses
import pickle

import ase.build
import pytest
from ase.calculators.emt import EMT
from small_models import drawn_pet

from symjax.data.quantities import Block, Target
from symjax.interop import calculator_problem
from symjax.interop.foreign_sources import CalculatorSource, FunctionSource
from symjax.interop.law_checks import LawChecks, ProblemCalculator
from symjax.interop.physics import physical_checks
from symjax.report import read_report
from symjax.report.contents import worst_checks
from symjax.report.html import to_html
from symjax.report.tables import to_text
from symjax.runs import Options, measure_items

EMT_SOURCE = CalculatorSource("ase.calculators.emt:EMT")
CODE = """
import numpy as np
from symjax.data.units import conversion
from symjax.metrics import HostFunction, Output, Problem
from symjax.so3 import SCALAR, VECTOR

def problem(atoms):
    def springs(x):
        r = x - x.mean(axis=0)
        forces = -2 * r
        return {
            "energy": 23.06 * np.sum(r**2),
            "forces": conversion("kcal/mol", "eV") * 23.06 * forces,
            "non_conservative_forces": 23.06 * (forces + 0.01),
        }

    outputs = {
        "energy": Output(SCALAR, "kcal/mol"),
        "forces": Output(VECTOR, "eV/angstrom"),
        "non_conservative_forces": Output(VECTOR, "kcal/mol/angstrom"),
    }
    return Problem(HostFunction(springs), atoms.positions, outputs)

def without_energy(atoms):
    x = atoms.positions
    return Problem(HostFunction(lambda x: {"a": x}), x, {"a": Output(VECTOR)})
"""


def broken(checks):
    return {check.law for check in checks if not check.holds}


def copper():
    atoms = ase.build.bulk("Cu", cubic=True)
    atoms.rattle(0.08, seed=1)
    return atoms


def test_a_problem_is_checked_as_its_calculator_is():
    """The same laws, and deviations of round-off, by way of problems."""
    made = ProblemCalculator(lambda atoms: calculator_problem(EMT(), atoms))
    assert made.fits(copper())
    ours, theirs = (physical_checks(c, copper(), directions=2) for c in (made, EMT()))
    assert [(c.law, c.quantity, c.unit) for c in ours] == [
        (c.law, c.quantity, c.unit) for c in theirs
    ]
    assert broken(ours) == broken(theirs) == set()


def test_functions_and_what_they_lack(tmp_path):
    """Each output has a unit of its own; a head that differs by 0.01 eV is found."""
    path = tmp_path / "mine.py"
    path.write_text(CODE)
    checks = LawChecks(FunctionSource(f"{path}:problem"))
    assert pickle.loads(pickle.dumps(checks)) == checks
    found = checks(ase.build.molecule("H2O"))
    assert broken(found) == {"as forces of the energy"}
    (head,) = [check for check in found if not check.holds]
    assert head.deviation == pytest.approx(0.01, rel=1e-4)
    assert head.unit == "eV/angstrom"
    slope = next(c for c in found if c.law == "forces = -dE/dx")
    # 23.06 kcal/mol are about an eV.
    assert slope.scale < 5
    assert LawChecks(FunctionSource(f"{path}:without_energy"))(copper()) == ()


def test_a_direct_head_of_pet_is_found():
    """Of random weights, it is not the gradient; other laws hold, in float32."""
    targets = (
        Target("energy", "eV"),
        Target(
            "non_conservative_forces",
            "eV/angstrom",
            per_atom=True,
            blocks=(Block("vector"),),
        ),
    )
    model = drawn_pet((1, 8), targets)
    found = LawChecks(model)(ase.build.molecule("H2O"))
    assert broken(found) == {"as forces of the energy"}
    without = dataclasses.replace(model.config, targets=targets[1:])
    model = dataclasses.replace(model, config=without)
    assert LawChecks(model)(ase.build.molecule("H2O")) == ()


def report_of(source, structures, folder, **more):
    laws = LawChecks(source)
    options = Options(max_degree=1, grid=3, dtype="float64", **more)
    return measure_items(source, structures, options, folder, laws=laws)


def test_a_report_has_one_table_of_the_smallest_structures(tmp_path):
    """Of a molecule and of a crystal; read back from the file, shown beside A."""
    crystal = ase.build.bulk("Cu") * (2, 1, 1)
    crystal.rattle(0.05, seed=1)
    structures = {
        "crystal": crystal,
        "larger": ase.build.bulk("Cu", cubic=True),
        "CO": ase.build.molecule("CO"),
    }
    report_of(EMT_SOURCE, structures, tmp_path)
    report = read_report(tmp_path / "report.json")
    checked = {s.label: broken(s.laws) for s in report.structures if s.laws}
    assert checked == {"crystal": set(), "CO": set()}
    assert {check.law for check in worst_checks(report)} >= {
        *("moved by 100 angstrom", "twice the cell", "forces = -dE/dx"),
    }
    for width in (40, 80):
        text = to_text(report, width)
        lines = [line for line in text.splitlines() if report.model.digest not in line]
        assert max(map(len, lines)) <= width
        assert "Other laws of nature, of" in " ".join(text.split())
        assert "eV/Å^3" in text
    page = to_html(report)
    assert 'id="laws"' in page
    assert "twice the cell" in page


def test_a_broken_law_is_seen_in_the_report(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(CODE)
    source = FunctionSource(f"{path}:problem")
    report = report_of(source, {"H2O": ase.build.molecule("H2O")}, tmp_path / "out")
    (line,) = [
        line for line in to_text(report, 120).splitlines() if "as forces of" in line
    ]
    assert line.split()[-1] == "NO"
    assert "non_conservative_forces" in line
    assert "eV/Å" in line


def test_a_check_that_fails_costs_no_numbers(tmp_path, caplog):
    def laws(atoms):
        raise RuntimeError("no memory for twice the cell")

    report = measure_items(
        EMT_SOURCE,
        {"CO": ase.build.molecule("CO")},
        Options(max_degree=1, grid=3, dtype="float64"),
        tmp_path,
        laws=laws,
    )
    assert not report.failed
    assert report.structures[0].laws == ()
    assert "CO: other laws were not checked: no memory" in caplog.text
    assert "Other laws" not in to_text(report)
