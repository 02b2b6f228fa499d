"""Long-range features of metatrain's PET against metatrain."""

import dataclasses

import ase
import ase.build
import jax
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

torch = pytest.importorskip("torch", reason="needs symjax[torch]")
pytest.importorskip("metatrain", reason="needs symjax[torch]")
pytest.importorskip("torchpme", reason="needs torch-pme")

from torch_parity import TOLERANCE, compare  # noqa: E402
from torch_pet import LONG_RANGE, make_torch_model, store_buffers  # noqa: E402

from symjax.interop import load_metatrain, save_metatrain, torch_callable  # noqa: E402
from symjax.models.pet import orbit_problem  # noqa: E402
from symjax.models.pet.long_range import LongRange  # noqa: E402
from symjax.so3 import SCALAR, VECTOR  # noqa: E402

pytestmark = pytest.mark.torch
OTHER = {"smearing": 0.9, "kspace_resolution": 0.8, "interpolation_nodes": 4}


def cases():
    """A molecule; a skewed cell, as it stands and turned; a left-handed one."""
    ethanol = ase.build.molecule("CH3CH2OH")
    skewed = ase.Atoms(
        "C2OH",
        scaled_positions=[[0, 0, 0], [0.4, 0.3, 0.2], [0.7, 0.6, 1.5], [0.2, 0.8, 0.7]],
        cell=[[4.1, 0.2, 0.1], [1.3, 3.9, -0.4], [-0.8, 1.1, 4.4]],
        pbc=True,
    )
    turned = skewed.copy()
    turned.rotate(70, [1, 2, 3], rotate_cell=True)
    left = skewed.copy()
    left.set_cell(skewed.cell[[1, 0, 2]])
    found = {"ethanol": ethanol, "skewed": skewed, "turned": turned, "left": left}
    for atoms in found.values():
        atoms.rattle(0.05, seed=1)
        # The mesh begins at the corner of the cell, wherever the atoms are.
        atoms.positions += [5, -3, 2]
    return found


def written(folder, hypers):
    """The model as metatrain reads it: the width of Gaussians in single precision."""
    from metatrain.utils.io import model_from_checkpoint

    torch.save(make_torch_model(hypers).get_checkpoint(), folder / "model.ckpt")
    contents = torch.load(folder / "model.ckpt", weights_only=False)
    return model_from_checkpoint(contents, context="export").eval()


def checked(hypers, dtype, folder):
    reference = written(folder, hypers)
    model = load_metatrain(folder / "model.ckpt", verify=False)
    with jax.enable_x64(dtype == "float64"):
        compare(reference, model, dtype, cases()).check(TOLERANCE[dtype])
    return model


def test_parity_small(tmp_path):
    model = checked({"d_node": 12, "long_range": LONG_RANGE}, "float64", tmp_path)
    assert model.config.long_range.interpolation_nodes == 5
    # And back, where a width of 1.4 is that of single precision.
    config = dataclasses.replace(model.config, long_range=LongRange())
    model = dataclasses.replace(model, config=config)
    save_metatrain(model, tmp_path / "again.ckpt")
    again = load_metatrain(tmp_path / "again.ckpt", model.name, verify=False)
    assert again.config.long_range.smearing == np.float32(1.4)
    assert again.parameters["network"].keys() == model.parameters["network"].keys()


@pytest.mark.parity
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("nodes", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("featurizer", ["feedforward", "residual"])
def test_parity(featurizer, nodes, dtype, tmp_path):
    options = {**LONG_RANGE, **OTHER, "interpolation_nodes": nodes, "use_ewald": False}
    hypers = {"featurizer_type": featurizer, "d_node": 12, "long_range": options}
    checked(hypers, dtype, tmp_path)


def test_exported_and_adaptive(tmp_path):
    adaptive = {"num_neighbors_adaptive": 4, "long_range": {**LONG_RANGE, **OTHER}}
    model = make_torch_model(adaptive)
    store_buffers(model)
    model.export().save(tmp_path / "model.pt")
    # Compared with metatrain on a molecule.
    config = load_metatrain(tmp_path / "model.pt").config
    found = config.long_range
    assert {name: getattr(found, name) for name in OTHER} == pytest.approx(OTHER)


def test_orbit(tmp_path):
    reference = written(tmp_path, {"d_node": 12, "long_range": LONG_RANGE})
    model = load_metatrain(tmp_path / "model.ckpt", verify=False)
    exported = reference.to(torch.float64).export()
    hexagonal = ase.build.bulk("Cu", "hcp", a=2.6, c=4.2)
    hexagonal.rattle(0.05, seed=1)
    elements = np.stack([np.eye(3), -Rotation.random(random_state=1).as_matrix()])
    theirs = torch_callable(exported, hexagonal, {"energy": SCALAR, "forces": VECTOR})
    x = [{k: v @ g.T for k, v in theirs.x.items()} for g in elements]
    right = theirs.function.function(x)
    with jax.enable_x64(True):
        names, layers = ("energy", "forces"), ("long_range_featurizer",)
        ours = orbit_problem(
            model, hexagonal, outputs=names, layers=layers, dtype="float64"
        )
        function = jax.jit(ours.function)
        rows = [
            function(jax.tree.map(lambda leaf: leaf @ g.T, ours.x), *ours.args)  # noqa: B023
            for g in elements
        ]
    # Energies come without the baseline of each species, which cancels here.
    change = rows[1]["energy"] - rows[0]["energy"]
    np.testing.assert_allclose(
        change, right[1]["energy"] - right[0]["energy"], atol=1e-11
    )
    for one, other in zip(rows, right, strict=True):
        np.testing.assert_allclose(one["forces"], other["forces"], atol=1e-10)
    features = [np.asarray(row["long_range_featurizer"]) for row in rows]
    assert np.abs(features[1] - features[0]).max() > 1e-4 * np.abs(features[0]).max()
