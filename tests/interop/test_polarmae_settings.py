"""Settings that PoLAr-MAE stores beside its weights."""

import pytest
from polarmae_states import BASE, VARIANTS, fake_state

from symjax.data.point_clouds import voxel_length
from symjax.errors import ModelError
from symjax.interop.polarmae import infer_config


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
