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
from symjax.models.pointmae import PointMAEConfig, make_event, tokenise
from symjax.models.pointmae.grouping import gather_groups
from symjax.models.pointmae.losses import random_hidden
from symjax.models.pointmae.model import evaluate_heads, parameter_shapes

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
    "decoder": dataclasses.replace(
        BASE,
        decoder_heads=2,
        decoder_mlp_ratio=2,
        decoder_position_at_every_layer=False,
        decoder_norm=False,
        attention_scale=0.3,
    ),
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


# What neither shapes nor published configurations tell.
KNOWN = (
    "detector_size",
    "low_energy",
    "group_radius",
    "context_length",
    "group_points",
    "upscale_points",
    "max_neighbors",
    "repeat_first",
    "num_heads",
    "mlp_ratio",
    "attention_scale",
    "position_at_every_layer",
    "decoder_heads",
    "decoder_mlp_ratio",
    "decoder_position_at_every_layer",
    "fetch_layers",
    "attention_dropout",
    "drop_path",
    "head_dropout",
)


def names(config):
    return {torch_name(path) for path in parameter_shapes(config)}


def fake_state(config):
    """Arrays of the right shapes, without torch."""
    state = {}
    for path, shape in parameter_shapes(config).items():
        key = torch_name(path)
        state[key] = np.zeros(shape[::-1], np.float32)
    return state


@pytest.mark.parametrize("name", VARIANTS)
def test_configuration_is_inferred(name):
    config = VARIANTS[name]
    known = {key: getattr(config, key) for key in KNOWN}
    if not config.num_classes:
        known["fetch_layers"] = BASE.fetch_layers
    found = infer_config(fake_state(config), **known)
    same = dataclasses.replace(
        found, num_classes=config.num_classes, seg_head_dim=config.seg_head_dim
    )
    assert same == config
    assert found.num_classes == config.num_classes


def hypers(tokenizer=(), transformer=(), encoder=(), **others):
    """Settings of a segmentation model like BASE, as Lightning stores them."""
    return {
        "_instantiator": "pytorch_lightning.cli.instantiate_module",
        "encoder": {
            "class_path": "polarmae.layers.encoder.TransformerEncoder",
            "init_args": {
                "tokenizer_kwargs": {"group_max_points": 8, **dict(tokenizer)},
                "transformer_kwargs": {
                    "embed_dim": 24,
                    "depth": 3,
                    "num_heads": 3,
                    "postnorm": False,
                    **dict(transformer),
                },
                **dict(encoder),
            },
        },
        "condition_global_features": True,
        "seg_head_fetch_layers": [0, -1],
        **others,
    }


def of_segmentation(*args, **kwargs):
    return infer_config(fake_state(VARIANTS["segmentation"]), hypers(*args, **kwargs))


def test_what_is_absent_has_the_default_of_the_code():
    """Not that of the published configurations."""
    found = of_segmentation()
    assert not found.position_at_every_layer
    assert found.upscale_points == 256
    assert (found.max_neighbors, found.num_seeds) == (256, None)
    assert (found.drop_path, found.attention_dropout, found.head_dropout) == (0, 0, 0.5)
    assert found.fetch_layers == (0, 2)
    assert found.middle == (384, 384, 384)
    assert found.unit == pytest.approx(voxel_length(768))
    assert found.low_energy == "first cluster"
    assert found.repeat_first
    assert infer_config(fake_state(BASE)).position_at_every_layer


def test_hyperparameters_count():
    found = of_segmentation(
        tokenizer={"group_radius": 0.01, "overlap_factor": 0.5, "context_length": 64},
        transformer={
            "add_pos_at_every_layer": True,
            "num_heads": 4,
            "qk_scale": 0.2,
            "mlp_ratio": 4.0,
            "drop_path_rate": 0.3,
            "drop_path_uniform": True,
        },
        encoder={"masking_ratio": 0.75, "apply_relative_position_bias": True},
        transformation_center=[256, 256, 200],
        transformation_scale_factor=0.002,
        seg_head_dropout=0.1,
    )
    assert (found.group_radius, found.overlap_factor) == (0.01, 0.5)
    assert (found.context_length, found.masking_ratio) == (64, 0.75)
    assert found.position_at_every_layer
    assert (found.num_heads, found.attention_scale) == (4, 0.2)
    assert found.drop_paths(3) == (0.3, 0.3, 0.3)
    assert found.middle == (256, 256, 200)
    assert (found.unit, found.head_dropout) == (0.002, 0.1)
    fused = of_segmentation(transformer={"qk_scale": 0.2, "use_flash_self_attn": True})
    assert fused.attention_scale is None


@pytest.mark.parametrize(
    ("tokenizer", "encoder", "expected"),
    [
        ({}, {}, (256, None)),
        ({"use_fps_seed": True, "num_init_groups": 64}, {}, (64, 64)),
        ({"num_init_groups": 64}, {"voxel_size": 25}, (64, 64)),
        ({"overlap_factor": None, "num_init_groups": 64}, {}, (64, 64)),
        # Without suppression the original drops what its context does not hold.
        ({"overlap_factor": None, "context_length": 9}, {}, (256, 9)),
    ],
)
def test_seeds_and_neighbours_are_one_number(tokenizer, encoder, expected):
    found = of_segmentation(tokenizer, encoder=encoder)
    assert (found.max_neighbors, found.num_seeds) == expected


def test_deposits_of_low_energy_stay_where_they_are_a_class():
    found = infer_config(fake_state(VARIANTS["local"]))
    assert (found.num_classes, found.low_energy) == (5, "keep")


def test_points_before_reduction():
    """``null`` is as many as stay, not all."""
    found = of_segmentation({"group_upscale_points": None, "group_max_points": 6})
    assert found.upscale_points == 6


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({}, (0.13, 0.13, 20.0, "keep")),
        ({"energy_threshold": 0}, (0, 1e-6, 20.0, "keep")),
        ({"energy_threshold": 0.0, "emin": 0.01}, (0, 0.01, 20.0, "keep")),
        (
            {"emin": 0.01, "emax": 10.0, "remove_low_energy_scatters": True},
            (0.13, 0.13, 10.0, "first cluster"),
        ),
    ],
)
def test_settings_of_the_data(data, expected):
    found = infer_config(
        fake_state(BASE), None, {"data_path": "a.h5", "dataset_kwargs": data}
    )
    energies = found.energy_threshold, found.energy_offset, found.energy_maximum
    assert (*energies, found.low_energy) == expected


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"tokenizer": {"use_relative_features": True}}, "use_relative_features"),
        ({"tokenizer": {"num_init_groups": 0.5}}, "num_init_groups"),
        ({"tokenizer": {"radius": 1}}, "radius"),
        ({"transformer": {"qkv_bias": False}}, "qkv_bias"),
        ({"transformer": {"register_tokens": 4}}, "register_tokens"),
        ({"transformer": {"depth": 5}}, "depth"),
        ({"encoder": {"num_channels": 3}}, "num_channels"),
        ({"encoder": {"arch": "vit_huge"}}, "vit_huge"),
        ({"encoder": {"masking_type": "fps+nms"}}, "masking_type"),
        ({"seg_decoder": {"class_path": "TransformerDecoder"}}, "seg_decoder"),
        ({"val_transformations": ["center", "unit_sphere"]}, "val_transformations"),
        ({"transformation_scale_factor": [1, 1, 2]}, "transformation_scale_factor"),
        ({"temperature": 1.0}, "temperature"),
        ({"condition_global_features": False}, "global_features"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(change, name):
    with pytest.raises(ModelError, match=name):
        of_segmentation(**change)


def test_other_refusals():
    state = fake_state(VARIANTS["segmentation"])
    with pytest.raises(ModelError, match="encoder"):
        infer_config(state, {"num_classes": 4})
    with pytest.raises(ModelError, match="object"):
        infer_config(state, {"encoder": np.zeros(1)})
    with pytest.raises(ModelError, match="augment"):
        infer_config(state, None, {"dataset_kwargs": {"augment": True}})
    with pytest.raises(ModelError, match="seg_decoder"):
        infer_config(
            state | {"seg_decoder.transformer.blocks.0.norm1.gamma": np.zeros(1)}
        )


def test_the_published_sizes_are_recognised():
    full = PointMAEConfig.named("vit_small", 5)
    found = infer_config(fake_state(full))
    assert (found.num_heads, found.depth, found.group_points) == (6, 12, 32)
    assert found.pool_padding
    assert found.repeat_first


def test_everything_that_does_not_match_is_listed():
    state = fake_state(BASE)
    state["teacher.weight"] = np.zeros(3)
    state["loss_func.weight"] = np.zeros(4)
    # A parameter of the original that it never reads.
    state["encoder.relative_position_bias.bias_table"] = np.zeros((3, 27))
    del state["mask_token"]
    state["energy_decoder.bias"] = np.zeros(5, np.float32)
    with pytest.raises(ModelError) as caught:
        convert_state(state, BASE)
    message = str(caught.value)
    assert "missing mask_token" in message
    assert "left over teacher.weight" in message
    assert "energy_decoder.bias (5,) for (8,)" in message
    assert "loss_func" not in message
    assert "bias_table" not in message


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
    changes = {key: getattr(config, key) for key in KNOWN}
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
