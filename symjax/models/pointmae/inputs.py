"""What a Point-MAE reads of an event: its points, on the network's scale, in tokens."""

import dataclasses
import math
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

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
    """What the network reads of one event.

    Attributes:
      positions: Normalised coordinates, ``(points, 3)``.
      energies: Normalised energies, ``(points,)``.
      mask: True where a point is real.
    """

    positions: Float[Array, "points 3"]
    energies: Float[Array, "points"]
    mask: Bool[Array, "points"]


def seen_points(config: PointMAEConfig, cloud: PointCloud) -> PointCloud:
    """The points of an event that a model reads: one for each voxel, none too faint.

    Raises:
      StructureError: No point is left, or the first cluster is to be dropped and
        clusters are not known.
    """
    return select_points(
        merge_voxels(cloud),
        energy_threshold=config.energy_threshold,
        low_energy=config.low_energy,
    )


def check_inside(
    config: PointMAEConfig, cloud: PointCloud, label: str = "the event"
) -> None:
    """Raises where an event is not one of the model's detector.

    Raises:
      ModelError: Points lie outside of it.
    """
    real = np.asarray(cloud.positions)[np.asarray(cloud.mask)]
    largest = float(np.abs(real - config.middle).max(initial=0.0))
    # Half the edge of the cube whose corners the network sees at distance 1.
    if largest > max(config.detector_size / 2, 1 / (math.sqrt(3) * config.unit)):
        raise ModelError(
            "detector_size",
            config.detector_size,
            f"points of {label} lie outside the detector of the model",
            "Use a model for the detector of the events",
        )


def make_event(config: PointMAEConfig, cloud: PointCloud, dtype: Any) -> Event:
    """Normalises one event for the network.

    Args:
      config: Hyperparameters, of which the detector and the scale of energies count.
      cloud: One event.
      dtype: Floating-point type.

    Returns:
      The event; padding lies at the origin.

    Raises:
      ModelError: Points lie outside the detector of the model.

    Example:
      >>> from symjax.data.point_clouds import SMALL, generate_event
      >>> from symjax.models.pointmae import PointMAEConfig, make_event
      >>> config = PointMAEConfig(detector_size=SMALL.size)
      >>> event = make_event(config, generate_event(0, SMALL), "float32")
      >>> bool((abs(event.positions) < 1).all())
      True
    """
    check_inside(config, cloud)
    mask = jnp.asarray(cloud.mask)
    middle = jnp.asarray(config.middle, dtype)
    positions = (jnp.asarray(cloud.positions, dtype) - middle) * config.unit
    energies = scaled_energies(config, jnp.asarray(cloud.energies, dtype))
    return Event(
        jnp.where(mask[:, None], positions, 0), jnp.where(mask, energies, 0), mask
    )


def scaled_energies(
    config: PointMAEConfig, energies: Float[Array, "points"]
) -> Float[Array, "points"]:
    """Energies E in MeV on the scale of the network, 2 log(E/e + 1) / log(m/e + 1) - 1.

    The offset e and the maximum m are those of the configuration.
    """
    return normalise_energies(energies, config.energy_offset, config.energy_maximum)


def with_room(config: PointMAEConfig, found: int, spare: int = 0) -> PointMAEConfig:
    """A configuration whose context holds an event's tokens, and not many more.

    No parameter depends on the length of the context, and no result on what is left
    of it; its cost does. Lengths are few (multiples of 32, of 64 above 256, of 128
    above 512, ...), with room for ``spare`` tokens at other orientations.
    """
    wanted = found + spare
    # At most a quarter is left empty, and few lengths mean few compiled programs.
    step = max(32, 2 ** ((max(wanted, 1) - 1).bit_length() - 3))
    length = -(-max(wanted, 1) // step) * step
    if wanted <= config.context_length:
        length = min(length, config.context_length)
    return dataclasses.replace(config, context_length=length)


def tokenise(config: PointMAEConfig, event: Event) -> Assignment:
    """Groups an event; all its tokens are kept.

    If there are more than ``context_length``, the assignment has more slots. (The
    released implementation lengthens its context once in a process, for the first batch
    that exceeds it, and cuts later ones: what it does to an event depends on those
    before it. Here an event is as it is there when it comes first.)

    Args:
      config: Hyperparameters.
      event: From :func:`make_event`; concrete arrays.

    Returns:
      The assignment of points to tokens.

    Raises:
      ModelError: The event has no token, since it has no point.

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
    if not bool(assignment.mask.any()):
        raise ModelError(
            "event",
            int(event.mask.sum()),
            "the event has no token: no point of it is real and finite",
            "Drop the event, or lower the energy threshold",
        )
    return assignment
