"""A run that is interrupted within a structure computes nothing twice."""

import ase.build
import numpy as np
import pytest
from ase.calculators.calculator import Calculator, all_changes

from symjax.data.digests import structure_digest
from symjax.errors import ArgumentError
from symjax.interop import calculator_problem
from symjax.interop.foreign_sources import CalculatorSource
from symjax.metrics import measure
from symjax.runs import Destination, Options, measure_items
from symjax.runs.evaluations import FOLDER, Evaluations

OPTIONS = Options(max_degree=1, grid=3, dtype="float64")
# How many more calculations there are before the machine is turned off, and those done.
LEFT = [10**9]
DONE = []


class Dear(Calculator):
    """A quadratic energy that depends on axes and on the charges of atoms."""

    implemented_properties = ("energy", "forces")

    def calculate(self, atoms=None, properties=("energy",), changes=all_changes):
        if len(DONE) >= LEFT[0]:
            raise KeyboardInterrupt
        super().calculate(atoms, properties, changes)
        r = self.atoms.positions
        DONE.append(r.tobytes())
        charges = self.atoms.get_initial_charges()[:, None]
        self.results = {
            "energy": float(np.sum((1 + charges) * r**2 * [1, 2, 3])),
            "forces": -2 * (1 + charges) * r * [1, 2, 3],
        }


class Source(CalculatorSource):
    def calculator(self):
        return Dear()


SOURCE = Source("ase.calculators.emt:EMT")


@pytest.fixture(autouse=True)
def machine():
    LEFT[0] = 10**9
    DONE.clear()


def run(folder, items=None, **how):
    items = items or {"CO": ase.build.molecule("CO")}
    return measure_items(SOURCE, items, OPTIONS, Destination(folder, **how))


def test_an_interrupted_structure_goes_on_where_it_was(tmp_path):
    whole = run(tmp_path / "whole")
    number = len(DONE)
    assert not (tmp_path / "whole" / FOLDER).exists()
    DONE.clear()
    LEFT[0] = number // 2
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "part")
    before = set(DONE)
    (file,) = (tmp_path / "part" / FOLDER).iterdir()
    # Killed in the middle of a record.
    with file.open("ab") as open_file:
        open_file.write(b"x" * 30)
    LEFT[0] = 10**9
    DONE.clear()
    resumed = run(tmp_path / "part", resume=True)
    # The structure as it is is tried once more, to see what the calculator has.
    given = ase.build.molecule("CO").positions.tobytes()
    assert set(DONE) & before <= {given}
    assert len(DONE) < number - len(before) + 5
    for one, two in zip(
        whole.structures[0].leaves, resumed.structures[0].leaves, strict=True
    ):
        np.testing.assert_array_equal(one.totals.variance, two.totals.variance)
        np.testing.assert_array_equal(one.totals.power, two.totals.power)
    assert not (tmp_path / "part" / FOLDER).exists()


def test_what_belongs_to_another_structure_is_not_read(tmp_path):
    """The charges of atoms are no part of what turns, and count all the same."""
    LEFT[0] = 20
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path)
    charged = ase.build.molecule("CO")
    charged.set_initial_charges([0.5, -0.5])
    assert structure_digest(charged) != structure_digest(ase.build.molecule("CO"))
    LEFT[0] = 10**9
    resumed = run(tmp_path, {"CO": charged}, resume=True)
    whole = run(tmp_path / "whole", {"CO": charged})
    assert (
        resumed.structures[0].leaves[0].totals.norm
        == whole.structures[0].leaves[0].totals.norm
    ).all()


def test_noise_is_still_found(tmp_path):
    """Two calls with one input are two calculations within a run."""

    def noisy():
        rng = np.random.default_rng(0)

        class Noisy(Dear):
            def calculate(self, *args, **kwargs):
                super().calculate(*args, **kwargs)
                self.results["energy"] += rng.normal()

        return Noisy()

    atoms = ase.build.molecule("CO")
    problem = Evaluations(tmp_path, "ab").remembered(
        calculator_problem(noisy(), atoms), atoms
    )
    with pytest.raises(ArgumentError, match="between two calls"):
        measure(problem, max_degree=1)


def test_a_run_that_starts_again_starts_from_nothing(tmp_path):
    LEFT[0] = 20
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path)
    LEFT[0] = 10**9
    DONE.clear()
    run(tmp_path, overwrite=True)
    number = len(DONE)
    DONE.clear()
    run(tmp_path / "other")
    assert len(DONE) == number
