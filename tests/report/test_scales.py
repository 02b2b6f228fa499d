"""What an error is compared with means something, whatever the zero of an output."""

import dataclasses

import ase.build
import jax.numpy as jnp
import numpy as np
import pytest

from symjax.data import find_symmetry
from symjax.diagnose import allowed_dimension
from symjax.metrics import Grid, Output, Problem, Totals, measure
from symjax.report import schema, storage
from symjax.report.records import leaves_of
from symjax.report.scales import (
    Spread,
    add_spreads,
    allowed_components,
    compare,
    energy_unit,
)
from symjax.so3 import MATRIX, SCALAR, VECTOR, spherical


def energy(x, shift):
    """An energy off by a tenth of an l = 1 part, with an arbitrary zero."""
    return {"energy": jnp.sum(x**2) + 0.1 * jnp.sum(x[:, 0]) + shift}


def leaf_of(scale, shift):
    outputs = {"energy": Output(SCALAR, "eV")}
    atoms = ase.Atoms("HO", positions=scale * np.array([[0, 0, 0], [0.3, 0.9, 0.5]]))
    problem = Problem(energy, atoms.positions, outputs, args=(np.float64(shift),))
    result = measure(problem, over=Grid(5), max_degree=2)
    (leaf,) = leaves_of(result, outputs, (), atoms)
    return leaf


def report_of(leaves):
    structures = tuple(
        schema.StructureReport(str(i), "HO", 2, "ab", (leaf,))
        for i, leaf in enumerate(leaves)
    )
    return schema.Report(
        schema.Software("0", "0", "cpu"),
        schema.ModelInfo("m", "ab"),
        schema.Settings(2, "", 5, 168, "all", "float64", 0.05),
        structures,
    )


def test_an_energy_is_compared_with_its_spread_whatever_its_zero():
    ratios, sizes = [], []
    for shift in (0.0, -1000.0):
        report = report_of([leaf_of(1.0, shift), leaf_of(1.2, shift)])
        leaf = report.aggregate()["energy"]
        against = leaf.comparison("float64")
        ratios.append(against.ratio)
        sizes.append(against.size)
        assert against.scale == "spread"
        assert against.per_atom
    # Energies s^2 |r|^2 of two atoms: spread of two values, |a - b| / sqrt(2), an atom.
    expected = 0.44 * (0.09 + 0.81 + 0.25) / np.sqrt(2) / 2
    np.testing.assert_allclose(sizes, expected, rtol=1e-9)
    np.testing.assert_allclose(ratios[0], ratios[1], rtol=1e-6)


def test_one_energy_is_compared_with_kt():
    against = leaf_of(1.0, 0.0).comparison("float64")
    assert against.scale == "kT"
    assert against.size == pytest.approx(0.0258520, rel=1e-5)  # 300 K, CODATA
    same = [leaf_of(1.0, 0.0)] * 2
    assert report_of(same).aggregate()["energy"].comparison("float64").scale == "kT"


@pytest.mark.parametrize(
    ("molecule", "output", "irreps", "samples"),
    [
        ("CH4", VECTOR, ["1+"], True),
        ("CH4", VECTOR, ["1+"], False),
        ("CH4", spherical(3), ["3+"], False),
        ("NH3", VECTOR, ["1+"], False),
        ("C6H6", MATRIX, ["0+", "1-", "2+"], True),
        ("H2O2", spherical(0, -1), ["0-"], True),
    ],
)
def test_what_symmetry_allows_is_the_rank_of_the_projection(
    molecule, output, irreps, samples
):
    atoms = ase.build.molecule(molecule)
    symmetry = find_symmetry(atoms)
    select = np.ones(len(atoms), bool) if samples else None
    among = symmetry.permutations if samples else np.zeros((symmetry.order, 1), int)
    expected = allowed_dimension(output, symmetry.elements, among)
    found = allowed_components(irreps, symmetry, select)
    assert found == pytest.approx(expected, abs=1e-9)


def test_what_symmetry_forbids_has_no_ratio():
    atoms = ase.build.molecule("CH4")
    samples = atoms.numbers
    outputs = {"forces": Output(VECTOR, "eV/angstrom", samples=samples)}
    axis = jnp.array([0.0, 0.0, 1e-3])
    problem = Problem(lambda x: {"forces": x + axis}, atoms.positions, outputs)
    result = measure(problem, over=Grid(5), max_degree=2)
    names = {1: "H", 6: "C"}
    (leaf,) = leaves_of(result, outputs, [names.get(n, "") for n in range(9)], atoms)
    assert leaf.forbidden == ("C",)
    assert leaf.comparison("float64", "C").scale == "forbidden by symmetry"
    assert leaf.comparison("float64", "C").ratio is None
    assert leaf.comparison("float64", "H").ratio < 1e-2
    assert leaf.comparison("float64").scale == "RMS"


def test_round_off_and_zeros_have_no_ratio():
    one = np.ones(1)
    power = np.ones((1, 2, 2))
    exact = Totals(1e-14 * one, one, power, one)
    assert compare(exact, epsilon=2.0**-23).scale == "round-off"
    assert compare(exact, epsilon=2.0**-52).scale == "RMS"
    assert compare(Totals(0 * one, 0 * one, power, one)).scale == "zero"
    assert compare(Totals(one, one, power, one), forbidden=True).ratio is None


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_round_off_is_that_of_the_output_if_it_is_coarser_than_the_run(dtype):
    """A float64 run whose output is cast: nothing below its epsilon is an error."""

    def cast(x):
        return {"forces": x.astype(dtype)}

    outputs = {"forces": Output(VECTOR)}
    problem = Problem(cast, np.random.default_rng(0).normal(size=(4, 3)), outputs)
    result = measure(problem, over=Grid(5), max_degree=2)
    (leaf,) = leaves_of(result, outputs, ())
    assert leaf.epsilon == jnp.finfo(dtype).eps
    assert leaf.comparison("float64").scale == "round-off"
    assert leaf.totals.relative_error > 8 * np.finfo("float64").eps
    report = report_of([leaf, dataclasses.replace(leaf, epsilon=0.0)])
    assert report.aggregate()["forces"].epsilon == leaf.epsilon
    assert storage.to_json(report)["summary"]["forces"]["epsilon"] == leaf.epsilon


def test_spreads_add_up_and_need_two():
    values = np.array([1.0, 4.0, 5.0])
    parts = [Spread(1.0, np.array([v]), v**2, 0.0) for v in values]
    assert parts[0].deviation == 0.0
    assert add_spreads(parts).deviation == pytest.approx(np.std(values, ddof=1))
    assert add_spreads([*parts, None]) is None


def test_units_of_energy():
    # kcal/mol by CODATA 2018, in eV
    assert energy_unit("kcal/mol") == pytest.approx(0.0433641, rel=1e-5)
    assert energy_unit("eV/angstrom") is None


def test_written_and_read():
    report = report_of([leaf_of(1.0, 3.0), leaf_of(1.2, 3.0)])
    again = storage.from_json(storage.to_json(report))
    leaf, known = again.aggregate()["energy"], report.aggregate()["energy"]
    assert leaf.comparison("float64") == known.comparison("float64")
    summary = storage.to_json(report)["summary"]["energy"]
    assert summary["compared_with"] == "spread"
    assert summary["ratio"] == known.comparison("float64").ratio
    assert summary["missing"] == pytest.approx(
        1 - known.totals.content[0, 0], abs=1e-12
    )
