"""What ASE asks of calculators, and what counts as a change."""

import numpy as np
import pytest
from ase.calculators.calculator import PropertyNotImplementedError
from small_calculators import acid, calculator, small_model

from symjax.errors import ModelError


def test_ase_asks_and_caches():
    atoms = acid()
    atoms.calc = calc = calculator()
    energy = atoms.get_potential_energy()
    assert atoms.get_potential_energy(force_consistent=True) == energy
    assert atoms.get_potential_energies().sum() == pytest.approx(energy, rel=1e-14)
    assert atoms.get_dipole_moment().shape == (3,)
    before = calc.results
    atoms.get_forces()
    assert calc.results is before
    with pytest.raises(PropertyNotImplementedError):
        atoms.get_stress()
    with pytest.raises(PropertyNotImplementedError):
        atoms.get_magnetic_moment()
    atoms.positions[0, 0] += 0.1
    assert atoms.get_potential_energy() != energy


def test_charge_is_read_and_a_change_noticed():
    model = small_model(system_conditioning=True)
    table = model.parameters["network"]["system_conditioning"]["project_2"]
    table["kernel"] = np.random.default_rng(0).normal(size=table["kernel"].shape)
    atoms = acid()
    atoms.calc = calculator(model)
    neutral = atoms.get_potential_energy()
    atoms.info["charge"] = 1
    assert abs(atoms.get_potential_energy() - neutral) > 1e-6
    together = atoms.calc.compute([acid(), atoms])
    assert together[0]["energy"] == pytest.approx(neutral, rel=1e-14)
    assert together[1]["energy"] == pytest.approx(
        atoms.get_potential_energy(), rel=1e-14
    )
    atoms.info["charge"] = 11
    with pytest.raises(ModelError, match="charge=11"):
        atoms.get_potential_energy()
