"""What is fitted as a stress is one: its unit, its symmetry, its structure."""

import ase.build
import ase.units
import jax
import numpy as np
import pytest
from water_runs import TINY

from symjax.data import GraphShape, read_values
from symjax.data.quantities import Target
from symjax.data.stress import read_stress
from symjax.errors import ArgumentError, StructureError
from symjax.models.pet import PETConfig, init_pet, predict
from symjax.training import parse_run
from symjax.training.atomistic import atomistic_task
from symjax.training.baselines import loss_units
from symjax.training.batches import collate, prepare_data
from symjax.training.fitted import labels_of
from symjax.training.optimisation import gradients
from symjax.training.sections import TargetSection
from symjax.training.validation import validation_errors

STRESS = np.array([[-0.11, 0.02, 0.0], [0.02, -0.12, 0.01], [0.0, 0.01, -0.13]])


SHEARED = STRESS.copy()
SHEARED[0, 1] += 0.07


def copper(**info):
    atoms = ase.build.bulk("Cu", cubic=True)
    atoms.info.update(info)
    return atoms


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


def film(**info):
    slab = ase.build.fcc111("Cu", (1, 1, 3), vacuum=8)
    slab.info.update(info)
    slab.arrays["forces"] = np.zeros((3, 3))
    return slab


def test_a_slab_has_that_in_its_plane():
    (value,) = read_stress([film(stress=STRESS)], "stress", 1.0)
    expected = STRESS.copy()
    expected[2] = expected[:, 2] = 0
    np.testing.assert_allclose(value[0, ..., 0], expected, atol=1e-15)


TARGETS = {"energy": TargetSection(energy_unit="eV", forces="forces", stress="stress")}
CONFIG = PETConfig((29,), (Target("energy", "eV"),), **TINY)


def test_a_slab_is_fitted_in_its_plane():
    """Four of nine components count; loss and errors do not depend on the others."""
    labels = labels_of(TARGETS, CONFIG)
    batches, sizes, errors = [], [], []
    model = init_pet(CONFIG, jax.random.key(0))
    run = parse_run(
        {
            "steps": 1,
            "data": {"training": "frames.xyz"},
            "targets": {name: t.model_dump() for name, t in TARGETS.items()},
        }
    )
    for out_of_plane in (0.0, 0.2):
        stress = 0.01 * np.eye(3)
        stress[2, 2] = out_of_plane
        frames = [film(energy=1.0, stress=stress), film(energy=2.0, stress=stress)]
        data = prepare_data(frames, TARGETS, CONFIG)
        batches.append(collate(labels, data, [0, 1], GraphShape(8, 40, 3)))
        sizes.append(loss_units(labels, data))
        errors.append(
            validation_errors(CONFIG, labels, model.parameters, data, sizes[-1], run)
        )
    jax.tree.map(np.testing.assert_array_equal, *batches)
    assert errors[0] == errors[1]
    (batch, _), (size, _) = batches, sizes
    assert batch.counts["stress"] == 8
    assert batch.counts["forces"] == 18
    # The root mean square over the four components: two are 0.01, two are 0.
    assert size["stress"] == pytest.approx(0.01 / np.sqrt(2))
    predicted = predict(model, data.graphs[0], forces=True, stress=True)["stress"]
    plane = np.asarray(predicted)[0, :2, :2] - 0.01 * np.eye(2)
    expected = np.sqrt(np.mean(plane**2))
    assert errors[0]["stress_rmse"] == pytest.approx(expected, rel=1e-5)
    task = atomistic_task(model, labels, size)
    lead = jax.tree.map(lambda leaf: np.asarray(leaf)[None, None], batch)
    fitted = jax.jit(lambda key: gradients(task.loss, *task[:3], lead, key)[3])
    values = [float(fitted(jax.random.key(seed))["stress"]) for seed in (0, 1)]
    assert np.isfinite(values).all()
    assert min(values) > 0


def test_tensors_known_in_part_are_refused():
    """Turned, what is not known would mix with what is."""
    atoms = ase.build.molecule("H2O")
    atoms.info["dipole"] = [0.0, np.nan, 0.3]
    targets = {"dipole": TargetSection(kind="vector", allow_missing=True)}
    with pytest.raises(StructureError, match=r"structures\[0\]\['dipole'\].*NaN"):
        prepare_data([atoms], targets, PETConfig((1, 8), (Target("dipole"),)))


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


def test_absent_keys_are_missing_values():
    frames = [copper(dipole=[0.0, 0.0, 1.0]), copper()]
    _, unknown = read_values(frames, "dipole", (3,), allow_missing=True)
    assert np.isnan(unknown).all()
    with pytest.raises(ArgumentError, match="no such entry"):
        read_values(frames, "dipole", (3,))
    with pytest.raises(ArgumentError, match="no such entry"):
        read_values(frames, "dipoles", (3,), allow_missing=True)
