"""Selects the points of an event that a network reads."""

from typing import Literal, get_args

import numpy as np

from symjax.data.point_clouds.clouds import (
    ENERGY_THRESHOLD,
    LOW_ENERGY,
    PointCloud,
    make_cloud,
)
from symjax.errors import ArgumentError, StructureError

LowEnergyRule = Literal["label", "first cluster", "keep"]
LOW_ENERGY_RULES = get_args(LowEnergyRule)
"""Rules of :func:`select_points` for scattered low-energy deposits."""


def merge_voxels(cloud: PointCloud) -> PointCloud:
    """Merges points at the same position and sums their energies.

    The label, cluster and particle are those of the point with the largest energy, the
    first one in case of a tie. Voxels are in the order of their first points.
    :func:`find_events` applies this to every event.

    Args:
      cloud: One event.

    Returns:
      The same object if all positions are distinct; otherwise an event without padding
      and with the same total energy.

    Example:
      >>> import numpy as np
      >>> from symjax.data.point_clouds import make_cloud, merge_voxels
      >>> x = np.array([[1, 0, 0], [2, 0, 0], [1, 0, 0]])
      >>> one = merge_voxels(make_cloud(x, np.array([1.0, 5.0, 2.0]),
      ...                               np.array([0, 1, 3])))
      >>> one.energies.tolist(), one.semantic.tolist()
      ([3.0, 5.0], [3, 1])
    """
    real = np.asarray(cloud.mask)
    positions, energies, *labels = (np.asarray(array)[real] for array in cloud[:-1])
    # Adding 0 makes -0 and 0 one coordinate.
    _, first, slot = np.unique(
        positions + 0.0, axis=0, return_index=True, return_inverse=True
    )
    if len(first) == len(positions):
        return cloud
    slot = slot.reshape(-1)
    total = np.bincount(slot, energies.astype(float), minlength=len(first))
    # Sorted so that the last point of each voxel has the largest energy, ties reversed.
    order = np.lexsort((-np.arange(len(slot)), energies, slot))
    largest = np.zeros(len(first), int)
    largest[slot[order]] = order
    kept = np.argsort(first, kind="stable")
    return make_cloud(
        positions[first[kept]],
        total[kept],
        *(array[largest[kept]] for array in labels),
    )


def select_points(
    cloud: PointCloud,
    *,
    energy_threshold: float = ENERGY_THRESHOLD,
    low_energy: str = "label",
) -> PointCloud:
    """Drops scattered low-energy deposits and points of low energy.

    The released implementation of PoLAr-MAE removes the first cluster of every event,
    and then points of at most 0.13 MeV. In the published files, and in events of
    :func:`generate_event`, the first cluster contains the scattered low-energy
    deposits, so that the first two rules below agree.

    Args:
      cloud: One event.
      energy_threshold: Points with at most this energy in MeV are dropped; 0 drops
        none.
      low_energy: ``"label"`` drops points labelled as scattered low-energy deposits,
        ``"first cluster"`` those of cluster 0, as the released implementation does, and
        ``"keep"`` neither.

    Returns:
      The remaining points, without padding.

    Raises:
      ArgumentError: ``low_energy`` is unknown, or ``energy_threshold`` is negative.
      StructureError: No point is left, or ``"first cluster"`` is used and a point has
        no cluster.

    Example:
      >>> import numpy as np
      >>> from symjax.data.point_clouds import make_cloud, select_points
      >>> cloud = make_cloud(np.ones((3, 3)), np.array([0.1, 1.0, 2.0]),
      ...                    np.array([1, 1, 4]))
      >>> select_points(cloud).energies.tolist()
      [1.0]
    """
    if low_energy not in LOW_ENERGY_RULES:
        raise ArgumentError(
            "low_energy",
            low_energy,
            "is unknown",
            f"Use one of {', '.join(LOW_ENERGY_RULES)}",
        )
    # Not "< 0": NaN must not pass.
    if not energy_threshold >= 0:
        raise ArgumentError(
            "energy_threshold",
            energy_threshold,
            "is not an energy of at least 0",
            f"Pass an energy in MeV, for instance {ENERGY_THRESHOLD}",
        )
    real = np.asarray(cloud.mask)
    keep = real.copy()
    if energy_threshold > 0:
        keep &= np.asarray(cloud.energies) > energy_threshold
    if low_energy == "label":
        keep &= np.asarray(cloud.semantic) != LOW_ENERGY
    elif low_energy == "first cluster":
        cluster = np.asarray(cloud.cluster)
        if (cluster[real] < 0).any():
            raise StructureError(
                "cluster",
                -1,
                "marks points without a cluster, so that the first one is unknown",
                "Pass clusters, or low_energy='label'",
            )
        keep &= cluster != 0
    if not keep.any():
        raise StructureError(
            "energy_threshold",
            energy_threshold,
            "leaves no point of the event",
            "Lower it, or drop the event",
        )
    return cloud.select(keep)
