"""Point clouds of energy deposits: events of a liquid-argon time-projection chamber."""

from symjax.data.point_clouds.clouds import (
    CLASSES,
    PARTICLES,
    PointCloud,
    make_cloud,
    normalise_energies,
    pad_cloud,
    voxel_length,
)
from symjax.data.point_clouds.event_files import EventFiles, FoundEvents, find_events
from symjax.data.point_clouds.events import (
    SMALL,
    EventSettings,
    generate_event,
    generate_events,
)
from symjax.data.point_clouds.pilarnet import write_events
from symjax.data.point_clouds.selection import (
    LOW_ENERGY_RULES,
    merge_voxels,
    select_points,
)
from symjax.data.point_clouds.voxels import Voxelised, voxelise

__all__ = [
    "CLASSES",
    "LOW_ENERGY_RULES",
    "PARTICLES",
    "SMALL",
    "EventFiles",
    "EventSettings",
    "FoundEvents",
    "PointCloud",
    "Voxelised",
    "find_events",
    "generate_event",
    "generate_events",
    "make_cloud",
    "merge_voxels",
    "normalise_energies",
    "pad_cloud",
    "select_points",
    "voxel_length",
    "voxelise",
    "write_events",
]
