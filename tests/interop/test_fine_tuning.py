"""A checkpoint of metatrain is imported, saved, and trained on."""

import jax
import numpy as np
import pytest
from water_runs import frames

from symjax.models import load_model, save_model

pytest.importorskip("torch", reason="needs the extra [torch]")
pytest.importorskip("metatrain", reason="needs the extra [torch]")

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]


def test_an_imported_checkpoint_is_fine_tuned(shared, tmp_path):
    import ase.io

    from symjax.interop import load_metatrain
    from symjax.training import parse_run, read_table, train

    imported = load_metatrain(shared / "checkpoints" / "metatrain-pet-v16.ckpt.gz")
    save_model(imported, tmp_path / "imported")
    ase.io.write(tmp_path / "frames.xyz", frames(4))
    run = {
        "steps": 2,
        "log_every": 1,
        "validate_every": 0,
        "data": {"training": str(tmp_path / "frames.xyz"), "validation_fraction": 0.25},
        # The made-up energies are on a reference of their own.
        "model": {"initial": str(tmp_path / "imported"), "refit_baselines": True},
        "targets": {"energy": {"energy_unit": "eV"}},
        "optimizer": {"learning_rate": 1e-2, "warmup": 0, "average": 0.0},
        "batch": {"max_structures": 2},
    }
    trained = train(parse_run(run), tmp_path / "run").model
    before = load_model(tmp_path / "imported").parameters
    jax.tree.map(
        np.testing.assert_array_equal, before["scale"], trained.parameters["scale"]
    )
    moved = jax.tree.map(
        lambda a, b: float(np.abs(a - b).max()),
        before["network"],
        trained.parameters["network"],
    )
    assert max(jax.tree.leaves(moved)) > 1e-4
    assert np.isfinite(read_table(tmp_path / "run" / "metrics.csv")["loss"]).all()


def test_targets_of_metatensor_are_trained_on(shared, tmp_path):
    """The dipole of the two structures in the zip."""
    from water_runs import TINY

    from symjax.interop.metatensor_targets import read_metatensor_targets
    from symjax.training import parse_run, train

    path = shared / "data" / "spherical_targets_unrotated.zip"
    names = ["mtt::dipole_moment"]
    blocks = {b.column: b for b in read_metatensor_targets(path, names).blocks}
    dipole = blocks["dipole_moment_l1"]
    run = {
        "steps": 1,
        "data": {
            "training": str(path),
            "validation_fraction": 0.5,
            "zip_targets": names,
        },
        "model": {"hyperparameters": TINY},
        "targets": {"dipole": {"kind": dipole.kind, "field": dipole.column}},
    }
    trained = train(parse_run(run), tmp_path / "run")
    assert trained.complete
    assert np.isfinite(trained.errors["dipole_rmse"])
