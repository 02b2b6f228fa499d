"""Prepares events for a Point-MAE: selection, normalisation and tokenisation."""

import dataclasses
import math
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Float

from symjax._arrays import to_device
from symjax.data.point_clouds import (
    PointCloud,
    merge_voxels,
    normalise_energies,
    select_points,
)
from symjax.errors import ModelError
from symjax.models.pointmae.config import PointMAEConfig
from symjax.models.pointmae.grouping import Assignment, assign_groups


class Event(NamedTuple):
    """One event as the network reads it.

    Attributes:
      positions: Normalised coordinates, ``(points, 3)``.
      energies: Normalised energies, ``(points,)``.
      mask: True for real points.
    """

    positions: Float[Array, "points 3"]
    energies: Float[Array, "points"]
    mask: Bool[Array, "points"]


def seen_points(config: PointMAEConfig, cloud: PointCloud) -> PointCloud:
    """Selects the points of an event that a model is meant to read.

    Points in the same voxel are merged; points at or below the energy threshold, and
    low-energy deposits, are dropped as configured.

    Raises:
      StructureError: No point is left, or the first cluster should be dropped and the
        clusters are unknown.
    """
    return select_points(
        merge_voxels(cloud),
        energy_threshold=config.energy_threshold,
        low_energy=config.low_energy,
    )


def check_inside(
    config: PointMAEConfig, cloud: PointCloud, label: str = "the event"
) -> None:
    """Raises unless an event is inside the detector of the model.

    Raises:
      ModelError: Points are outside the detector.
    """
    real = np.asarray(cloud.positions)[np.asarray(cloud.mask)]
    largest = float(np.abs(real - config.middle).max(initial=0.0))
    # Half the edge of the detector, or of the cube inscribed in the unit sphere.
    if largest > max(config.detector_size / 2, 1 / (math.sqrt(3) * config.unit)):
        raise ModelError(
            "detector_size",
            config.detector_size,
            f"points of {label} are outside the detector of the model",
            "Use a model for the detector of the events",
        )


def make_event(config: PointMAEConfig, cloud: PointCloud, dtype: Any) -> Event:
    """Normalises one event for the network.

    Args:
      config: Hyperparameters, which define the detector and the energy scale.
      cloud: One event.
      dtype: Floating-point dtype.

    Returns:
      The event, with padding at the origin.

    Raises:
      ModelError: Points are outside the detector of the model.

    Example:
      >>> from symjax.data.point_clouds import SMALL, generate_event
      >>> from symjax.models.pointmae import PointMAEConfig, make_event
      >>> config = PointMAEConfig(detector_size=SMALL.size)
      >>> event = make_event(config, generate_event(0, SMALL), "float32")
      >>> bool((abs(event.positions) < 1).all())
      True
    """
    check_inside(config, cloud)
    mask = np.asarray(cloud.mask)
    middle = np.asarray(config.middle, dtype)
    positions = (np.asarray(cloud.positions, dtype) - middle) * config.unit
    scaled = scaled_energies(config, to_device(np.asarray(cloud.energies), dtype))
    positions = np.where(mask[:, None], positions, 0)
    energies = np.where(mask, np.asarray(scaled), 0)
    return Event(to_device(positions), to_device(energies), to_device(mask))


def scaled_energies(
    config: PointMAEConfig, energies: Float[Array, "points"]
) -> Float[Array, "points"]:
    """Normalises energies E in MeV: 2 log(E/e + 1) / log(m/e + 1) - 1.

    e is ``config.energy_offset`` and m is ``config.energy_maximum``.
    """
    return normalise_energies(energies, config.energy_offset, config.energy_maximum)


def with_room(config: PointMAEConfig, found: int, spare: int = 0) -> PointMAEConfig:
    """A configuration with a context just long enough for an event.

    There is room for the tokens that were ``found``, and for those to ``spare`` that
    other orientations may need. Neither parameters nor results depend on the length of
    the context; the cost does. It is one of a few (multiples of 32, of 64 above 256, of
    128 above 512, ...), to save compilations.
    """
    wanted = found + spare
    # At most a quarter of the context is left empty.
    step = max(32, 2 ** ((max(wanted, 1) - 1).bit_length() - 3))
    length = -(-max(wanted, 1) // step) * step
    if wanted <= config.context_length:
        length = min(length, config.context_length)
    return dataclasses.replace(config, context_length=length)


def tokenise(config: PointMAEConfig, event: Event) -> Assignment:
    """Groups the points of an event into tokens; all tokens are kept.

    If there are more than ``context_length``, the assignment has more slots. (The
    released implementation extends its context once in a process, for the first batch
    that exceeds it, and truncates later ones, so that results depend on earlier events.
    Results here are those for an event that comes first.)

    Args:
      config: Hyperparameters.
      event: Event from :func:`make_event`, with concrete arrays.

    Returns:
      The assignment of points to tokens.

    Raises:
      ModelError: The event has no token, because it has no real point.

    Example:
      >>> from symjax.data.point_clouds import SMALL, generate_event
      >>> from symjax.models.pointmae import PointMAEConfig, make_event, tokenise
      >>> config = PointMAEConfig(detector_size=SMALL.size, context_length=2,
      ...                         group_radius=0.045, group_points=16)
      >>> event = make_event(config, generate_event(0, SMALL), "float32")
      >>> bool(tokenise(config, event).mask.sum() > 2)
      True
    """
    assignment = assign_groups(config, *event)
    found = int(assignment.num_found)
    if found > config.context_length:
        assignment = assign_groups(with_room(config, found), *event)
    if not np.any(assignment.mask):
        raise ModelError(
            "event",
            int(np.sum(event.mask)),
            "the event has no token: no point of it is real and finite",
            "Drop the event, or lower the energy threshold",
        )
    return assignment


def with_slots(assignment: Assignment, number: int) -> Assignment:
    """The assignment with another number of slots, no fewer than there are tokens."""

    def resized(rows: Array, padding: int) -> Array:
        kept = np.asarray(rows)[:number]
        filled = np.full((number, *kept.shape[1:]), padding, kept.dtype)
        filled[: len(kept)] = kept
        return to_device(filled)

    return assignment._replace(
        centers=resized(assignment.centers, -1),
        members=resized(assignment.members, -1),
        mask=resized(assignment.mask, False),
    )
