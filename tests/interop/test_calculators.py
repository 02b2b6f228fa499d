"""ASE calculators as problems: exact ones, and ones with known faults."""

import ase.build
import numpy as np
import pytest
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from interrupted import interrupted_by_jax
from small_models import small_pet

from symjax.errors import ArgumentError, ModelError
from symjax.interop import SymjaxCalculator, calculator_problem
from symjax.metrics import Grid, HaarSamples, measure
from symjax.models.pet import orbit_problem

COARSE = Grid(5, on_aliasing="report")


def crystal():
    atoms = ase.build.bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=1)
    atoms.set_cell(atoms.cell[:] + np.diag([0.1, 0.2], k=1))
    return atoms


class Springs(Calculator):
    """Sum of w |r_i - r_j|^2 over pairs: exact, quadratic, with every kind of fault."""

    implemented_properties = ("energy", "forces", "stress", "dipole", "charges")

    def __init__(self, fault=""):
        super().__init__()
        self.fault = fault
        self.random = np.random.default_rng(0)
        self.first_cell = None
        self.calls = 0

    def energy_of(self, positions):
        difference = positions[:, None] - positions
        return 0.25 * np.sum(difference**2)

    def calculate(self, atoms=None, properties=("energy",), changes=all_changes):
        super().calculate(atoms, properties, changes)
        self.calls += 1
        r = self.atoms.positions
        energy = self.energy_of(r)
        forces = -(len(r) * r - r.sum(axis=0))
        if self.fault == "cell":
            # The cell of the first call stays, as if it had not been turned.
            if self.first_cell is None:
                self.first_cell = self.atoms.cell[:].copy()
            energy += 0.1 * float(np.sum((r @ self.first_cell) ** 2))
        if self.fault == "steps":
            # A quartic term along the axes of the laboratory, as lattice artefacts.
            energy += 0.05 * float(np.sum(r**4))
        if self.fault == "noise":
            energy += 0.1 * float(self.random.standard_normal())
        self.results = {
            "energy": energy,
            "forces": forces,
            "stress": np.array([1.0, 1.0, 1.0, 0.0, 0.0, 0.0]),
            "dipole": r.sum(axis=0),
            "charges": np.arange(len(r)) * 1.0,
        }


def test_emt_on_a_rattled_crystal_is_exact():
    """EMT sums over neighbors within a cutoff, in float64: round-off alone."""
    problem = calculator_problem(EMT, crystal())
    assert {name: output.unit for name, output in problem.outputs.items()} == {
        "energy": "eV",
        "energies": "eV",
        "forces": "eV/angstrom",
        "stress": "eV/angstrom^3",
    }
    result = measure(problem, over=HaarSamples(8), max_degree=2)
    for name, leaf in result.items():
        assert leaf.relative_error < 1e-9, name


def test_values_are_those_of_the_calculator():
    atoms = crystal()
    out = calculator_problem(EMT(), atoms).function
    problem = calculator_problem(EMT(), atoms)
    found = out(problem.x)
    atoms.calc = EMT()
    assert found["energy"] == atoms.get_potential_energy()
    np.testing.assert_allclose(found["forces"], atoms.get_forces(), atol=1e-12)
    np.testing.assert_allclose(
        found["stress"], atoms.get_stress(voigt=False), atol=1e-12
    )


def test_agrees_with_the_same_network_measured_in_jax():
    """A PET through its ASE calculator, and directly: float64 round-off."""
    atoms = ase.build.molecule("H2O")
    model = small_pet()
    through = measure(
        calculator_problem(
            SymjaxCalculator(model, dtype="float64"), atoms, outputs=["forces"]
        ),
        over=Grid(3, on_aliasing="report"),
        max_degree=1,
    )["forces"]
    direct = measure(
        orbit_problem(model, atoms, layers="none", dtype="float64"),
        over=Grid(3, on_aliasing="report"),
        max_degree=1,
    )["forces"]
    assert through.equivariance_error == pytest.approx(
        direct.equivariance_error, rel=1e-9
    )
    np.testing.assert_allclose(through.content, direct.content, atol=1e-12)


def test_a_calculator_that_forgets_to_turn_the_cell():
    problem = calculator_problem(Springs("cell"), crystal(), outputs=["energy"])
    leaf = measure(problem, over=COARSE, max_degree=2)["energy"]
    assert leaf.relative_error > 1e-3
    assert leaf.content_of("2+") > 1e-6


def test_artefacts_along_the_axes_are_of_degree_four():
    """sum x^4 is of cubic symmetry: content in 4+, none in 2+."""
    atoms = ase.build.molecule("CH3OH")
    problem = calculator_problem(Springs("steps"), atoms, outputs=["energy"])
    over = Grid(9, on_aliasing="report")
    leaf = measure(problem, over=over, max_degree=4)["energy"]
    assert leaf.content_of("4+") > 1e-9
    assert leaf.content_of("2+") < 1e-12 < leaf.content_of("4+")


def test_a_good_calculator_has_no_error():
    problem = calculator_problem(Springs(), ase.build.molecule("CH3OH"))
    result = measure(problem, over=COARSE, max_degree=2)
    assert list(result) == sorted(["energy", "forces", "dipole", "charges"])
    for leaf in result.values():
        assert leaf.relative_error < 1e-12


class Gaussians(Springs):
    """The same with Gaussians, computed in a type, and handed out as ASE does."""

    def __init__(self, dtype):
        super().__init__()
        self.dtype = dtype

    def calculate(self, atoms=None, properties=("energy",), changes=all_changes):
        super().calculate(atoms, properties, changes)
        r = self.atoms.positions.astype(self.dtype)
        energy = np.exp(-np.sum((r[:, None] - r) ** 2, axis=2)).sum()
        self.results["energy"] = float(energy)


def test_round_off_of_a_calculator_in_float32_is_noise():
    """ASE's results are float64; charges 0, 1, ... are no sign of either type."""
    atoms = ase.build.molecule("CH3OH")
    found, seen = {}, {}
    for dtype in (np.float32, np.float64):
        problem = calculator_problem(
            Gaussians(dtype), atoms, outputs=["energy", "charges", "dipole"]
        )
        values = problem.function(problem.x)
        seen[dtype] = {name: value.dtype for name, value in values.items()}
        found[dtype] = measure(problem, over=HaarSamples(16), max_degree=1)["energy"]
    assert seen[np.float64] == dict.fromkeys(seen[np.float64], np.float64)
    assert seen[np.float32] == seen[np.float64] | {"energy": np.dtype(np.float32)}
    single, double = found[np.float32], found[np.float64]
    assert 0 < single.relative_error < single.certificate.noise < 1e-5
    assert double.relative_error < 1e-15
    assert double.certificate.noise < 1e-13


def test_a_calculator_that_changes_its_precision_is_refused():
    calculator = Gaussians(np.float32)
    problem = calculator_problem(calculator, ase.build.molecule("CH3OH"))
    calculator.dtype = np.float64
    with pytest.raises(ModelError, match="energy in float32 at first"):
        problem.function(problem.x)


def test_results_are_calculated_anew_in_every_orientation():
    calculator = Springs()
    problem = calculator_problem(calculator, ase.build.molecule("H2O"))
    before = calculator.calls
    problem.function(problem.x)
    problem.function(problem.x)
    assert calculator.calls == before + 2


def test_momenta_and_moments_turn_with_the_structure():
    atoms = ase.build.molecule("H2O")
    atoms.set_momenta(np.arange(9.0).reshape(3, 3))
    atoms.set_initial_magnetic_moments(np.ones((3, 3)))
    seen = []

    class Watching(Springs):
        def calculate(self, atoms=None, properties=("energy",), changes=all_changes):
            seen.append((atoms.get_momenta(), atoms.get_initial_magnetic_moments()))
            super().calculate(atoms, properties, changes)

    problem = calculator_problem(Watching(), atoms, outputs=["energy"])
    measure(problem, over=HaarSamples(8), max_degree=1)
    momenta, moments = (np.array(arrays) for arrays in zip(*seen, strict=True))
    np.testing.assert_allclose(np.linalg.norm(momenta, axis=(1, 2)), 204**0.5)
    assert momenta.std(axis=0).min() > 0.1
    assert moments.std(axis=0).min() > 0.1


def test_constraints_do_not_hide_forces():
    from ase.constraints import FixAtoms

    atoms = ase.build.molecule("H2O")
    atoms.set_constraint(FixAtoms([0, 1, 2]))
    problem = calculator_problem(Springs(), atoms, outputs=["forces"])
    assert np.abs(problem.function(problem.x)["forces"]).max() > 0.1


@pytest.mark.parametrize(
    ("calculator", "outputs", "error", "text"),
    [
        ("EMT", None, ModelError, "is not an ASE calculator"),
        (EMT(), ["magmom", "polarisation"], ArgumentError, "outputs='polarisation'"),
        (EMT(), ["stress"], ArgumentError, "has no stress"),
        (Springs(), ["hirshfeld"], ArgumentError, "Use energy, forces"),
    ],
)
def test_bad_input(calculator, outputs, error, text):
    atoms = ase.build.molecule("CO")
    if outputs == ["magmom", "polarisation"]:
        outputs = ["polarisation"]
    with pytest.raises(error, match=text):
        calculator_problem(calculator, atoms, outputs=outputs)


def test_what_the_calculator_cannot_do_is_said():
    with pytest.raises(ModelError, match=r"could not calculate energy: .*No EMT"):
        calculator_problem(EMT(), ase.build.molecule("SiH4"))


def test_an_interruption_is_not_a_failure():
    """JAX makes a RuntimeError of it in host callbacks, which networks may have."""

    class Interrupted(Springs):
        def calculate(self, *args, **kwargs):
            if self.calls:
                interrupted_by_jax()
            super().calculate(*args, **kwargs)

    water = ase.build.molecule("H2O")
    problem = calculator_problem(Interrupted(), water, outputs=["energy"])
    with pytest.raises(KeyboardInterrupt):
        problem.function({**problem.x, "positions": 2 * problem.x["positions"]})
