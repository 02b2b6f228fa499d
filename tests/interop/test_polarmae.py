"""Checkpoints of PoLAr-MAE: every leaf in its place, identical forward passes."""

import dataclasses

import jax
import numpy as np
import pytest

from symjax.data.point_clouds import (
    SMALL,
    generate_event,
    pad_cloud,
    select_points,
    voxel_length,
)
from symjax.errors import ModelError
from symjax.interop.polarmae import (
    convert_state,
    infer_config,
    load_polarmae,
    torch_name,
)
from symjax.models import load_model, save_model
from symjax.models.pointmae import (
    PointMAEConfig,
    evaluate_heads,
    gather_groups,
    make_event,
    random_hidden,
    tokenise,
)
from symjax.models.pointmae.model import parameter_shapes

BASE = PointMAEConfig(
    detector_size=SMALL.size,
    group_radius=5.2 * voxel_length(SMALL.size),
    context_length=24,
    group_points=8,
    pointnet_widths=(8, 12, 16),
    embed_dim=24,
    depth=3,
    num_heads=3,
    decoder_depth=2,
    pool_padding=True,
    fetch_layers=(0, 1, 2),
    seg_head_dim=10,
)
VARIANTS = {
    "polarmae": BASE,
    "pointmae": dataclasses.replace(BASE, energy_infilling=False),
    "positions": dataclasses.replace(BASE, reconstruct_energy=False),
    "once": dataclasses.replace(BASE, position_at_every_layer=False, encoder_norm=True),
    "relative": dataclasses.replace(BASE, relative_bins=2),
    "segmentation": dataclasses.replace(
        BASE, decoder_depth=0, num_classes=4, energy_infilling=False
    ),
    "local": dataclasses.replace(
        BASE,
        decoder_depth=0,
        num_classes=5,
        energy_infilling=False,
        global_features=False,
    ),
}


def names(config):
    return {torch_name(path) for path in parameter_shapes(config)}


def fake_state(config):
    """Arrays of the right shapes, without torch."""
    state = {}
    for path, shape in parameter_shapes(config).items():
        key = torch_name(path)
        transposed = shape[::-1] if not key.endswith("bias_table") else shape
        state[key] = np.zeros(transposed, np.float32)
    return state


@pytest.mark.parametrize("name", VARIANTS)
def test_configuration_is_inferred(name):
    config = VARIANTS[name]
    known = {
        key: getattr(config, key)
        for key in (
            "detector_size",
            "group_radius",
            "context_length",
            "group_points",
            "upscale_points",
            "max_neighbors",
            "full_groups_only",
            "num_heads",
            "position_at_every_layer",
            "fetch_layers",
        )
    }
    if not config.num_classes:
        known["fetch_layers"] = BASE.fetch_layers
    found = infer_config(fake_state(config), **known)
    same = dataclasses.replace(
        found, num_classes=config.num_classes, seg_head_dim=config.seg_head_dim
    )
    assert same == config
    assert found.num_classes == config.num_classes


def test_hyperparameters_of_lightning_count():
    hypers = {
        "encoder": {
            "class_path": "polarmae.layers.encoder.TransformerEncoder",
            "init_args": {
                "voxel_size": 5,
                "masking_ratio": 0.75,
                "tokenizer_kwargs": {"group_radius": 0.01, "overlap_factor": 0.5},
                "transformer_kwargs": {"add_pos_at_every_layer": False},
            },
        },
        "seg_head_fetch_layers": [0, 2],
    }
    state = fake_state(VARIANTS["segmentation"])
    found = infer_config(state, hypers, num_heads=3)
    assert found.group_radius == 0.01
    assert found.overlap_factor == 0.5
    assert found.masking_ratio == 0.75
    assert not found.position_at_every_layer
    assert found.fetch_layers == (0, 2)
    tokenizer = hypers["encoder"]["init_args"]["tokenizer_kwargs"]
    assert (found.max_neighbors, found.num_seeds) == (256, None)
    tokenizer |= {"use_fps_seed": True, "num_init_groups": 64}
    found = infer_config(state, hypers, num_heads=3)
    assert (found.max_neighbors, found.num_seeds) == (64, 64)
    hypers["encoder"]["init_args"]["voxel_size"] = 25
    del tokenizer["use_fps_seed"]
    assert infer_config(state, hypers, num_heads=3).num_seeds == 64
    hypers["encoder"]["init_args"]["voxel_size"] = 5
    tokenizer["overlap_factor"] = None
    assert infer_config(state, hypers, num_heads=3).num_seeds == 64


def test_options_that_are_not_supported():
    state = fake_state(VARIANTS["segmentation"])
    relative = {"init_args": {"tokenizer_kwargs": {"use_relative_features": True}}}
    with pytest.raises(ModelError, match="use_relative_features"):
        infer_config(state, {"encoder": relative})
    with pytest.raises(ModelError, match="seg_decoder"):
        infer_config(state, {"seg_decoder": {"class_path": "TransformerDecoder"}})
    with pytest.raises(ModelError, match="seg_decoder"):
        infer_config(
            state | {"seg_decoder.transformer.blocks.0.norm1.gamma": np.zeros(1)}
        )


def test_the_published_sizes_are_recognised():
    full = PointMAEConfig.named("vit_small", 5)
    found = infer_config(fake_state(full))
    assert (found.num_heads, found.depth, found.group_points) == (6, 12, 32)
    assert found.pool_padding
    assert found.full_groups_only


def test_everything_that_does_not_match_is_listed():
    state = fake_state(BASE)
    state["teacher.weight"] = np.zeros(3)
    state["loss_func.weight"] = np.zeros(4)
    del state["mask_token"]
    state["energy_decoder.bias"] = np.zeros(5, np.float32)
    with pytest.raises(ModelError) as caught:
        convert_state(state, BASE)
    message = str(caught.value)
    assert "missing mask_token" in message
    assert "left over teacher.weight" in message
    assert "energy_decoder.bias (5,) for (8,)" in message
    assert "loss_func" not in message


def test_foreign_files(tmp_path):
    pytest.importorskip("torch")
    path = tmp_path / "model.ckpt"
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(ModelError, match="cannot be read"):
        load_polarmae(path)
    with pytest.raises(ModelError, match="no weights of the encoder"):
        infer_config({"a": np.zeros(1)})


@pytest.mark.torch
def test_code_is_not_run(tmp_path):
    torch = pytest.importorskip("torch")
    path = tmp_path / "code.ckpt"
    torch.save({"state_dict": {}, "hyper_parameters": {"f": _Payload()}}, path)
    with pytest.raises(ModelError, match="unsafe"):
        load_polarmae(path)
    assert not _Payload.loaded


class _Payload:
    loaded = False

    def __setstate__(self, state):
        type(self).loaded = True

    def __getstate__(self):
        return {"a": 1}


@pytest.mark.torch
@pytest.mark.parametrize("name", VARIANTS)
def test_forward_passes_are_identical(name, tmp_path):
    torch = pytest.importorskip("torch")
    from torch_polarmae import PoLArMAE, randomise

    config = VARIANTS[name]
    theirs = randomise(PoLArMAE(config).double())
    path = tmp_path / "their.ckpt"
    torch.save({"state_dict": theirs.state_dict(), "hyper_parameters": {}}, path)
    changes = {
        key: getattr(config, key)
        for key in (
            "detector_size",
            "group_radius",
            "context_length",
            "group_points",
            "upscale_points",
            "max_neighbors",
            "full_groups_only",
            "num_heads",
            "position_at_every_layer",
            "fetch_layers",
        )
    }
    model = load_polarmae(path, **changes)
    ours = model.config
    # every leaf of theirs has a place, and every place is filled
    assert names(ours) == set(theirs.state_dict())

    cloud = pad_cloud(select_points(generate_event(12, SMALL)), 96)
    event = make_event(ours, cloud, np.float64)
    assignment = tokenise(ours, event)
    hidden = random_hidden(jax.random.key(1), assignment.mask, 0.5)
    groups = gather_groups(ours, assignment, event.positions, event.energies)
    logits, filled, _, _ = evaluate_heads(
        ours, model.parameters, event, assignment, hidden
    )

    def t(array):
        return torch.from_numpy(np.array(array))

    inputs = tuple(t(part) for part in groups)
    with torch.no_grad():
        if config.decoder_depth:
            points, energies = theirs.reconstruct(inputs, t(hidden))
            scale = float(points.abs().max())
            real = np.asarray(hidden)
            np.testing.assert_allclose(filled.points[real], points, atol=1e-11 * scale)
            if config.energy_infilling:
                np.testing.assert_allclose(filled.energies[real], energies, atol=1e-10)
            else:
                assert filled.energies is None
        if config.num_classes:
            neighbors = t(assignment.neighbors).long()
            assert (neighbors[np.asarray(event.mask)] >= 0).all()
            expected = theirs.segment(
                inputs, t(event.positions), t(event.mask), neighbors
            )
            real = np.asarray(event.mask)
            np.testing.assert_allclose(logits[real], expected[real], atol=1e-10)
    if name == "polarmae":
        save_model(model, tmp_path / "ours")
        again = load_model(tmp_path / "ours")
        assert again.config == model.config
        jax.tree.map(np.testing.assert_array_equal, again.parameters, model.parameters)
