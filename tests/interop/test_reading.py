"""Files of metatrain of every kind: older, of other models, damaged, hostile."""

import gzip
import os
import pathlib
import sys

import ase
import ase.build
import jax
import numpy as np
import pytest

from symjax.errors import ModelError
from symjax.interop import load_metatrain
from symjax.models import fingerprint
from symjax.models.pet.model import parameter_shapes

torch = pytest.importorskip("torch", reason="needs the extra [torch]")
metatrain = pytest.importorskip("metatrain", reason="needs the extra [torch]")
from torch_parity import TOLERANCE, compare  # noqa: E402
from torch_pet import (  # noqa: E402
    VARIANTS,
    energy,
    generic,
    make_torch_model,
    make_variant,
    make_wrapper,
)

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]

INSTALLED = pathlib.Path(metatrain.__path__[0])


def refused(path, *words):
    with pytest.raises(ModelError, match=r"path=.*: .*\. .*\.$") as caught:
        load_metatrain(path)
    for word in words:
        assert word in str(caught.value)


def small(targets):
    return make_torch_model(VARIANTS["default"], targets=lambda: targets)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A checkpoint and an exported model."""
    model, folder = make_variant("default"), tmp_path_factory.mktemp("metatrain")
    torch.save(model.get_checkpoint(), folder / "model.ckpt")
    model.export().save(folder / "model.pt")
    return {"ckpt": folder / "model.ckpt", "pt": folder / "model.pt"}


@pytest.fixture
def checkpoint(files):
    """The contents of a checkpoint."""
    return torch.load(files["ckpt"], weights_only=False)


@pytest.fixture
def written(tmp_path):
    """Writes a model to both kinds of file."""

    def write(model):
        torch.save(model.get_checkpoint(), tmp_path / "model.ckpt")
        model.export().save(tmp_path / "model.pt")
        return tmp_path / "model.ckpt", tmp_path / "model.pt"

    return write


@pytest.mark.parametrize("start", ["model-v1_", "model-v15-conditioning"])
def test_older_versions(start):
    """The oldest, and one with charges; comparing outputs as every import does."""
    folder = INSTALLED / "pet" / "tests" / "checkpoints"
    path = next(folder.glob(f"{start}*.ckpt.gz"), None)
    if path is None:
        pytest.skip("metatrain was installed without its tests")
    config = load_metatrain(path).config
    assert config.system_conditioning == (start == "model-v15-conditioning")


def test_best_weights_are_read(checkpoint, tmp_path):
    contents, path = checkpoint, tmp_path / "model.ckpt"
    torch.save(contents, path)

    def read():
        return fingerprint(load_metatrain(path, verify=False))

    best = read()
    for key, value in contents["model_state_dict"].items():
        if key != "finetune_config" and value.is_floating_point():
            contents["model_state_dict"][key] = value + 1
    torch.save(contents, path)
    assert read() == best
    contents["best_model_state_dict"] = contents["model_state_dict"]
    torch.save(contents, path)
    assert read() != best
    contents["best_model_state_dict"] = None
    torch.save(contents, path)
    refused(path, "no best weights")


@pytest.mark.parametrize("kind", ["ckpt", "pt"])
def test_suffix_and_compression_do_not_matter(kind, files, tmp_path):
    packed = tmp_path / "anything"
    packed.write_bytes(gzip.compress(files[kind].read_bytes()))
    found = fingerprint(load_metatrain(packed, verify=False))
    assert found == fingerprint(load_metatrain(files["ckpt"], verify=False))


@pytest.mark.parametrize("damage", ["truncated", "foreign", "empty", "gzip"])
@pytest.mark.parametrize("kind", ["ckpt", "pt"])
def test_damaged(damage, kind, files, tmp_path):
    data = files[kind].read_bytes()
    contents = {
        "truncated": data[: len(data) // 2],
        "foreign": b"hello",
        "empty": b"",
        "gzip": gzip.compress(data)[: len(data) // 4],
    }
    path = tmp_path / f"damaged.{kind}"
    path.write_bytes(contents[damage])
    refused(path, "cannot be read")


class Hostile:
    """Runs a command when unpickled."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("place", ["beside", "instead"])
def test_hostile_pickles_do_not_run(place, checkpoint, tmp_path):
    trace, path = tmp_path / "trace", tmp_path / "model.ckpt"
    hostile = Hostile(f"touch {trace}")
    torch.save({**checkpoint, "epoch": hostile} if place == "beside" else hostile, path)
    refused(path, "posix.system", "do not trust")
    assert not trace.exists()
    torch.load(path, weights_only=False)
    assert trace.exists()  # it would have run


@pytest.mark.parametrize("architecture", ["soap_bpnn", "experimental/flashmd"])
def test_other_architectures(architecture):
    files = sorted((INSTALLED / architecture / "tests/checkpoints").glob("*.ckpt.gz"))
    if not files:
        pytest.skip("metatrain was installed without its tests")
    refused(files[-1], repr(architecture.replace("/", ".")), "Only 'pet'")


@pytest.mark.parametrize("wrapped", [False, True])
def test_newer_than_the_installed_metatrain(wrapped, checkpoint, tmp_path):
    """Both versions and the command, not advice to pass a checkpoint whole."""
    from metatrain.pet import PET

    known, path = PET.__checkpoint_version__, tmp_path / "model.ckpt"
    checkpoint["model_ckpt_version"] = known + 1
    contents = checkpoint
    if wrapped:
        contents = {
            "architecture_name": "llpr",
            "model_ckpt_version": 4,
            "wrapped_model_checkpoint": checkpoint,
        }
    torch.save(contents, path)
    words = [f"version {known + 1}", f"up to {known}", metatrain.__version__]
    refused(path, *words, "pip install --upgrade metatrain")
    with pytest.raises(ModelError) as caught:
        load_metatrain(path)
    assert "whole" not in str(caught.value)


def test_incomplete_checkpoint(checkpoint, tmp_path):
    path = tmp_path / "model.ckpt"
    for key, words in (
        ("architecture_name", "not a checkpoint of metatrain"),
        ("best_model_state_dict", "no best weights"),
        ("model_data", "no hyperparameters"),
    ):
        torch.save({k: v for k, v in checkpoint.items() if k != key}, path)
        refused(path, words)
    weights = checkpoint["best_model_state_dict"]
    del weights["backend.edge_embedder.weight"]
    torch.save(checkpoint, path)
    refused(path, "metatrain cannot load it", "backend.edge_embedder.weight")


def test_foreign_torchscript(tmp_path):
    torch.jit.script(torch.nn.Linear(2, 2)).save(tmp_path / "model.pt")
    refused(tmp_path / "model.pt", "TorchScript of 'Linear'")


def test_adapters(tmp_path):
    """Low-rank adapters are added to the weights; all outputs stay metatrain's."""
    from metatrain.pet import Trainer
    from metatrain.pet.modules.finetuning import apply_finetuning_strategy
    from metatrain.utils.architectures import get_default_hypers

    strategy = {
        "method": "lora",
        "config": {"rank": 2, "alpha": 5.0},
        "read_from": "base.ckpt",
        "inherit_heads": {},
    }
    plain = make_variant("default").double()
    torch.save(plain.get_checkpoint(), tmp_path / "plain.ckpt")
    model = apply_finetuning_strategy(plain, strategy).double().eval()
    hypers = get_default_hypers("pet")["training"]
    trainer = Trainer({**hypers, "finetune": strategy})
    trainer.best_model_state_dict = model.state_dict()
    trainer.save_checkpoint(model, tmp_path / "trained.ckpt")
    torch.save(model.get_checkpoint(), tmp_path / "restarted.ckpt")
    model.export().save(tmp_path / "exported.pt")
    found = load_metatrain(tmp_path / "trained.ckpt")
    for name in ("restarted.ckpt", "exported.pt"):
        again = load_metatrain(tmp_path / name, verify=False)
        assert fingerprint(again) == fingerprint(found)
    cases = {"water": ase.build.molecule("H2O")}
    compare(model, found, "float64", cases).check(TOLERANCE["float64"])
    before = load_metatrain(tmp_path / "plain.ckpt", verify=False)
    assert parameter_shapes(before.config) == parameter_shapes(found.config)
    assert fingerprint(before) != fingerprint(found)
    # Uncertainties are those of the features of adapted layers: compared when read.
    wrapper = make_wrapper(model, {"energy": 3}, ["energy"])
    torch.save(wrapper.get_checkpoint(), tmp_path / "wrapped.ckpt")
    wrapped = load_metatrain(tmp_path / "wrapped.ckpt")
    assert wrapped.config.uncertainties
    jax.tree.map(
        np.testing.assert_array_equal,
        wrapped.parameters["network"],
        found.parameters["network"],
    )


@pytest.mark.parametrize("method", ["full", "heads"])
def test_other_finetuning(method, tmp_path):
    """Changes weights, not the architecture."""
    from metatrain.pet import Trainer
    from metatrain.pet.modules.finetuning import apply_finetuning_strategy
    from metatrain.utils.architectures import get_default_hypers

    modules = {
        "head_modules": ["node_heads", "edge_heads"],
        "last_layer_modules": ["node_last_layers", "edge_last_layers"],
    }
    strategy = {
        "method": method,
        "config": modules if method == "heads" else {},
        "read_from": "base.ckpt",
        "inherit_heads": {},
    }
    model = make_variant("default")
    torch.save(model.get_checkpoint(), tmp_path / "before.ckpt")
    model = apply_finetuning_strategy(model, strategy).eval()
    trainer = Trainer({**get_default_hypers("pet")["training"], "finetune": strategy})
    trainer.best_model_state_dict = model.state_dict()
    trainer.save_checkpoint(model, tmp_path / "after.ckpt")
    before, after = (
        fingerprint(load_metatrain(tmp_path / f"{name}.ckpt", verify=False))
        for name in ("before", "after")
    )
    assert before == after


def test_long_range_without_torch_pme(checkpoint, tmp_path, monkeypatch):
    contents, path = checkpoint, tmp_path / "model.ckpt"
    contents["model_data"]["model_hypers"]["long_range"]["enable"] = True
    torch.save(contents, path)
    monkeypatch.setitem(sys.modules, "torchpme", None)
    refused(path, "long-range features", "Install torch-pme")


def test_unknown_hyperparameters(checkpoint, tmp_path):
    contents, path = checkpoint, tmp_path / "model.ckpt"
    contents["model_data"]["model_hypers"] |= {"new_branch": False, "new_width": None}
    torch.save(contents, path)
    load_metatrain(path, verify=False)
    contents["model_data"]["model_hypers"]["new_width"] = 3.0
    torch.save(contents, path)
    refused(path, "new_width=3.0", "Use a newer symjax")


@pytest.mark.parametrize("readout", ["per_block", "one_hot", "mixture"])
def test_heads_of_versions_to_come(readout, checkpoint, tmp_path):
    """Named by their hyperparameter, before metatrain meets weights that it lacks."""
    contents, path = checkpoint, tmp_path / "model.ckpt"
    contents["model_data"]["model_hypers"]["readout"] = readout
    for part in ("model_state_dict", "best_model_state_dict"):
        contents[part]["backend.readout.energy.0.weight"] = torch.ones(2, 2)
    torch.save(contents, path)
    refused(path, f"readout='{readout}'", "Use a newer symjax")
    del contents["model_data"]["model_hypers"]["readout"]
    torch.save(contents, path)
    refused(path, "backend.readout.energy.0.weight", "that wrote it")


def test_units_are_those_of_the_file(written):
    """Also where they are none of symjax's own."""
    targets = {
        "energy": energy("kcal/mol"),
        "mtt::x": generic("mtt::x", "scalar", True),
    }
    for path in written(small(targets)):
        config = load_metatrain(path).config
        assert [target.unit for target in config.targets] == ["kcal/mol", ""]


def test_all_elements(tmp_path):
    """A model for 103 elements predicts as for the few that are there."""
    model = make_torch_model(
        VARIANTS["default"], targets=lambda: {"energy": energy()}, species=range(1, 104)
    )
    torch.save(model.get_checkpoint(), tmp_path / "model.ckpt")
    found = load_metatrain(tmp_path / "model.ckpt", verify=False)
    assert found.config.species == tuple(range(1, 104))
    atoms = ase.Atoms([1, 8, 92, 103], 1.8 * np.eye(4)[:, :3])
    errors = compare(model, found, "float64", {"heavy": atoms})
    errors.check(TOLERANCE["float64"])


def test_length_unit(checkpoint, tmp_path):
    contents, path = checkpoint, tmp_path / "model.ckpt"
    contents["model_data"]["dataset_info"].length_unit = "bohr"
    torch.save(contents, path)
    refused(path, "lengths in 'bohr'")


def test_repulsion_on_another_energy(written):
    """metatrain adds nuclear repulsion to every energy, whatever its name."""
    from metatrain.utils.data.target_info import get_energy_target_info

    other = get_energy_target_info("mtt::U", {"quantity": "energy", "unit": "eV"})
    targets = {"energy": energy(), "mtt::U": other}
    model = make_torch_model(VARIANTS["zbl"], targets=lambda: targets)
    for path in written(model):
        refused(path, "nuclear repulsion (zbl) to energy, mtt::U")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_difference_is_seen(dtype, written):
    """What the attributes do not tell shows in the numbers."""
    model = make_variant("default").to(dtype)
    for module in model.backend.gnn_layers[0].modules():
        if hasattr(module, "temperature"):
            module.temperature *= 1.5
    _, path = written(model)
    refused(path, "differs from metatrain's by", "Report it")
    assert load_metatrain(path, verify=False).config.attention_temperature == 1


def test_description_and_name(written, tmp_path):
    from metatomic.torch import ModelMetadata

    model = make_variant("default")
    model.metadata = ModelMetadata(description="For tests")
    checkpoint, _ = written(model)
    found = load_metatrain(checkpoint)
    assert (found.name, found.card["description"]) == ("model", "For tests")
    assert load_metatrain(checkpoint, "other").name == "other"
    assert np.isfinite(found.parameters["scale"]["energy"]["scalar"]).all()
