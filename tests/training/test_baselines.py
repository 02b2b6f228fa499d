"""Baselines are those of least squares, and energies per atom are noticed."""

import warnings

import ase.build
import numpy as np
import pytest
from water_runs import TARGETS, TINY, frames

from symjax.models.pet import PETConfig
from symjax.training.baselines import (
    fit_baselines,
    fresh_model,
    loss_units,
    subtract_baselines,
    warn_of_intensive,
)
from symjax.training.batches import prepare_data
from symjax.training.fitted import labels_of
from symjax.training.sections import TargetSection

SECTIONS = {name: TargetSection(**section) for name, section in TARGETS.items()}


SPECIES = (1, 7, 8)


CONFIG = PETConfig(
    SPECIES, tuple(s.target(name) for name, s in SECTIONS.items()), **TINY
)


@pytest.fixture(scope="module")
def data():
    return prepare_data(frames(), SECTIONS, CONFIG)


@pytest.mark.parametrize("per_atom", [True, False])
def test_energies_per_atom_are_noticed_by_their_values(per_atom):
    names = ("H2O", "NH3", "N2", "O2", "H2", "H2O2", "N2H4", "NO2", "N2O", "NH2")
    made = [ase.build.molecule(name) for name in names]
    for index, atoms in enumerate(made):
        atoms.info["energy"] = 0.01 * index - 500.0 * np.sum(atoms.numbers)
        if per_atom:
            atoms.info["energy"] /= len(atoms)
    section = TargetSection(energy_unit="eV")
    data = prepare_data(made, {"energy": section}, PETConfig(SPECIES))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if per_atom:
            with pytest.raises(UserWarning, match="energies per atom"):
                warn_of_intensive(CONFIG, data)
        else:
            warn_of_intensive(CONFIG, data)


def test_baselines_are_those_of_least_squares(data):
    fitted = fit_baselines(CONFIG, data)
    assert set(fitted["dipole_moment"]) == set(fitted["shielding"]) == set()
    energies = np.array([value.item() for value in data.values["energy"]])
    counts = np.array([[2, 0, 1], [3, 1, 0]] * 6, float)
    solution = np.linalg.pinv(counts) @ energies
    np.testing.assert_allclose(fitted["energy"]["scalar"][:, 0], solution, rtol=1e-9)
    left = subtract_baselines(CONFIG, data, fitted)
    rest = np.array([value.item() for value in left.values["energy"]])
    np.testing.assert_allclose(rest, energies - counts @ solution, atol=1e-9)
    # what is left is the spread in which errors are measured
    labels = labels_of(SECTIONS, CONFIG)
    size = loss_units([label for label in labels if label.name != "forces"], left)
    expected = np.sqrt(np.mean((rest / counts.sum(axis=1)) ** 2))
    np.testing.assert_allclose(size["energy"], expected, rtol=1e-9)
    units = loss_units(labels, left)
    forces = np.concatenate(left.values["forces"])
    np.testing.assert_allclose(units["forces"], np.sqrt(np.mean(forces**2)), rtol=1e-9)
    np.testing.assert_array_equal(units["energy"], units["forces"])
    np.testing.assert_array_equal(units["shielding"], size["shielding"])
    model = fresh_model(CONFIG, labels, data, 0, "pet")
    np.testing.assert_allclose(
        model.parameters["scale"]["energy"]["scalar"], units["forces"][0], rtol=1e-6
    )
    assert model.parameters["scale"]["shielding"]["2+"].shape == (3, 2)
