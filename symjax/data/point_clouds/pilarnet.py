"""Files of PILArNet-M: HDF5 with one row of flattened numbers for each event.

``point`` holds eight numbers a point: x, y, z in voxels, the voxel's energy in MeV,
energy deposit, time, number of electrons and dx. ``cluster`` holds five numbers a
cluster: number of points, fragment, group, interaction and semantic type. Points are
ordered by cluster. Source: Young, Jwa, Terao, arXiv:2502.02558, and the description
of the data set at github.com/DeepLearnPhysics/PoLAr-MAE.
"""

from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np

from symjax._files import replace_atomically
from symjax.data.point_clouds.clouds import PointCloud, make_cloud
from symjax.errors import StructureError

_POINT, _CLUSTER = 8, 5
_REMEDY = "Pass a whole HDF5 file of PILArNet-M, or one that write_events wrote"


def count_events(path: str | Path) -> int:
    """Number of events in a file.

    Args:
      path: The file.

    Returns:
      Number of events.

    Raises:
      StructureError: The file is missing, truncated, or none of PILArNet-M.

    Example:
      >>> from symjax.data.point_clouds import count_events
      >>> count_events("missing.h5")
      Traceback (most recent call last):
      ...
      symjax.errors.StructureError: path='missing.h5': there is no such file. Pass...
    """
    with _open(path) as file:
        return len(file["point"])


def read_events(
    path: str | Path, index: int | slice | Sequence[int] = slice(None)
) -> list[PointCloud]:
    """Reads events, with all their points and labels.

    :func:`~symjax.data.point_clouds.select_points` drops what the original drops.

    Args:
      path: The file.
      index: Which events: a number (negative from the end), a slice or several
        numbers.

    Returns:
      The events without padding.

    Raises:
      StructureError: The file is missing, truncated, none of PILArNet-M, has no such
        event, or an event is damaged; the message names the event.

    Example:
      >>> import tempfile
      >>> from symjax.data.point_clouds import SMALL, generate_event
      >>> from symjax.data.point_clouds import read_events, write_events
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     write_events(f"{folder}/a.h5", [generate_event(0, SMALL)])
      ...     len(read_events(f"{folder}/a.h5", 0))
      1
    """
    with _open(path) as file:
        count = len(file["point"])
        if isinstance(index, slice):
            chosen = list(range(count))[index]
        else:
            chosen = [index] if isinstance(index, int) else list(index)
        for number in chosen:
            if not -count <= number < count:
                raise StructureError(
                    "index",
                    number,
                    f"{str(path)!r} has {count} events",
                    f"Use 0 to {count - 1}",
                )
        return [_read_event(file, number % count, str(path)) for number in chosen]


def write_events(path: str | Path, events: Sequence[PointCloud]) -> None:
    """Writes events so that :func:`read_events` and other readers find them again.

    Points are ordered by cluster. Energies fill both energy columns; time, number of
    electrons and dx, which an event does not hold, are 0, and fragment, group and
    interaction the number of the cluster.

    Args:
      path: The file; replaced atomically if it exists.
      events: The events; clusters must be labelled, each with one semantic label.

    Raises:
      StructureError: Labels are missing or contradict each other, or the file cannot
        be written.

    Example:
      >>> import tempfile
      >>> from symjax.data.point_clouds import SMALL, generate_event
      >>> from symjax.data.point_clouds import count_events, write_events
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     write_events(f"{folder}/a.h5", [generate_event(0, SMALL)] * 2)
      ...     count_events(f"{folder}/a.h5")
      2
    """
    rows = [_rows(event, number) for number, event in enumerate(events)]

    def write(part: Path) -> None:
        with h5py.File(part, "w") as file:
            for column, (name, dtype) in enumerate(
                (("point", np.float32), ("cluster", np.int64))
            ):
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


def _rows(event: PointCloud, number: int) -> tuple[np.ndarray, np.ndarray]:
    real = np.asarray(event.mask)
    positions, energies, semantic, cluster = (np.asarray(a)[real] for a in event[:4])
    if cluster.min() < 0 or semantic.min() < 0:
        raise StructureError(
            f"events[{number}].cluster",
            int(min(cluster.min(), semantic.min())),
            "a point has no cluster or no label, which the format cannot hold",
            "Label every point",
        )
    order = np.argsort(cluster, kind="stable")
    names, first, sizes = np.unique(
        cluster[order], return_index=True, return_counts=True
    )
    labels = semantic[order][first]
    if (np.repeat(labels, sizes) != semantic[order]).any():
        raise StructureError(
            f"events[{number}].semantic",
            sorted(set(semantic.tolist())),
            "points of one cluster have several labels",
            "Give every cluster one semantic label",
        )
    points = np.zeros((len(energies), _POINT), np.float32)
    points[:, :3] = positions[order]
    points[:, 3] = points[:, 4] = energies[order]
    clusters = np.stack([sizes, names, names, names, labels], axis=1)
    return points.reshape(-1), clusters.astype(np.int64).reshape(-1)


def _open(path: str | Path) -> h5py.File:
    path = Path(path)
    if not path.is_file():
        raise StructureError("path", str(path), "there is no such file", _REMEDY)
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise StructureError(
            "path",
            str(path),
            f"is truncated or no HDF5 file ({error})",
            _REMEDY,
        ) from error
    for name in ("point", "cluster"):
        data = file.get(name)
        if not isinstance(data, h5py.Dataset) or data.ndim != 1:
            found = sorted(file)
            file.close()
            raise StructureError(
                "path",
                str(path),
                f"has no data set {name!r} with one row for each event, only {found}",
                _REMEDY,
            )
    if len(file["point"]) != len(file["cluster"]):
        lengths = len(file["point"]), len(file["cluster"])
        file.close()
        raise StructureError(
            "path",
            str(path),
            f"has {lengths[0]} events in 'point' and {lengths[1]} in 'cluster'",
            _REMEDY,
        )
    return file


def _read_event(file: h5py.File, number: int, path: str) -> PointCloud:
    def broken(problem: str) -> StructureError:
        return StructureError(f"{path}[{number}]", number, problem, _REMEDY)

    try:
        flat, clusters = (np.asarray(file[k][number]) for k in ("point", "cluster"))
    except (OSError, TypeError, ValueError) as error:
        raise broken(f"the event cannot be read ({error})") from error
    for name, row, width in (("point", flat, _POINT), ("cluster", clusters, _CLUSTER)):
        if row.dtype.kind not in "fiu" or row.ndim != 1 or row.size % width:
            raise broken(
                f"{name!r} holds {row.size} entries of type {row.dtype}, not {width} "
                f"numbers for each {name}"
            )
    points, clusters = flat.reshape(-1, _POINT), clusters.reshape(-1, _CLUSTER)
    sizes, labels = clusters[:, 0].astype(np.int64), clusters[:, -1].astype(np.int64)
    if (sizes < 0).any() or sizes.sum() != len(points):
        raise broken(
            f"the clusters count {sizes.sum()} points, but there are {len(points)}"
        )
    try:
        return make_cloud(
            points[:, :3],
            points[:, 3],
            np.repeat(labels, sizes),
            np.repeat(np.arange(len(sizes)), sizes),
        )
    except StructureError as error:
        raise broken(str(error)) from error
