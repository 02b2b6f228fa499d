"""Point clouds of events, padded to a static shape.

Positions are in voxels of a cubic detector, energies in MeV. Networks read both
normalised as in Young, Jwa, Terao, arXiv:2502.02558, Sec. 4: positions with the centre
of the detector at 0 and half its diagonal as unit, energies on a logarithmic scale from
-1 to 1.
"""

import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from symjax.errors import ArgumentError, StructureError

CLASSES: tuple[str, ...] = ("shower", "track", "michel", "delta", "low energy")
"""Names of the semantic classes; a label is an index into it."""

LOW_ENERGY = 4
"""Label of scattered low-energy deposits."""

PARTICLES: tuple[str, ...] = ("photon", "electron", "muon", "pion", "proton")
"""Names of the particles, by index."""

ENERGY_THRESHOLD, ENERGY_MAXIMUM = 0.13, 20.0
"""Parameters of :func:`normalise_energies`, in MeV."""


class PointCloud(NamedTuple):
    """One event, or several of the same padded shape along a leading axis.

    Attributes:
      positions: Voxel coordinates, shape ``(points, 3)``; 0 for padding.
      energies: Deposited energy in MeV, ``(points,)``; 0 for padding.
      semantic: Semantic label of each point, an index into :data:`CLASSES`; -1 if
        unknown and for padding.
      cluster: Index of the cluster within the event; -1 if unknown and for padding. In
        PILArNet-M cluster 0 contains the scattered low-energy deposits.
      particle: Particle that deposited the energy, an index into :data:`PARTICLES`; -1
        if unknown and for padding.
      mask: True for real points, which come first.

    Example:
      >>> import numpy as np
      >>> from symjax.data.point_clouds import make_cloud
      >>> cloud = make_cloud(np.ones((2, 3)), np.ones(2), num_points=4)
      >>> cloud.mask.tolist(), cloud.semantic.tolist()
      ([True, True, False, False], [-1, -1, -1, -1])
    """

    positions: Float[Array | np.ndarray, "points 3"]
    energies: Float[Array | np.ndarray, "points"]
    semantic: Int[Array | np.ndarray, "points"]
    cluster: Int[Array | np.ndarray, "points"]
    particle: Int[Array | np.ndarray, "points"]
    mask: Bool[Array | np.ndarray, "points"]

    @property
    def num_points(self) -> int:
        """Number of real points of one event."""
        return int(np.sum(self.mask))

    def select(self, keep: Bool[np.ndarray, "points"]) -> "PointCloud":
        """Selects points of one event, and removes the padding.

        Args:
          keep: True for the points to keep.

        Raises:
          StructureError: No point is left.
        """
        keep = keep & np.asarray(self.mask)
        return make_cloud(*(np.asarray(array)[keep] for array in self[:-1]))


def make_cloud(
    positions: np.ndarray,
    energies: np.ndarray,
    semantic: np.ndarray | None = None,
    cluster: np.ndarray | None = None,
    particle: np.ndarray | None = None,
    *,
    num_points: int | None = None,
) -> PointCloud:
    """Checks the arrays of one event and pads them.

    Args:
      positions: Voxel coordinates, shape ``(n, 3)``.
      energies: Energies in MeV, shape ``(n,)``, not negative.
      semantic: Indices into :data:`CLASSES`, shape ``(n,)``; -1 by default.
      cluster: Indices of clusters, shape ``(n,)``; -1 by default.
      particle: Indices into :data:`PARTICLES`, shape ``(n,)``; -1 by default.
      num_points: Number of points to pad to; ``n`` by default.

    Returns:
      The point cloud, in float32 and int32.

    Raises:
      StructureError: The event is empty, shapes or types are wrong, a value is not
        finite, or an energy is negative, or a semantic label out of range.
      ArgumentError: ``num_points`` is less than ``n``.

    Example:
      >>> import numpy as np
      >>> from symjax.data.point_clouds import make_cloud
      >>> make_cloud(np.zeros((1, 3)), np.array([2.0])).energies.tolist()
      [2.0]
    """
    positions, energies = np.asarray(positions), np.asarray(energies)
    count = len(energies) if energies.ndim == 1 else 0
    unknown = np.full(count, -1)
    semantic = unknown if semantic is None else np.asarray(semantic)
    cluster = unknown if cluster is None else np.asarray(cluster)
    particle = unknown if particle is None else np.asarray(particle)
    if count == 0:
        raise StructureError(
            "energies",
            energies.shape,
            "is no event with points",
            "Pass one energy for each point; drop empty events",
        )
    if positions.shape != (count, 3):
        raise StructureError(
            "positions",
            positions.shape,
            f"is not of shape ({count}, 3)",
            "Pass x, y, z of each point",
        )
    given = {"semantic": semantic, "cluster": cluster, "particle": particle}
    for name, labels in given.items():
        if labels.shape != (count,) or labels.dtype.kind not in "iu":
            raise StructureError(
                name,
                (labels.dtype, labels.shape),
                f"is not an integer array of shape ({count},)",
                "Pass one label for each point, -1 where it is unknown",
            )
    if not (np.isfinite(positions).all() and np.isfinite(energies).all()):
        raise StructureError(
            "positions, energies", float("nan"), "are not finite", "Remove such points"
        )
    if (energies < 0).any():
        raise StructureError(
            "energies", float(energies.min()), "is negative", "Pass energies in MeV"
        )
    if semantic.min() < -1 or semantic.max() >= len(CLASSES):
        raise StructureError(
            "semantic",
            int(semantic.max()),
            "is no label",
            f"Use 0 to {len(CLASSES) - 1}, in the order {', '.join(CLASSES)}",
        )
    num_points = count if num_points is None else num_points
    if num_points < count:
        raise ArgumentError(
            "num_points",
            num_points,
            f"the event has {count} points",
            f"Pass {count} or more",
        )
    pad = (0, num_points - count)
    return PointCloud(
        np.pad(positions.astype(np.float32), (pad, (0, 0))),
        np.pad(energies.astype(np.float32), pad),
        np.pad(semantic.astype(np.int32), pad, constant_values=-1),
        np.pad(cluster.astype(np.int32), pad, constant_values=-1),
        np.pad(particle.astype(np.int32), pad, constant_values=-1),
        np.arange(num_points) < count,
    )


def pad_cloud(cloud: PointCloud, num_points: int) -> PointCloud:
    """Changes the amount of padding of an event.

    Args:
      cloud: One event.
      num_points: Number of points to pad to, at least the number of real points.

    Raises:
      ArgumentError: ``num_points`` is too small.

    Example:
      >>> import numpy as np
      >>> from symjax.data.point_clouds import make_cloud, pad_cloud
      >>> pad_cloud(make_cloud(np.ones((2, 3)), np.ones(2)), 8).positions.shape
      (8, 3)
    """
    real = np.asarray(cloud.mask)
    arrays = (np.asarray(array)[real] for array in cloud[:-1])
    return make_cloud(*arrays, num_points=num_points)


def voxel_length(size: float) -> float:
    """Edge length of a voxel in normalised coordinates, 2 / (size sqrt(3)).

    Args:
      size: Number of voxels along an edge of the detector.

    Raises:
      ArgumentError: ``size`` is not positive.

    Example:
      >>> from symjax.data.point_clouds import voxel_length
      >>> round(5 * voxel_length(768), 5)  # radius of a group in PoLAr-MAE
      0.00752
    """
    if not size > 0:
        raise ArgumentError("size", size, "is not positive", "Pass 768 for PILArNet")
    return 2 / (size * math.sqrt(3))


def normalise_energies(
    energies: Float[Array, "..."],
    threshold: float = ENERGY_THRESHOLD,
    maximum: float = ENERGY_MAXIMUM,
) -> Float[Array, "..."]:
    """Maps energies E to 2 log((E + t) / t) / log((m + t) / t) - 1.

    Zero maps to -1, the maximum m to 1; larger energies exceed 1. Source:
    arXiv:2502.02558, Sec. 4.

    Args:
      energies: Energies in MeV, not negative.
      threshold: Energy t in MeV below which the scale is nearly linear.
      maximum: Energy m in MeV.

    Returns:
      The normalised energies.

    Raises:
      ArgumentError: ``threshold`` or ``maximum`` is not positive.

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.data.point_clouds import normalise_energies
      >>> normalise_energies(jnp.array([0.0, 20.0])).round(5).tolist()
      [-1.0, 1.0]
    """
    for name, value in (("threshold", threshold), ("maximum", maximum)):
        if not value > 0:
            raise ArgumentError(name, value, "is not positive", "Pass MeV above 0")
    span = math.log1p(maximum / threshold)
    return 2 * jnp.log1p(jnp.asarray(energies) / threshold) / span - 1
