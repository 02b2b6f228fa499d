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
        "model": {"initial": str(tmp_path / "imported")},
        "targets": {"energy": {"energy_unit": "eV", "forces": "forces"}},
        "optimizer": {"learning_rate": 1e-2, "warmup": 0, "average": 0.0},
        "batch": {"max_structures": 2},
    }
    trained = train(parse_run(run), tmp_path / "run").model
    before = load_model(tmp_path / "imported").parameters
    for part in ("scale", "baseline"):
        jax.tree.map(
            np.testing.assert_array_equal, before[part], trained.parameters[part]
        )
    moved = jax.tree.map(
        lambda a, b: float(np.abs(a - b).max()),
        before["network"],
        trained.parameters["network"],
    )
    assert max(jax.tree.leaves(moved)) > 1e-4
    assert np.isfinite(read_table(tmp_path / "run" / "metrics.csv")["loss"]).all()
