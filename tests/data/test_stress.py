"""Stresses as they are read: their order, their unit, their symmetry, their plane."""

import ase.build
import ase.units
import numpy as np
import pytest

from symjax.data.stress import read_stress
from symjax.errors import ArgumentError, StructureError

STRESS = np.array([[-0.11, 0.02, 0.0], [0.02, -0.12, 0.01], [0.0, 0.01, -0.13]])


SHEARED = STRESS.copy()
SHEARED[0, 1] += 0.07


def copper(**info):
    atoms = ase.build.bulk("Cu", cubic=True)
    atoms.info.update(info)
    return atoms


def film(**info):
    slab = ase.build.fcc111("Cu", (1, 1, 3), vacuum=8)
    slab.info.update(info)
    return slab


def test_matrices_and_voigt_agree():
    voigt = [-0.11, -0.12, -0.13, 0.01, 0.0, 0.02]
    values = read_stress([copper(s=STRESS), copper(s=voigt)], "s", 1.0)
    np.testing.assert_array_equal(values[0], values[1])
    np.testing.assert_array_equal(values[0][0, ..., 0], STRESS)


@pytest.mark.parametrize(
    ("field", "match"),
    [
        ("virial", "is a virial by its name.*-virial / volume"),
        ("REF_virials", "is a virial"),
        ("stress_GPa", "is in gpa by its name"),
        ("stress_kB", "is in kb by its name"),
        ("stress-kbar", "is in kbar by its name"),
    ],
)
def test_names_of_other_quantities_are_refused(field, match):
    with pytest.raises(ArgumentError, match=match):
        read_stress([copper(**{field: 0.1 * STRESS})], field, 1.0)


@pytest.mark.parametrize(
    ("value", "match"),
    [
        (SHEARED, "is not symmetric.*0.07"),
        (STRESS / ase.units.GPa, "19 eV|larger than 3 eV.*GPa or kbar"),
        (-STRESS * 46.7, "larger than 3 eV/angstrom"),  # a virial in eV
    ],
)
def test_values_of_other_quantities_are_refused(value, match):
    frames = [copper(stress=STRESS), copper(stress=value)]
    with pytest.raises(StructureError, match=match) as caught:
        read_stress(frames, "stress", 1.0)
    assert "structures[1].info['stress']" in str(caught.value)


def test_a_slab_has_that_in_its_plane():
    (value,) = read_stress([film(stress=STRESS)], "stress", 1.0)
    expected = STRESS.copy()
    expected[2] = expected[:, 2] = 0
    np.testing.assert_allclose(value[0, ..., 0], expected, atol=1e-15)


def test_without_a_volume_there_is_none():
    slab = film(stress=0.01 * np.eye(3))
    slab.cell[2] = 0
    with pytest.raises(
        StructureError, match=r"structures\[1\].pbc.*no stress.*third vector"
    ):
        read_stress([copper(stress=STRESS), slab], "stress", 1.0)
    known, unknown = read_stress(
        [copper(stress=STRESS), slab], "stress", 1.0, allow_missing=True
    )
    assert np.isfinite(known).all()
    assert np.isnan(unknown).all()


def test_missing_labels():
    frames = [copper(stress=STRESS), copper()]
    with pytest.raises(ArgumentError, match=r"structures\[1\] has no such entry"):
        read_stress(frames, "stress", 1.0)
    _, unknown = read_stress(frames, "stress", 1.0, allow_missing=True)
    assert np.isnan(unknown).all()
    with pytest.raises(ArgumentError, match="no structure has such an entry"):
        read_stress(frames, "stresses", 1.0, allow_missing=True)
