"""Hyperparameters: published values, round trip, refusal."""

import math

import pytest

from symjax.errors import ModelError
from symjax.models.pointmae import PointMAEConfig


def test_published_values():
    config = PointMAEConfig.named("vit_small", 5)
    assert (config.embed_dim, config.depth, config.num_heads) == (384, 12, 6)
    assert config.context_length == 512
    assert config.group_points == 32
    assert config.group_radius == pytest.approx(5 / (768 * math.sqrt(3) / 2))
    assert config.suppression_radius == pytest.approx(2 * 0.72 * config.group_radius)
    assert PointMAEConfig.named("vit_base", 2.5).num_heads == 12


def test_round_trip():
    config = PointMAEConfig(
        num_classes=4, fetch_layers=(1, 2), depth=3, edge_harmonics=2
    )
    assert PointMAEConfig.from_json(config.to_json()) == config


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("embed_dim", 0),
        ("embed_dim", True),
        ("num_heads", 7),
        ("group_radius", -1.0),
        ("overlap_factor", 0.0),
        ("reduction", "random"),
        ("masking_ratio", 1.0),
        ("upscale_points", 0),
        ("energy_threshold", -0.1),
        ("energy_offset", 0.0),
        ("center", (1.0, 2.0)),
        ("low_energy", "drop"),
        ("drop_path", 1.0),
        ("decoder_heads", 7),
        ("pointnet_widths", (1, 2)),
        ("channels", 5),
        ("decoder_depth", -1),
        ("num_seeds", 0),
    ],
)
def test_impossible_values_are_named(field, value):
    with pytest.raises(ModelError, match=field):
        PointMAEConfig(**{field: value})


@pytest.mark.parametrize(
    ("fields", "argument"),
    [
        ({"group_radius": None}, "group_radius"),
        ({"overlap_factor": None}, "num_seeds"),
        ({"edge_harmonics": 2, "group_radius": None}, "group_radius"),
        ({"upscale_points": 3, "reduction": "energy"}, "upscale_points"),
        ({"num_classes": 4, "fetch_layers": (12,)}, "fetch_layers"),
        ({"num_classes": 4, "fetch_layers": ()}, "fetch_layers"),
    ],
)
def test_contradictions_are_named(fields, argument):
    with pytest.raises(ModelError) as caught:
        PointMAEConfig(**fields)
    assert caught.value.argument == argument


def test_foreign_configurations():
    with pytest.raises(ModelError, match="unknown"):
        PointMAEConfig.from_json({"cutoff": 4.5})
    with pytest.raises(ModelError, match="should be an object"):
        PointMAEConfig.from_json([1])
    with pytest.raises(ModelError, match="not a published"):
        PointMAEConfig.named("vit_huge")
