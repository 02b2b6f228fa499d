"""Model files: round trips, and damage that must not pass unseen."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from pet_models import drawn

from symjax.data.quantities import Block
from symjax.errors import ModelError
from symjax.models import fingerprint, load_model, save_model, shipped_models
from symjax.models.biases import Biases
from symjax.models.pet import PETConfig, Uncertainty
from symjax.models.pet.model import PETModel
from symjax.models.pointmae import PointMAEConfig

CONFIG = PETConfig(
    species=(1, 8), d_pet=4, d_node=4, d_head=4, d_feedforward=4, num_heads=1
)


@pytest.fixture(scope="module")
def model():
    return dataclasses.replace(drawn(CONFIG, "small"), card={"note": "test"})


@pytest.fixture
def folder(model, tmp_path):
    save_model(model, tmp_path / "model")
    return tmp_path / "model"


def test_round_trip(model, folder):
    again = load_model(folder)
    assert again.config == model.config
    assert again.card == model.card
    assert again.name == "small"
    assert fingerprint(again) == fingerprint(model)
    assert sorted(path.name for path in folder.iterdir()) == [
        "model.json",
        "model.safetensors",
    ]


def test_fingerprint_sees_every_parameter(model):
    changed = jax.tree.map(np.copy, model.parameters)
    changed["scale"]["energy"]["scalar"][0, 0] = np.nextafter(np.float32(1), 2)
    other = PETModel("small", CONFIG, changed)
    assert fingerprint(other) != fingerprint(model)


def test_parameters_that_are_not_finite_are_not_written(model, tmp_path):
    changed = jax.tree.map(np.copy, model.parameters)
    changed["scale"]["energy"]["scalar"][:] = np.nan
    with pytest.raises(ModelError, match="not finite"):
        save_model(PETModel("bad", CONFIG, changed), tmp_path / "bad")
    assert not (tmp_path / "bad").exists()


def edit(folder, **changes):
    path = folder / "model.json"
    data = json.loads(path.read_text())
    data.update(changes)
    path.write_text(json.dumps(data))


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGE = {
    "no such folder": lambda f: f.rename(f.parent / "elsewhere"),
    "no metadata": lambda f: (f / "model.json").unlink(),
    "no tensors": lambda f: (f / "model.safetensors").unlink(),
    "metadata cut off": lambda f: truncate(f / "model.json"),
    "tensors cut off": lambda f: truncate(f / "model.safetensors"),
    "tensors empty": lambda f: (f / "model.safetensors").write_bytes(b""),
    "tensors foreign": lambda f: (f / "model.safetensors").write_bytes(b"hello" * 99),
    "metadata binary": lambda f: (f / "model.json").write_bytes(b"\xff\xfe\x00"),
    "metadata a list": lambda f: (f / "model.json").write_text("[]"),
    "another format": lambda f: edit(f, format="other/1"),
    "another architecture": lambda f: edit(f, architecture="nequip"),
    "no configuration": lambda f: edit(f, config=None),
    "unknown hyperparameter": lambda f: edit(f, config={"species": [1], "depth": 3}),
    "bad species": lambda f: edit(f, config={"species": 3}),
    "bad targets": lambda f: edit(f, config={"species": [1, 8], "targets": [{}]}),
    "another width": lambda f: edit(f, config={**CONFIG.to_json(), "d_pet": 8}),
    "more layers": lambda f: edit(f, config={**CONFIG.to_json(), "num_gnn_layers": 3}),
    "fewer layers": lambda f: edit(f, config={**CONFIG.to_json(), "num_gnn_layers": 1}),
    "no card": lambda f: edit(f, card=None),
}


def without(tree, path):
    """A copy of a tree of JSON without one entry."""
    (first, *rest) = path
    if not rest:
        return {key: value for key, value in tree.items() if key != first}
    copy = list(tree) if isinstance(tree, list) else dict(tree)
    copy[first] = without(tree[first], rest)
    return copy


def paths(tree, prefix=()):
    """Paths of all entries of a tree of JSON."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield (*prefix, key)
            yield from paths(value, (*prefix, key))
    elif isinstance(tree, list):
        for index, value in enumerate(tree):
            yield from paths(value, (*prefix, index))


@pytest.mark.parametrize("name", ["pet-ethanol", "polarmae-events"])
def test_no_default_stands_in_for_what_a_file_lacks(name, tmp_path):
    save_model(load_model(name), tmp_path)
    config = json.loads((tmp_path / "model.json").read_text())["config"]
    every = list(paths(config))
    assert len(every) > 20
    for path in every:
        edit(tmp_path, config=without(config, path))
        with pytest.raises(ModelError):
            load_model(tmp_path)
    edit(tmp_path, config=without(config, ["num_heads"]))
    with pytest.raises(ModelError, match=r"is damaged: it has no 'config.num_heads'"):
        load_model(tmp_path)


@pytest.mark.parametrize("case", DAMAGE)
def test_damage(case, folder):
    DAMAGE[case](folder)
    with pytest.raises(ModelError) as caught:
        load_model(folder)
    assert caught.value.remedy


def test_folder_that_is_a_file(model, tmp_path):
    path = tmp_path / "file"
    path.write_text("")
    with pytest.raises(ModelError, match="cannot be written"):
        save_model(model, path)


def test_shipped_models_load_and_say_where_they_come_from():
    assert "pet-ethanol" in shipped_models()
    card = load_model("pet-ethanol").card
    trained = card["errors_held_out"]["force_rmse_eV_per_angstrom"]
    trivial = card["errors_held_out_trivial_baseline"]["force_rmse_eV_per_angstrom"]
    assert trained < 0.25 * trivial
    assert {"data", "split", "command", "equivariance_held_out"} <= set(card)


@pytest.mark.parametrize(
    "build",
    [
        lambda: PETConfig(species=(1,), num_gnn_layers=10**9),
        lambda: PETConfig(species=(1,), num_attention_layers=10**9),
        lambda: PETConfig(species=(1,), d_pet=10**9),
        lambda: PETConfig(species=(1,), max_charge=10**9),
        lambda: Block("a", properties=10**9),
        lambda: Block("a", "10000+"),
        lambda: Uncertainty("energy", members=10**9),
        lambda: Biases(edge_harmonics=10**4),
        lambda: Biases(pseudotensors=0, channels=10**9),
        lambda: PointMAEConfig(depth=10**9),
        lambda: PointMAEConfig(decoder_depth=10**9),
        lambda: PointMAEConfig(embed_dim=6 * 10**9),
        lambda: PointMAEConfig(context_length=10**9),
        lambda: PointMAEConfig(num_classes=10**9),
        lambda: PointMAEConfig(edge_harmonics=10**4),
        lambda: PointMAEConfig(mlp_ratio=1e30),
        lambda: PointMAEConfig(pointnet_widths=(10**9, 2, 2)),
        lambda: PointMAEConfig(num_classes=1, fetch_layers=(1,) * 10**5),
        lambda: PointMAEConfig.from_json({"scale": 10**400}),
    ],
)
def test_networks_that_nobody_can_build(build):
    with pytest.raises(ModelError):
        build()
