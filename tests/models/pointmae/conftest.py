"""A tiny model and a small event, shared by the tests of the model."""

import jax
import pytest

from symjax.data.point_clouds import (
    SMALL,
    generate_event,
    pad_cloud,
    select_points,
    voxel_length,
)
from symjax.models.pointmae import PointMAEConfig, init_pointmae


@pytest.fixture(scope="session")
def config():
    return PointMAEConfig(
        detector_size=SMALL.size,
        group_radius=5 * voxel_length(SMALL.size),
        context_length=24,
        group_points=8,
        pointnet_widths=(8, 8, 12),
        embed_dim=16,
        depth=2,
        num_heads=2,
        decoder_depth=1,
        num_classes=4,
        fetch_layers=(0, 1),
        seg_head_dim=8,
    )


@pytest.fixture(scope="session")
def model(config):
    return init_pointmae(config, jax.random.key(0), "tiny")


@pytest.fixture(scope="session")
def event():
    return pad_cloud(select_points(generate_event(12, SMALL)), 96)
