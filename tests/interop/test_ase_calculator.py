"""The calculator against explicit predictions, differences and averages."""

import ase.build
import ase.io
import ase.units
import jax
import numpy as np
import pytest
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS
from ase.stress import full_3x3_to_voigt_6_stress
from scipy.spatial.transform import Rotation
from small_calculators import CONFIG, MODEL, acid, calculator, salt, small_model
from small_models import EVENT_CONFIG

from symjax.data import build_graph, find_symmetry, graph_shape, pad_graph
from symjax.data.graph import GraphShape
from symjax.data.quantities import Target
from symjax.errors import ModelError, StructureError, SymjaxError
from symjax.interop import SymjaxCalculator
from symjax.interop._prediction import predictions_of
from symjax.metrics import Grid, measure
from symjax.models.pet import orbit_problem, predict
from symjax.models.pointmae import PointMAEModel
from symjax.so3 import quadrature
from symjax.so3.averages import rotations_of
from symjax.so3.finite_groups import finite_group

# Sums of some hundred terms of order 1, in float64.
ROUNDING = 1e-11


def rotated(atoms, rotation):
    out = atoms.copy()
    out.positions = atoms.positions @ rotation.T
    out.set_cell(atoms.cell[:] @ rotation.T)
    return out


def matrix(voigt):
    xx, yy, zz, yz, xz, xy = voigt
    return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])


def explicit(atoms, elements, weights):
    """Mean and standard deviation, one prediction for each rotated structure."""
    plain = calculator()
    values = {}
    for element in elements:
        plain.calculate(rotated(atoms, element))
        results = dict(plain.results)
        results["forces"] = results["forces"] @ element
        results["dipole"] = results["dipole"] @ element
        if "stress" in results:
            stress = element.T @ matrix(results["stress"]) @ element
            results["stress"] = full_3x3_to_voigt_6_stress(stress)
        for name, value in results.items():
            values.setdefault(name, []).append(value)
    out = {}
    for name, rows in values.items():
        mean = np.tensordot(weights, np.array(rows), 1)
        square = np.tensordot(weights, (np.array(rows) - mean) ** 2, 1)
        out[name] = mean
        if name != "free_energy":
            out[f"{name}_rotational_std"] = np.sqrt(square)
    return out


def in_turn(calc, *structures):
    """Results of several structures, one after the other."""
    found = []
    for atoms in structures:
        calc.calculate(atoms)
        found.append(calc.results)
    return found


def assert_close(results, expected, tolerance=ROUNDING):
    assert set(results) == set(expected)
    for name, value in expected.items():
        scale = max(1.0, np.abs(value).max())
        np.testing.assert_allclose(
            results[name], value, rtol=0, atol=tolerance * scale, err_msg=name
        )


def test_float32_far_from_the_origin():
    """Also for an atom that has left its cell: positions are subtracted in float64.

    At 1e5 angstrom those are multiples of 1.5e-11 angstrom; float32 would be rounded
    to 0.008 angstrom.
    """
    structures = []
    for atoms in (acid(), salt()):
        atoms.rattle(0.05, seed=0)
        there = atoms.copy()
        there.translate([6e4, -3e4, 7e4])
        if atoms.pbc.all():
            there.positions[0] += 20_000 * there.cell[1]
        structures += [atoms, there]
    found = in_turn(calculator(average=2, dtype="float32"), *structures)
    assert_close(found[1], found[0], 1e-6)
    assert_close(found[3], found[2], 1e-6)


def test_results_are_predictions():
    both = [acid(), salt()]
    graphs = [build_graph(atoms, CONFIG.cutoff) for atoms in both]
    shape = GraphShape(*np.max([graph_shape(graph) for graph in graphs], axis=0))
    for atoms, graph in zip(both, graphs, strict=True):
        calc = calculator()
        calc.calculate(atoms)
        wanted = predict(MODEL, pad_graph(graph, shape), forces=True, stress=True)
        expected = {
            "energy": float(wanted["energy"][0]),
            "free_energy": float(wanted["energy"][0]),
            "energies": calc.results["energies"],
            "forces": wanted["forces"][: len(atoms)],
            "dipole": wanted["dipole"][0] * ase.units.Debye,
        }
        if atoms.pbc.all():
            stress = np.asarray(wanted["stress"][0])
            expected["stress"] = full_3x3_to_voigt_6_stress((stress + stress.T) / 2)
        assert_close(calc.results, expected)
        total = calc.results["energies"].sum()
        assert total == pytest.approx(calc.results["energy"], rel=1e-14)
        for value in calc.results.values():
            assert np.asarray(value).dtype == np.float64


def test_forces_and_stress_are_derivatives():
    atoms = salt()
    atoms.calc = calculator()
    forces, stress = atoms.get_forces(), atoms.get_stress()
    chosen = [0, 5]
    numerical = calculate_numerical_forces(atoms, eps=1e-4, iatoms=chosen)
    np.testing.assert_allclose(forces[chosen], numerical, atol=1e-6)
    numerical = calculate_numerical_stress(atoms, eps=1e-5)
    np.testing.assert_allclose(stress, numerical, atol=1e-7)


def slab(periodic=2):
    """Periodic in two directions or one, tilted in space, with vacuum in its cell."""
    atoms = salt()
    atoms.pbc = [True, periodic == 2, False]
    for axis in range(periodic, 3):
        atoms.cell[axis, axis] += 10.0
    return rotated(atoms, Rotation.random(random_state=1).as_matrix())


@pytest.mark.parametrize("periodic", [1, 2])
def test_stress_within_the_periodic_directions(periodic):
    """ASE strains the cell; other components are 0, whatever the forces are."""
    atoms = slab(periodic)
    atoms.calc = calculator()
    stress = atoms.get_stress(voigt=False)
    numerical = calculate_numerical_stress(atoms, eps=1e-5, voigt=False)
    within = np.linalg.qr(atoms.cell[:periodic].T)[0]
    within = within @ within.T
    expected = within @ numerical @ within
    assert np.abs(expected).max() > 1e-4
    assert np.abs(numerical - expected).max() > 1e-3
    np.testing.assert_allclose(stress, expected, atol=1e-7)
    assert np.linalg.matrix_rank(stress, tol=1e-10) == periodic


def test_stress_of_a_slab_turns_with_it_and_is_measured():
    """Averages turn the plane too, and the report's function is the calculator's."""
    atoms = slab()
    elements = finite_group("T").elements
    calc = calculator(average="T")
    calc.calculate(atoms)
    mean = explicit(atoms, elements, np.full(12, 1 / 12))["stress"]
    np.testing.assert_allclose(calc.results["stress"], mean, atol=ROUNDING)
    problem = orbit_problem(MODEL, atoms, layers="none", dtype="float64")
    assert "stress" in problem.outputs
    plain = calculator()
    plain.calculate(atoms)
    function = jax.jit(problem.function)
    found = np.asarray(function(problem.x, *problem.args)["stress"][0])
    np.testing.assert_allclose(
        full_3x3_to_voigt_6_stress((found + found.T) / 2),
        plain.results["stress"],
        atol=1e-12,
    )
    element = elements[3]
    turned = jax.tree.map(lambda rows: rows @ element.T, problem.x)
    plain.calculate(rotated(atoms, element))
    found = np.asarray(function(turned, *problem.args)["stress"][0])
    np.testing.assert_allclose(
        full_3x3_to_voigt_6_stress((found + found.T) / 2),
        plain.results["stress"],
        atol=1e-12,
    )


def test_structures_without_stress_say_what_they_lack():
    flat = slab()
    flat.cell[2] = 0
    for atoms in (flat, acid()):
        atoms.calc = calculator()
        with pytest.raises(PropertyNotImplementedError, match=r"stress: .*atoms\.pbc"):
            atoms.get_stress()


def test_averaged_forces_are_derivatives():
    """The average is a function too: its forces are minus its own gradient."""
    atoms = acid()
    atoms.calc = calculator(average="T")
    forces, chosen = atoms.get_forces(), [0, 4]
    numerical = calculate_numerical_forces(atoms, eps=1e-4, iatoms=chosen)
    np.testing.assert_allclose(forces[chosen], numerical, atol=1e-6)


@pytest.mark.parametrize("inversion", [True, False])
@pytest.mark.parametrize("make", [acid, salt])
def test_average_over_a_quadrature(make, inversion):
    atoms, rule = make(), quadrature(2)
    elements, weights = rule.rotations, rule.weights
    if inversion:
        elements = np.concatenate([elements, -elements])
        weights = np.concatenate([weights, weights]) / 2
    expected = explicit(atoms, elements, weights)
    calc = calculator(average=2, include_inversion=inversion)
    calc.calculate(atoms)
    assert_close(calc.results, expected)
    assert calc.results["forces_rotational_std"].min() > 1e-4
    same = calculator(average=rule, include_inversion=inversion)
    same.calculate(atoms)
    assert_close(same.results, expected)


def test_spreads_are_those_of_a_measurement():
    """The moments of the metrics on the same rule: V is the sum of squared spreads."""
    problem = orbit_problem(MODEL, acid(), layers="none", dtype="float64")
    measured = measure(
        problem,
        max_degree=1,
        over=Grid(3, on_aliasing="report"),
    )
    calc = calculator(average=3)
    calc.calculate(acid())
    for name in ("energy", "forces"):
        spread = np.asarray(calc.results[f"{name}_rotational_std"])
        error = np.sqrt(np.mean(spread**2))
        assert error == pytest.approx(measured[name].equivariance_error, rel=1e-8)


@pytest.mark.parametrize("group", ["Td", finite_group("T")])
def test_average_over_a_group(group):
    elements = (finite_group(group) if isinstance(group, str) else group).elements
    weights = np.full(len(elements), 1 / len(elements))
    calc = calculator(average=group)
    calc.calculate(acid())
    assert_close(calc.results, explicit(acid(), elements, weights))


def test_average_over_a_group_is_equivariant_under_it():
    atoms, element = acid(), finite_group("T").elements[2]
    first, second = in_turn(calculator(average="T"), atoms, rotated(atoms, element))
    assert second["energy"] == pytest.approx(first["energy"], rel=1e-13)
    np.testing.assert_allclose(second["forces"], first["forces"] @ element.T, atol=1e-9)
    plain = in_turn(calculator(), atoms, rotated(atoms, element))
    assert abs(plain[0]["energy"] - plain[1]["energy"]) > 1e-3


@pytest.mark.parametrize("average", [None, 1])
def test_symmetrized_results_have_the_symmetry(average):
    """Equal to explicit products of the two sets of elements."""
    atoms = distorted()
    symmetry = find_symmetry(atoms)
    assert symmetry.order == 8
    calc = calculator(average=average, symmetrize=True)
    calc.calculate(atoms)
    forces = calc.results["forces"]
    stress = matrix(calc.results["stress"])
    for element, image in zip(symmetry.elements, symmetry.permutations, strict=True):
        np.testing.assert_allclose(forces[image], forces @ element.T, atol=1e-12)
        np.testing.assert_allclose(element @ stress @ element.T, stress, atol=1e-12)
    rotations = rotations_of(average, True)
    elements = rotations.elements[:, None] @ symmetry.elements
    weights = np.repeat(rotations.weights / symmetry.order, symmetry.order)
    expected = explicit(atoms, elements.reshape(-1, 3, 3), weights)
    assert_close(calc.results, expected)
    if average is None:
        # One evaluation: a permutation does not change the energy.
        assert calc.results["energy_rotational_std"] < 1e-9
    plain = calculator()
    plain.calculate(atoms)
    image, element = symmetry.permutations[-1], symmetry.elements[-1]
    forces = plain.results["forces"]
    assert np.abs(forces[image] - forces @ element.T).max() > 1e-3


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"num_neighbors_adaptive": 6.0, "adaptive_cutoff_method": "grid"},
    ],
    ids=["fixed", "grid"],
)
def test_skin_changes_nothing_along_a_trajectory(changes):
    model = small_model(**changes)
    atoms = salt()
    atoms.calc = with_skin = calculator(model, room=False, skin=0.4)
    fresh = calculator(model, room=False, skin=0.0)
    speeds = np.random.default_rng(1).normal(scale=0.05, size=(len(atoms), 3))
    atoms.set_velocities(speeds)
    counted = predictions_of(model.config, "energy", "dipole")
    compiled = []
    for _ in VelocityVerlet(atoms, 1.0 * ase.units.fs).irun(30):
        fresh.calculate(atoms)
        assert_close(with_skin.results, fresh.results, 1e-12)
        compiled.append(counted._cache_size())
    assert 1 < with_skin.neighbor_searches < 15
    assert fresh.neighbor_searches == 31
    assert compiled[-1] == compiled[0], "compiled again while atoms moved"


def test_more_neighbors_than_headroom_compile_once_and_are_right():
    calc = calculator(room=False, skin=0.0)
    widths = []
    for a in (6.4, 4.4, 4.6):
        squeezed = salt()
        squeezed.set_cell([a] * 3, scale_atoms=True)
        calc.calculate(squeezed)
        widths.append(calc._shape.num_neighbors)
    assert widths[0] < widths[1] == widths[2]
    plain = calculator()
    plain.calculate(squeezed)
    assert_close(calc.results, plain.results)


def test_compute_equals_one_by_one():
    structures = [acid(), ase.Atoms("H"), salt()]
    calc = calculator(room=False, batch_size=None)
    together = calc.compute(structures)
    assert calc.results == {}
    assert ["stress" in results for results in together] == [False, False, True]
    # Lone atoms by eight of them, far apart: as many as the others have.
    lone = ase.Atoms("H8", positions=10.0 * np.eye(8, 3))
    lone.positions[3:, 0] += 20.0 * np.arange(1, 6)
    first, second, third = in_turn(calculator(), acid(), lone, salt())
    assert_close(together[0], first)
    assert_close(together[2], third)
    for name in ("energies", "forces"):
        np.testing.assert_allclose(together[1][name], second[name][:1], atol=ROUNDING)
    assert together[1]["energy"] == pytest.approx(second["energy"] / 8, rel=1e-13)
    assert calc.compute([]) == []


def test_averages_of_several_structures():
    """With 9, two structures of four copies each, and then two others."""
    structures = [acid(), salt(), salt(), acid()[::-1]]
    together = calculator(room=False, average="D2", batch_size=9).compute(structures)
    elements = finite_group("D2").elements
    for atoms, results in zip(structures, together, strict=True):
        assert_close(results, explicit(atoms, elements, np.full(4, 0.25)))


def distorted():
    atoms = salt(rattle=0)
    atoms.positions[0] += (0, 0, 0.2)
    return atoms


def test_compute_with_symmetries_of_their_own():
    structures = [salt(rattle=0), distorted()]
    assert [find_symmetry(atoms).order for atoms in structures] == [48, 8]
    together = calculator(room=False, symmetrize=True).compute(structures)
    for atoms, results in zip(structures, together, strict=True):
        one = calculator(symmetrize=True)
        one.calculate(atoms)
        assert_close(results, one.results)


def test_single_precision():
    """Of energies of 1e4 eV, float32 resolves 1e-3; their sum is in float64.

    Forces are sums of dozens of terms of several eV/angstrom, each with its epsilon.
    """
    double, single = (
        calculator(average=2, dtype=dtype) for dtype in ("float64", "float32")
    )
    double.calculate(salt())
    single.calculate(salt())
    assert abs(double.results["energy"]) > 1e4
    for name, tolerance in (("energy", 1e-5), ("forces", 2e-4), ("stress", 1e-5)):
        for full in (name, f"{name}_rotational_std"):
            np.testing.assert_allclose(
                single.results[full], double.results[full], rtol=0, atol=tolerance
            )


def test_optimiser_and_files(tmp_path):
    atoms = acid()
    atoms.calc = calculator(average="T")
    before = atoms.get_potential_energy()
    BFGS(atoms, trajectory=str(tmp_path / "t.traj"), logfile=None).run(steps=3)
    assert atoms.get_potential_energy() < before
    frame = ase.io.read(tmp_path / "t.traj")
    assert frame.get_potential_energy() == atoms.get_potential_energy()
    ase.io.write(tmp_path / "t.xyz", atoms)
    frame = ase.io.read(tmp_path / "t.xyz")
    np.testing.assert_allclose(frame.get_forces(), atoms.get_forces(), atol=1e-7)
    exported = atoms.calc.export_properties()
    assert set(exported) - {"natoms"} == {
        *("energy", "free_energy", "energies", "forces", "dipole")
    }


REFUSED = {
    "average of a float": ({"average": 3.0}, "average=3.0"),
    "average of a bool": ({"average": True}, "average=True"),
    "negative degree": ({"average": -1}, "degree=-1"),
    "unknown group": ({"average": "Qh"}, "name='Qh'"),
    "no fixed group": ({"average": "symmetry"}, "symmetrize=True"),
    "batch of nothing": ({"batch_size": 0}, "batch_size=0"),
    "batch of a half": ({"batch_size": 0.5}, "batch_size=0.5"),
    "negative skin": ({"skin": -0.1}, "skin=-0.1"),
    "dtype": ({"dtype": "float16"}, "dtype='float16'"),
    "unknown energy": ({"energy": "enthalpy"}, "energy='enthalpy'"),
    "vector energy": ({"energy": "dipole"}, "energy='dipole'"),
    "scalar dipole": ({"dipole": "energy"}, "dipole='energy'"),
    "tolerance": ({"tolerance": 1.0}, "tolerance=1.0"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_arguments(case):
    options, message = REFUSED[case]
    with pytest.raises(SymjaxError, match=message):
        calculator(**options)


def test_refused_models_and_structures():
    with pytest.raises(ModelError, match="is no PET"):
        SymjaxCalculator(PointMAEModel("events", EVENT_CONFIG, {}))
    strange = (Target("energy", "furlong"),)
    with pytest.raises(ModelError, match="furlong"):
        calculator(small_model(targets=strange))
    with pytest.raises(StructureError, match="does not know this element"):
        calculator().calculate(ase.build.bulk("Cu"))
    with pytest.raises(StructureError, match=r"structures\[1\]"):
        calculator().compute([acid(), ase.build.bulk("Cu")])
    with pytest.raises(SymjaxError, match="structures="):
        calculator().compute(acid())
