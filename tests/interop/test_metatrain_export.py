"""PETs back to metatrain: what it evaluates, and what comes back, are the same.

Tolerances are those of the import (tests/interop/test_metatrain.py says why).
"""

import dataclasses
import subprocess
import sys
import warnings

import ase.build
import jax
import numpy as np
import pytest
from small_models import TINY
from typer.testing import CliRunner

from symjax.cli import app
from symjax.data.quantities import Block, Target
from symjax.errors import ModelError
from symjax.interop import load_metatrain, save_metatrain
from symjax.models import fingerprint, load_model, save_model
from symjax.models.biases import Biases
from symjax.models.pet import PETConfig, init_pet, layer_names

torch = pytest.importorskip("torch", reason="needs the extra [torch]")
pytest.importorskip("metatrain", reason="needs the extra [torch]")
from metatrain.utils.io import load_model as load_theirs  # noqa: E402
from torch_parity import compare, torch_outputs  # noqa: E402
from torch_pet import ROWS, VARIANTS, make_variant  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
TOLERANCE_ZBL = 3e-6


def cases():
    ethanol = ase.build.molecule("CH3CH2OH")
    ethanol.info.update(charge=-1, spin_multiplicity=2)
    crystal = ase.build.bulk("Cu") * (2, 1, 1)
    crystal.rattle(0.05, seed=2)
    return {"ethanol": ethanol, "crystal": crystal}


def round_trip(variant, folder, dtype):
    """Model of metatrain, to symjax, to metatrain, to symjax."""
    torch.save(make_variant(variant).to(dtype).get_checkpoint(), folder / "in.ckpt")
    model = load_metatrain(folder / "in.ckpt", "model", verify=False)
    save_metatrain(model, folder / "out.ckpt")
    again = load_metatrain(folder / "out.ckpt", "model", verify=False)
    assert fingerprint(again) == fingerprint(model)
    return model


@pytest.mark.torch
@pytest.mark.parametrize(
    "variant", ["other targets", "zbl", *(" ".join(ROWS[n]) for n in (4, 6))]
)
def test_what_metatrain_evaluates(variant, tmp_path):
    """Fixed and adaptive cutoffs, conditioning, and targets of all kinds."""
    model = round_trip(variant, tmp_path, torch.float64)
    before = make_variant(variant).to(torch.float64)
    after = load_theirs(str(tmp_path / "out.ckpt")).eval()
    layers = layer_names(model.config)
    for atoms in cases().values():
        first, second = (
            torch_outputs(each, atoms, model.config, layers, torch.float64)
            for each in (before, after)
        )
        one, two = jax.tree.leaves(first), jax.tree.leaves(second)
        for value, again in zip(one, two, strict=True):
            scale = np.abs(value).max(initial=0.0)
            np.testing.assert_allclose(again, value, rtol=0, atol=1e-12 * scale)
    if variant == "zbl":
        compare(after, model, "float64", cases()).check(TOLERANCE_ZBL)


@pytest.mark.parity
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant(variant, tmp_path):
    for dtype in (torch.float32, torch.float64):
        round_trip(variant, tmp_path, dtype)


@pytest.mark.torch
def test_from_the_command_line_to_an_engine(tmp_path):
    """A model of symjax, exported twice, evaluated by metatomic's ASE calculator."""
    metatomic_ase = pytest.importorskip("metatomic_ase")
    targets = (
        Target("energy", "eV"),
        Target("mtt::quadrupole", "e*A^2", True, (Block("2+", "2+", 2),)),
    )
    config = PETConfig((1, 8), targets, num_neighbors_adaptive=6, **TINY)
    model = init_pet(config, jax.random.key(0), "own")
    network = jax.tree.map(np.float64, model.parameters["network"])
    model = dataclasses.replace(
        model, parameters={**model.parameters, "network": network}
    )
    model.parameters["scale"]["energy"]["scalar"][:] = 3.0
    model.parameters["baseline"]["energy"]["scalar"][:] = [[-2.0], [-7.0]]
    save_model(model, tmp_path / "own")
    command = ["export", str(tmp_path / "own"), "-o", str(tmp_path / "own.ckpt")]
    with warnings.catch_warnings():
        # The crystal for the comparison has no charge that such a model does not read.
        warnings.filterwarnings("error", "atoms.info")
        result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    again = CliRunner().invoke(app, command)
    assert again.exit_code == 2
    assert "--overwrite" in again.output
    mtt = [sys.executable, "-m", "metatrain", "export", "own.ckpt", "-o", "own.pt"]
    subprocess.run(mtt, cwd=tmp_path, check=True, capture_output=True)

    water = ase.build.molecule("H2O")
    water.calc = metatomic_ase.MetatomicCalculator(str(tmp_path / "own.pt"))
    theirs = water.get_potential_energy(), water.get_forces()
    from symjax.interop import SymjaxCalculator

    water.calc = SymjaxCalculator(tmp_path / "own", dtype="float64")
    np.testing.assert_allclose(water.get_potential_energy(), theirs[0], rtol=1e-10)
    scale = np.abs(theirs[1]).max()
    np.testing.assert_allclose(water.get_forces(), theirs[1], atol=1e-10 * scale)

    # A film of water: their stress in its plane is the same, over the same volume.
    film = ase.build.molecule("H2O")
    film.set_cell([[3.0, 0, 0], [0.5, 3.2, 0], [0, 0, 12.0]])
    film.pbc = [True, True, False]
    film.calc = metatomic_ase.MetatomicCalculator(str(tmp_path / "own.pt"))
    stress = film.get_stress()
    film.calc = SymjaxCalculator(tmp_path / "own", dtype="float64")
    plane = [0, 1, 5]
    ours = film.get_stress()
    np.testing.assert_allclose(
        ours[plane], stress[plane], atol=1e-9 * abs(stress).max()
    )
    assert np.abs(stress[plane]).max() > 1e-4
    # Its normal is no axis to the last bit.
    assert np.abs(ours[[2, 3, 4]]).max() < 1e-14 * abs(stress).max()


def test_other_models_are_refused(tmp_path):
    with pytest.raises(ModelError, match=r"is no PET.*StableHLO"):
        save_metatrain(load_model("polarmae-events"), tmp_path / "a.ckpt")
    assert list(tmp_path.iterdir()) == []


def test_biases_are_refused_by_name(tmp_path):
    model = load_model("pet-ethanol")
    # An average of outputs adds no parameters.
    config = dataclasses.replace(model.config, biases=Biases(output_average="O"))
    model = dataclasses.replace(model, config=config)
    with pytest.raises(ModelError, match=r"biases \(output_average\).*StableHLO"):
        save_metatrain(model, tmp_path / "a.ckpt")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.torch
def test_layouts_that_metatrain_has_not(tmp_path):
    blocks = (Block("a", "scalar"), Block("b", "vector"))
    config = PETConfig((1, 8), (Target("mixed", "", False, blocks),), **TINY)
    with pytest.raises(ModelError, match="several blocks, not all of them irreps"):
        save_metatrain(init_pet(config, jax.random.key(0)), tmp_path / "a.ckpt")


@pytest.mark.torch
def test_what_comes_back_otherwise_is_not_written(tmp_path, monkeypatch):
    model = init_pet(PETConfig((1, 8), **TINY), jax.random.key(0))
    other = init_pet(PETConfig((1, 8), **TINY), jax.random.key(1))
    monkeypatch.setattr(
        "symjax.interop.metatrain_export.load_metatrain", lambda *_: other
    )
    with pytest.raises(ModelError, match="which metatrain's PET changes"):
        save_metatrain(model, tmp_path / "a.ckpt")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.torch
def test_a_folder_that_is_not_there(tmp_path):
    model = init_pet(PETConfig((1, 8), **TINY), jax.random.key(0))
    with pytest.raises(ModelError, match="cannot be written"):
        save_metatrain(model, tmp_path / "no" / "a.ckpt")


@pytest.mark.torch
def test_uncertainties_go_back_too(shared, tmp_path):
    source = str(shared / "checkpoints" / "llpr-pet-adaptive.ckpt.gz")
    command = ["export", source, "-o", str(tmp_path / "a.ckpt")]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    again = load_metatrain(tmp_path / "a.ckpt")
    assert again.config == load_model(source).config
    assert again.config.uncertainties
