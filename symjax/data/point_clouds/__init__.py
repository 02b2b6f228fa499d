"""Decorated point clouds: events of a liquid-argon time-projection chamber."""

from symjax.data.point_clouds.clouds import (
    CLASSES,
    PointCloud,
    make_cloud,
    normalise_energies,
    normalise_positions,
    pad_cloud,
    restore_energies,
    restore_positions,
    select_points,
    stack_clouds,
    voxel_length,
)
from symjax.data.point_clouds.events import (
    SMALL,
    EventSettings,
    generate_event,
    generate_events,
)
from symjax.data.point_clouds.pilarnet import count_events, read_events, write_events
from symjax.data.point_clouds.voxels import Voxelised, voxelise

__all__ = [
    "CLASSES",
    "SMALL",
    "EventSettings",
    "PointCloud",
    "Voxelised",
    "count_events",
    "generate_event",
    "generate_events",
    "make_cloud",
    "normalise_energies",
    "normalise_positions",
    "pad_cloud",
    "read_events",
    "restore_energies",
    "restore_positions",
    "select_points",
    "stack_clouds",
    "voxel_length",
    "voxelise",
    "write_events",
]
