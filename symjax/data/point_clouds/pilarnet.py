"""Reads and writes files of PILArNet-M: HDF5 with one flattened row per event.

``point`` has eight numbers per point: x, y, z in voxels, energy of the voxel in MeV,
energy deposit, time, number of electrons and dx. ``cluster`` has for each cluster its
number of points, fragment, group, interaction and semantic type, and in version 2 the
particle; version 2 has a third data set, ``cluster_extra``. Points are ordered by
cluster, and the first cluster has the scattered low-energy deposits. Source: Young,
Jwa, Terao, arXiv:2502.02558, and the descriptions of the data set at
github.com/DeepLearnPhysics/PoLAr-MAE (version 1) and
huggingface.co/datasets/DeepLearnPhysics/PILArNet-M (version 2).
"""

from collections.abc import Iterable
from pathlib import Path

import h5py
import numpy as np

from symjax._files import replace_atomically
from symjax.data.point_clouds._hdf5 import dataset_of, open_hdf5
from symjax.data.point_clouds.clouds import LOW_ENERGY, PointCloud, make_cloud
from symjax.data.point_clouds.selection import merge_voxels
from symjax.errors import ArgumentError, StructureError

WIDTHS = {1: 5, 2: 6}
"""Numbers per cluster, by version of the format."""
_POINT, _EXTRA = 8, 5
_SEMANTIC, _PARTICLE = 4, 5
# Number of events that are examined to determine the version without cluster_extra.
_LOOKED_AT = 64
_REMEDY = "Pass a whole HDF5 file of PILArNet-M, or one that write_events wrote"


class EventFile:
    """One open file at ``path`` with ``count`` events: a context manager."""

    def __init__(self, path: str | Path, width: int | None = None):
        """Opens a file for reading and checks its data sets, not its events.

        Args:
          path: The file.
          width: Numbers per cluster, if known; by default it is determined.

        Raises:
          StructureError: The file is missing, locked or truncated, or its data sets are
            not those of PILArNet-M.
        """
        self.path = str(path)
        self._file = open_hdf5(path, _REMEDY)
        self._width = width
        try:
            self._points = dataset_of(self._file, "point", self.path, _REMEDY)
            self._clusters = dataset_of(self._file, "cluster", self.path, _REMEDY)
            self.count = len(self._points)
            lengths = {"point": self.count, "cluster": len(self._clusters)}
            if "cluster_extra" in self._file:
                extra = dataset_of(self._file, "cluster_extra", self.path, _REMEDY)
                lengths["cluster_extra"] = len(extra)
                self._width = WIDTHS[2]
            for name, length in lengths.items():
                if length != self.count:
                    raise StructureError(
                        "path",
                        self.path,
                        f"has {self.count} events in 'point' and {length} in {name!r}",
                        _REMEDY,
                    )
        except StructureError:
            self._file.close()
            raise

    def __enter__(self) -> "EventFile":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def width(self) -> int:
        """Numbers per cluster: 5 in version 1, 6 in version 2.

        Version 2 has ``cluster_extra``. Without it, the width is the one for which the
        sizes of the clusters sum to the number of points.

        Raises:
          StructureError: Both widths, or neither, fit all examined events, or events
            differ in width.
        """
        if self._width is None:
            self._width = self._find_width()
        return self._width

    def _find_width(self) -> int:
        possible = set(WIDTHS.values())
        for number in range(min(self.count, _LOOKED_AT)):
            try:
                points, clusters = self._rows(number)
            except StructureError:
                continue  # a damaged event raises an error when it is read
            fitting = {
                width
                for width in WIDTHS.values()
                if clusters.size % width == 0
                and points.size % _POINT == 0
                and clusters[::width].sum() == points.size // _POINT
            }
            if not fitting:
                continue
            possible &= fitting
            if not possible:
                raise StructureError(
                    "path",
                    self.path,
                    f"event {number} has {fitting.pop()} numbers per cluster, earlier "
                    "ones another number",
                    "Keep versions 1 and 2 of PILArNet-M in different files",
                )
            if len(possible) == 1:
                return possible.pop()
        raise StructureError(
            "path",
            self.path,
            "may have five or six numbers per cluster, versions 1 and 2 of PILArNet-M: "
            "neither the sizes of the clusters nor a data set 'cluster_extra' decide",
            "Add 'cluster_extra' with one row per event if it is version 2, or more "
            "events",
        )

    def _rows(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        try:
            rows = [np.asarray(d[number]) for d in (self._points, self._clusters)]
        except (OSError, TypeError, ValueError, RuntimeError) as error:
            raise self._broken(number, f"the event cannot be read ({error})") from error
        for name, row in zip(("point", "cluster"), rows, strict=True):
            if row.dtype.kind not in "fiu" or row.ndim != 1:
                raise self._broken(
                    number,
                    f"{name!r} holds an array of type {row.dtype} and shape "
                    f"{row.shape}, not a row of numbers",
                )
        return rows[0], rows[1]

    def _broken(self, number: int, problem: str) -> StructureError:
        return StructureError(f"{self.path}[{number}]", number, problem, _REMEDY)

    def read(self, number: int) -> PointCloud:
        """Reads one event with all points and labels, one point per voxel.

        Args:
          number: Index of the event, from 0.

        Raises:
          StructureError: The event is damaged; the message names it.
        """
        flat, rows = self._rows(number)
        width = self.width
        for name, row, size in (("point", flat, _POINT), ("cluster", rows, width)):
            if row.size % size:
                raise self._broken(
                    number,
                    f"{name!r} has {row.size} entries, not {size} numbers per {name}",
                )
        points, clusters = flat.reshape(-1, _POINT), rows.reshape(-1, width)
        if not np.isfinite(clusters).all() or (clusters != np.round(clusters)).any():
            raise self._broken(number, "'cluster' has numbers that are not integers")
        sizes, *labels = clusters.astype(np.int64).T
        if (sizes < 0).any() or sizes.sum() != len(points):
            raise self._broken(
                number,
                f"the clusters count {sizes.sum()} points, but there are {len(points)}",
            )
        semantic = labels[_SEMANTIC - 1]
        unknown = np.full(len(sizes), -1)
        particle = labels[_PARTICLE - 1] if width == WIDTHS[2] else unknown
        per_cluster = (semantic, np.arange(len(sizes)), particle)
        try:
            cloud = make_cloud(
                points[:, :3],
                points[:, 3],
                *(np.repeat(values, sizes) for values in per_cluster),
            )
        except StructureError as error:
            raise self._broken(number, str(error)) from error
        return merge_voxels(cloud)


def write_events(
    path: str | Path, events: Iterable[PointCloud], *, version: int = 1
) -> None:
    """Writes events in the format of PILArNet-M.

    Points are ordered by cluster, scattered low-energy deposits first. An event without
    any gets an empty first cluster, as the released implementation of PoLAr-MAE always
    removes the first cluster. Energies are written to both energy columns; time, number
    of electrons and dx, which are unknown, are 0; fragment, group and interaction are
    the index of the cluster, -1 for low-energy deposits.

    Args:
      path: The file; an existing one is replaced atomically.
      events: The events. Every point needs a cluster and a semantic label; each cluster
        must have a single semantic label and particle.
      version: 1 for the format that the released implementation reads; 2 for the later
        one, which includes particles.

    Raises:
      ArgumentError: ``version`` is neither 1 nor 2.
      StructureError: Labels are missing or inconsistent, or the file cannot be written.

    Example:
      >>> import tempfile
      >>> from symjax.data.point_clouds import (
      ...     SMALL, find_events, generate_event, write_events)
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     write_events(f"{folder}/a.h5", [generate_event(0, SMALL)] * 2)
      ...     len(find_events(f"{folder}/a.h5").events)
      2
    """
    if version not in WIDTHS:
        raise ArgumentError("version", version, "is unknown", "Pass 1 or 2")
    rows = [_rows(event, number, version) for number, event in enumerate(events)]
    columns = {"point": np.float32, "cluster": np.int64}
    if version == 2:
        columns["cluster_extra"] = np.float32

    def write(part: Path) -> None:
        with h5py.File(part, "w") as file:
            for column, (name, dtype) in enumerate(columns.items()):
                kind = h5py.vlen_dtype(dtype)
                data = file.create_dataset(name, (len(rows),), dtype=kind)
                for number, row in enumerate(rows):
                    data[number] = row[column]

    try:
        replace_atomically(Path(path), write)
    except OSError as error:
        raise StructureError(
            "path", str(path), f"cannot be written: {error}", "Choose another file"
        ) from error


def _rows(event: PointCloud, number: int, version: int) -> tuple[np.ndarray, ...]:
    real = np.asarray(event.mask)
    positions, energies, semantic, cluster, particle = (
        np.asarray(a)[real] for a in event[:-1]
    )
    if cluster.min() < 0 or semantic.min() < 0:
        raise StructureError(
            f"events[{number}].cluster",
            int(min(cluster.min(), semantic.min())),
            "a point has no cluster or no label, which the format requires",
            "Label every point",
        )
    order = np.lexsort((cluster, semantic != LOW_ENERGY))
    change = np.flatnonzero(np.diff(cluster[order], prepend=-1))
    sizes = np.diff(change, append=len(order))
    names = cluster[order][change]
    for field, values in (("semantic", semantic), ("particle", particle)):
        first_of_cluster = np.repeat(values[order][change], sizes)
        if (first_of_cluster != values[order]).any() or len(np.unique(names)) < len(
            names
        ):
            raise StructureError(
                f"events[{number}].{field}",
                sorted(set(values.tolist())),
                f"points of one cluster have several values of {field}",
                "Give every cluster one semantic label and one particle",
            )
    labels, kinds = semantic[order][change], particle[order][change]
    ids = np.where(labels == LOW_ENERGY, -1, names)
    clusters = np.stack([sizes, ids, ids, ids, labels, kinds], axis=1)
    if labels[0] != LOW_ENERGY:
        empty = [[0, -1, -1, -1, LOW_ENERGY, -1]]
        clusters = np.concatenate([empty, clusters])
    points = np.zeros((len(energies), _POINT), np.float32)
    points[:, :3] = positions[order]
    points[:, 3] = points[:, 4] = energies[order]
    return (
        points.reshape(-1),
        clusters[:, : WIDTHS[version]].astype(np.int64).reshape(-1),
        np.full(len(clusters) * _EXTRA, -1, np.float32),
    )
