"""Configurations of Point-MAE in every variant, and weights of their shapes."""

import dataclasses

import numpy as np

from symjax.data.point_clouds import SMALL, voxel_length
from symjax.interop.polarmae import torch_name
from symjax.models.pointmae import PointMAEConfig
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


def fake_state(config):
    """Arrays of the right shapes, without torch."""
    state = {}
    for path, shape in parameter_shapes(config).items():
        key = torch_name(path)
        state[key] = np.zeros(shape[::-1], np.float32)
    return state
