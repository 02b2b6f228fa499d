"""Conventions of the codes: every label turns as its representation says.

Tolerances: tblite converges dipoles to 1e-8 e bohr and PySCF densities to about 1e-8;
a difference quotient in a field of 1e-3 atomic units magnifies the former to 1e-5
bohr^3, or 1e-7 e*angstrom^2/V.
"""

import doctest
import inspect
import math
import sys

import ase.build
import jax
import numpy as np
import pytest
from ase.units import Bohr, Hartree

from symjax.errors import ArgumentError, StructureError
from symjax.labels import electronic
from symjax.labels.electronic import density_channels, density_labels, xtb_labels
from symjax.so3 import (
    MATRIX,
    VECTOR,
    act,
    haar,
    spherical,
    spherical_harmonics,
)
from symjax.so3.harmonics import degree_slice


@pytest.fixture
def interface():
    return pytest.importorskip("tblite.interface", reason="needs the extra [data]")


@pytest.fixture
def gto():
    return pytest.importorskip("pyscf.gto", reason="needs the extra [data]")


def molecule(name, seed=1):
    """A molecule without symmetry, in no special place or orientation."""
    atoms = ase.build.molecule(name)
    atoms.positions += 0.05 * np.random.default_rng(seed).normal(size=(len(atoms), 3))
    atoms.positions = atoms.positions @ element(5, 1).T + [1.0, -2.0, 0.5]
    return atoms


def element(seed, sign):
    return sign * np.asarray(haar(jax.random.key(seed), 1)[0])


def moved(atoms, rotation):
    out = atoms.copy()
    out.positions = out.positions @ rotation.T + [0.3, 0.7, -1.1]
    return out


def single_point(interface, atoms, field=None):
    calculator = interface.Calculator(
        "GFN2-xTB", atoms.numbers, (atoms.positions - atoms.get_center_of_mass()) / Bohr
    )
    calculator.set("verbosity", 0)
    calculator.set("accuracy", 1e-4)
    if field is not None:
        calculator.add("electric-field", list(field))
    return calculator.singlepoint()


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("name", "charge"), [("CH3CH2OH", 0), ("CH3CONH2", 1)])
def test_xtb_labels_move_with_the_molecule(interface, name, charge, sign):
    """Also those of an ion, whose moments depend on the origin."""
    atoms = molecule(name)
    if charge:
        atoms.info |= {"charge": charge, "spin_multiplicity": 2}
    rotation = element(2, sign)
    one, two = xtb_labels(atoms), xtb_labels(moved(atoms, rotation))
    assert two.energy == pytest.approx(one.energy, abs=1e-8)
    for values, turned, representation, tolerance in (
        (one.forces, two.forces, VECTOR, 1e-6),
        (one.dipole_moment, two.dipole_moment, VECTOR, 1e-7),
        (one.quadrupole_moment, two.quadrupole_moment, MATRIX, 1e-6),
        (one.polarizability, two.polarizability, MATRIX, 2e-6),
    ):
        assert np.abs(values).max() > 0.01
        expected = act(representation, rotation, values)
        np.testing.assert_allclose(turned, expected, rtol=0, atol=tolerance)


def test_forces_are_minus_the_gradient_of_the_energy(interface):
    atoms = molecule("H2O")
    forces = xtb_labels(atoms, polarizability=False).forces
    step = 1e-3
    for place in np.ndindex(3, 3):
        energies = []
        for sign in (1, -1):
            shifted = atoms.copy()
            shifted.positions[place] += sign * step
            energies.append(xtb_labels(shifted, polarizability=False).energy)
        # Truncation: third derivatives of a bond, 1e3 eV/angstrom^3, times step^2 / 6.
        slope = (energies[0] - energies[1]) / (2 * step)
        assert forces[place] == pytest.approx(-slope, abs=5e-4)


def test_quadrupole_agrees_with_tblite_where_that_turns(interface):
    """tblite's diagonal elements do, so every n.Q.n can be had by turning n to x."""
    atoms = molecule("CH3CH2OH")
    quadrupole = xtb_labels(atoms, polarizability=False).quadrupole_moment
    assert np.trace(quadrupole) == pytest.approx(0, abs=1e-10)
    for seed in range(3):
        rotation = element(seed, 1)
        turned = moved(atoms, rotation)
        xx, _, yy, _, _, zz = single_point(interface, turned)["quadrupole"]
        expected = np.diag(rotation @ quadrupole @ rotation.T)
        np.testing.assert_allclose(
            np.array([xx, yy, zz]) * Bohr**2, expected, atol=1e-6
        )


def test_polarizability_is_the_curvature_of_the_energy(interface):
    """alpha_ij = -d^2 E / dF_i dF_j: energies only, no dipoles."""
    atoms = molecule("CH3CH2OH")
    alpha = xtb_labels(atoms).polarizability * (Hartree / Bohr**2)
    step = 2e-3
    middle = single_point(interface, atoms)["energy"]
    for seed in range(3):
        along = element(seed, 1)[0]
        ends = [
            single_point(interface, atoms, sign * step * along)["energy"]
            for sign in (1, -1)
        ]
        curvature = (ends[0] + ends[1] - 2 * middle) / step**2
        # Truncation: step^2 / 12 times a hyperpolarizability of about 1e3.
        assert along @ alpha @ along == pytest.approx(-curvature, rel=1e-4)


def test_polarizability_does_not_depend_on_the_step(interface):
    """Against differences of dipoles of fourth order, at twice the fields."""
    atoms = molecule("CH3CH2OH")
    alpha = xtb_labels(atoms).polarizability
    along = element(0, 1)[0]

    def dipole(size):
        return np.asarray(single_point(interface, atoms, size * along)["dipole"])

    step = 2e-3
    near, far = (dipole(n * step) - dipole(-n * step) for n in (1, 2))
    coarse = (8 * near - far) / (12 * step) * (Bohr**2 / Hartree)
    # Fourth order: sixteen times the error of the fine one.
    np.testing.assert_allclose(alpha @ along, coarse, rtol=0, atol=4e-6)


@pytest.mark.parametrize("sign", [1, -1])
def test_density_turns_with_the_molecule(gto, sign):
    atoms = molecule("CH3CH2OH")
    rotation = element(3, sign)
    one, two = density_labels(atoms), density_labels(moved(atoms, rotation))
    assert two.energy == pytest.approx(one.energy, abs=1e-7)
    for degree, (values, turned) in enumerate(
        zip(one.coefficients, two.coefficients, strict=True)
    ):
        # Hydrogen has fewer channels.
        missing = np.isnan(values)
        assert missing.any()
        assert not missing.all()
        expected = act(
            spherical(degree, channels=True), rotation, np.nan_to_num(values)
        )
        assert np.abs(expected).max() > 0.01
        np.testing.assert_array_equal(np.isnan(turned), missing)
        np.testing.assert_allclose(np.nan_to_num(turned), expected, rtol=0, atol=5e-6)


def radial_functions(gto, symbol):
    """Exponents and weights for each degree: R = r^l sum_k w_k exp(-a_k r^2), bohr."""
    out = {}
    for degree, *primitives in gto.basis.load(electronic.DENSITY_BASIS, symbol):
        exponents, *columns = np.array(primitives).T
        pairs = exponents[:, None] + exponents
        # Integral of r^(2 l + 2) exp(-a r^2).
        overlap = math.gamma(degree + 1.5) / 2 / pairs ** (degree + 1.5)
        for column in columns:
            weights = column / np.sqrt(np.diag(overlap))
            weights /= np.sqrt(weights @ overlap @ weights)
            out.setdefault(degree, []).append((exponents, weights))
    return out


def test_density_has_the_electrons_and_the_dipole_of_the_orbitals(gto):
    """Stated in the documentation: electrons to 3 in 10,000."""
    atoms = molecule("CH3CH2OH")
    labels = density_labels(atoms)
    electrons, dipole = 0.0, atoms.numbers @ atoms.positions
    for number, symbol in enumerate(atoms.symbols):
        functions = radial_functions(gto, symbol)
        for channel, (a, w) in enumerate(functions[0]):
            integral = np.sum(w * math.gamma(1.5) / 2 / a**1.5) * math.sqrt(4 * math.pi)
            coefficient = labels.coefficients[0][number, 0, channel] * Bohr**1.5
            electrons += coefficient * integral
            dipole = dipole - coefficient * integral * atoms.positions[number]
        for channel, (a, w) in enumerate(functions[1]):
            integral = np.sum(w * math.gamma(2.5) / 2 / a**2.5) * math.sqrt(
                4 * math.pi / 3
            )
            y, z, x = labels.coefficients[1][number, :, channel] * Bohr**1.5
            dipole = dipole - np.array([x, y, z]) * integral * Bohr
    assert electrons == pytest.approx(26, rel=4e-4)
    # The excess charge sits somewhere on the molecule, in its own frame.
    dipole = dipole + (electrons - 26) * atoms.get_center_of_mass()
    field, _ = orbitals(gto, atoms)
    expected = field.dip_moment(unit="AU", verbose=0) * Bohr
    np.testing.assert_allclose(dipole, expected, rtol=0, atol=0.01)


def orbitals(gto, atoms):
    """The same Hartree-Fock without density fitting."""
    scf = pytest.importorskip("pyscf.scf")
    molecule = gto.M(
        atom=list(zip(atoms.symbols, (atoms.positions / Bohr).tolist(), strict=True)),
        unit="Bohr",
        basis=electronic.ORBITAL_BASIS,
        verbose=0,
    )
    field = scf.RHF(molecule)
    field.kernel()
    return field, molecule


def test_density_is_that_of_the_orbitals(gto):
    """At points in space, with symjax's harmonics and radial functions from scratch."""
    atoms = molecule("H2O")
    labels = density_labels(atoms)
    generator = np.random.default_rng(0)
    points = np.concatenate(
        [at + 0.8 * generator.normal(size=(40, 3)) for at in atoms.positions]
    )
    fitted = np.zeros(len(points))
    for number, symbol in enumerate(atoms.symbols):
        vectors = (points - atoms.positions[number]) / Bohr
        r = np.linalg.norm(vectors, axis=1)
        harmonics = np.asarray(spherical_harmonics(4, vectors))
        for degree, functions in radial_functions(gto, symbol).items():
            for channel, (a, w) in enumerate(functions):
                radial = r**degree * (np.exp(-np.outer(r**2, a)) @ w)
                c = labels.coefficients[degree][number, :, channel] * Bohr**1.5
                fitted += radial * (harmonics[:, degree_slice(degree)] @ c)
    field, basis = orbitals(gto, atoms)
    values = basis.eval_gto("GTOval", points / Bohr)
    density = np.einsum("pi,ij,pj->p", values, field.make_rdm1(), values)
    error = np.sqrt(np.mean((fitted - density) ** 2) / np.mean(density**2))
    assert error < 0.02


def test_channels_are_padded_to_those_of_the_data(gto):
    atoms = ase.build.molecule("H2")
    assert [len(b[0, 0]) for b in density_labels(atoms).coefficients] == [3, 1, 1, 0, 0]
    wide = density_labels(atoms, channels=density_channels([1, 8]))
    assert [len(b[0, 0]) for b in wide.coefficients] == [6, 4, 3, 1, 1]
    assert [np.isfinite(b[0, 0]).sum() for b in wide.coefficients] == [3, 1, 1, 0, 0]
    with pytest.raises(ArgumentError, match="must be at least"):
        density_labels(atoms, channels=(3, 1, 0, 0, 0))


def test_unusable_structures_are_named(gto):
    copper = ase.build.bulk("Cu")
    with pytest.raises(StructureError, match="without periodic images"):
        xtb_labels(copper)
    radical = ase.build.molecule("CH3")
    with pytest.raises(StructureError, match="does not match 9 electrons"):
        xtb_labels(ase.Atoms(radical.numbers, radical.positions))
    radical.info["spin_multiplicity"] = 2
    with pytest.raises(StructureError, match="paired electrons"):
        density_labels(radical)
    xenon = ase.Atoms("Xe")
    with pytest.raises(StructureError, match="'Xe': has no all-electron basis set"):
        density_labels(xenon)
    with pytest.raises(ArgumentError, match="Xe"):
        density_channels([1, 54])


def test_a_failed_calculation_is_named(interface):
    far = ase.build.molecule("CH3")
    far.positions *= 3
    far.info["spin_multiplicity"] = 2
    with pytest.raises(StructureError, match=r"structures\[7\].*no self-consistent"):
        xtb_labels(far, index=7)


@pytest.mark.parametrize(
    ("function", "module"),
    [(xtb_labels, "tblite.interface"), (density_labels, "pyscf")],
)
def test_without_the_extra_its_name_is_given(monkeypatch, function, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ArgumentError, match=r"Install symjax\[data\]"):
        function(ase.build.molecule("H2O"))


@pytest.mark.parametrize("function", [xtb_labels, density_labels, density_channels])
def test_examples_that_need_the_extra(interface, gto, function):
    """Doctests leave them out, as the extra may be missing."""
    text = inspect.getdoc(function).replace("# doctest: +SKIP", "")
    test = doctest.DocTestParser().get_doctest(text, {}, function.__name__, None, 0)
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    assert test.examples
    assert doctest.DocTestRunner(optionflags=flags).run(test).failed == 0
