"""Charges and spins under the keys of many packages: read, refused, or warned of."""

import warnings

import ase.build
import pytest

from symjax.data import check_structure
from symjax.data.conditions import (
    check_conditions,
    conditions_of,
    spin_multiplicity,
    total_charge,
    warn_of_unread,
)
from symjax.errors import StructureError
from symjax.models.pet import PETConfig, pet_graph


def test_charge_and_multiplicity_under_other_names():
    atoms = ase.build.molecule("O2")
    atoms.info.update(total_charge=1, multiplicity=2)
    assert (total_charge(atoms), spin_multiplicity(atoms)) == (1, 2)
    atoms.info.update(charge=1, spin_multiplicity=2)
    assert (total_charge(atoms), spin_multiplicity(atoms)) == (1, 2)
    atoms.info["charge"] = 0
    with pytest.raises(StructureError, match=r"charge=0, total_charge=1.*contradict"):
        total_charge(atoms)


def test_a_spin_is_ambiguous_for_models_that_read_it():
    atoms = ase.build.molecule("O2")
    atoms.info["spin"] = 3
    check_structure(atoms)
    with pytest.raises(StructureError, match=r"info\['spin'\]=3.*spin_multiplicity"):
        check_conditions(atoms)
    atoms.info["spin_multiplicity"] = 3
    check_conditions(atoms)


@pytest.mark.parametrize(
    "key",
    [
        "Charge",
        "net_charge",
        "totalCharge",
        "molecular-charge",
        "charge_total",
        "q_tot",
    ],
)
def test_charges_under_other_keys_are_refused(key):
    atoms = ase.build.molecule("O2")
    atoms.info[key] = 1
    with pytest.raises(StructureError, match=r"the total charge.*info\['charge'\]"):
        check_conditions(atoms)
    assert conditions_of(atoms) == {key: 1}
    atoms.info["charge"] = 1
    check_conditions(atoms)


@pytest.mark.parametrize(
    "key", ["Spin", "total_spin", "mult", "uhf", "SpinMultiplicity"]
)
def test_spins_under_other_keys_are_refused(key):
    atoms = ase.build.molecule("O2")
    atoms.info[key] = 3
    with pytest.raises(StructureError, match=r"info\['spin_multiplicity'\]"):
        check_conditions(atoms)


def test_initial_charges_that_add_up_are_no_total_charge():
    atoms = ase.build.molecule("CO")
    atoms.set_initial_charges([0.75, 0.25])
    with pytest.raises(StructureError, match=r"a sum of 1 e.*info\['charge'\] = 1"):
        check_conditions(atoms)
    atoms.info["charge"] = 1
    check_conditions(atoms)
    atoms = ase.build.molecule("CO")
    atoms.set_initial_charges([0.2, -0.2])
    check_conditions(atoms)


def test_every_way_of_a_pet_refuses_or_warns():
    """A conditioned model refuses; of another the user is told once by name."""
    small = {"d_pet": 4, "d_node": 4, "d_head": 4, "d_feedforward": 4, "num_heads": 1}
    atoms = ase.build.molecule("CO")
    atoms.set_initial_charges([0.75, 0.25])
    conditioned = PETConfig((6, 8), system_conditioning=True, **small)
    with pytest.raises(StructureError, match="a sum of 1 e"):
        pet_graph(conditioned, atoms)
    with pytest.warns(UserWarning, match="initial charges of atoms are not read"):
        pet_graph(PETConfig((6, 8), **small), atoms)


@pytest.mark.parametrize(
    "info", [{"charge": 1}, {"net_charge": -1.0}, {"multiplicity": 3}]
)
def test_charges_and_spins_that_no_model_reads_are_warned_of(info):
    """A model without conditioning gives the neutral singlet's answer for any."""
    atoms = ase.build.molecule("CO")
    atoms.info.update(info)
    small = {"d_pet": 4, "d_node": 4, "d_head": 4, "d_feedforward": 4, "num_heads": 1}
    with pytest.warns(UserWarning, match="is not read by this model"):
        pet_graph(PETConfig((6, 8), **small), atoms)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_unread(atoms, ["charge", "spin_multiplicity"])
        atoms.info = {"charge": 0, "spin_multiplicity": 1, "spin": 0}
        warn_of_unread(atoms)


def test_what_is_read_or_zero_is_not_warned_of():
    atoms = ase.build.molecule("CO")
    atoms.set_initial_charges([0.0, 0.0])
    atoms.set_initial_magnetic_moments([1.0, -1.0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_unread(atoms, ["initial_magmoms"])
    with pytest.warns(UserWarning, match="initial magnetic moments of atoms"):
        warn_of_unread(atoms)
