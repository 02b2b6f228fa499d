"""A PyTorch model measured in place, against its import measured natively."""

import ase.build
import numpy as np
import pytest

from symjax.errors import ArgumentError, ModelError
from symjax.interop import load_metatrain, torch_callable
from symjax.metrics import measure
from symjax.models.pet import orbit_problem
from symjax.so3 import SCALAR

torch = pytest.importorskip("torch", reason="needs the extra [torch]")
pytest.importorskip("metatrain", reason="needs the extra [torch]")

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    from torch_pet import VARIANTS, make_torch_model

    model = make_torch_model(VARIANTS["default"]).to(torch.float64)
    path = tmp_path_factory.mktemp("torch") / "model.ckpt"
    state = model.get_checkpoint()
    state.update(best_model_state_dict=state["model_state_dict"])
    torch.save(state, path)
    return model.export(), path


def test_same_numbers_as_the_imported_model(exported):
    """Both run in float64: 1e-8 of the largest sector is round-off."""
    model, path = exported
    atoms = ase.build.molecule("CH3OH")
    settings = {"max_degree": 2, "grid": 5, "on_aliasing": "report"}
    torch_problem = torch_callable(model, atoms, {"energy": SCALAR})
    theirs = measure(
        torch_problem.function,
        torch_problem.x,
        action=torch_problem.action,
        representations=torch_problem.representations,
        **settings,
    )["energy"]
    problem = orbit_problem(
        load_metatrain(path), atoms, layers="none", outputs=["energy"], dtype="float64"
    )
    ours = measure(
        problem.function,
        problem.x,
        args=problem.args,
        action=problem.action,
        representations=problem.representations,
        **settings,
    )["energy"]
    assert theirs.variance.sum() == pytest.approx(ours.variance.sum(), rel=1e-6)
    # The exported model adds its baseline, which is invariant.
    mine, other = ours.totals().power[0], theirs.totals().power[0]
    np.testing.assert_allclose(
        other[1:], mine[1:], rtol=1e-6, atol=1e-9 * mine[1:].max()
    )


def test_bad_arguments(exported, tmp_path):
    model, _ = exported
    water = ase.build.molecule("H2O")
    with pytest.raises(ModelError, match="no such output"):
        torch_callable(model, water, {"charge": SCALAR})
    with pytest.raises(ArgumentError, match="empty"):
        torch_callable(model, water, {})
    with pytest.raises(ModelError, match="AtomisticModel"):
        torch_callable(torch.nn.Identity(), water, {"energy": SCALAR})
    path = tmp_path / "broken.pt"
    path.write_bytes(b"hello")
    with pytest.raises(ModelError, match="cannot be read"):
        torch_callable(path, water, {"energy": SCALAR})
