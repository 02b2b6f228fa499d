"""Stresses in training: those of a slab in its plane, and tensors known in part."""

import ase.build
import ase.units
import jax
import numpy as np
import pytest
from small_models import drawn_pet

from symjax.data import GraphShape
from symjax.data.quantities import Target
from symjax.errors import StructureError
from symjax.models.pet import PETConfig, predict
from symjax.training import parse_run
from symjax.training.atomistic import atomistic_task
from symjax.training.baselines import loss_units
from symjax.training.batches import collate, prepare_data
from symjax.training.fitted import labels_of
from symjax.training.sections import TargetSection
from symjax.training.validation import validation_errors


def film(**info):
    slab = ase.build.fcc111("Cu", (1, 1, 3), vacuum=8)
    slab.info.update(info)
    slab.arrays["forces"] = np.zeros((3, 3))
    return slab


TARGETS = {"energy": TargetSection(energy_unit="eV", forces="forces", stress="stress")}
CONFIG = drawn_pet((29,)).config


def test_a_slab_is_fitted_in_its_plane():
    """Four of nine components count; loss and errors do not depend on the others."""
    labels = labels_of(TARGETS, CONFIG)
    batches, sizes, errors = [], [], []
    model = drawn_pet((29,))
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
    totals = task.loss.totals(batch)
    terms = jax.jit(lambda key: task.loss(*task[:3], batch, key, totals)[1][1])
    values = [float(terms(jax.random.key(seed))["stress"]) for seed in (0, 1)]
    assert np.isfinite(values).all()
    assert min(values) > 0


def test_tensors_known_in_part_are_refused():
    """Turned, what is not known would mix with what is."""
    atoms = ase.build.molecule("H2O")
    atoms.info["dipole"] = [0.0, np.nan, 0.3]
    targets = {"dipole": TargetSection(kind="vector", allow_missing=True)}
    with pytest.raises(StructureError, match=r"structures\[0\]\['dipole'\].*NaN"):
        prepare_data([atoms], targets, PETConfig((1, 8), (Target("dipole"),)))
