"""Files of PILArNet-M: round trip, and refusal of what is damaged or foreign."""

import h5py
import numpy as np
import pytest

from symjax.data.point_clouds import (
    find_events,
    make_cloud,
    write_events,
)
from symjax.errors import ArgumentError, StructureError


def read_events(path, index=slice(None)):
    return list(find_events(path, index=index).events.values())


@pytest.fixture
def events(events):
    return events[:4]


@pytest.fixture
def path(tmp_path, events):
    write_events(tmp_path / "events.h5", events)
    return tmp_path / "events.h5"


def test_round_trip(path, events):
    for before, after in zip(events, read_events(path), strict=True):
        for one, other in zip(before[:4], after[:4], strict=True):
            np.testing.assert_array_equal(one, other)
        assert (after.particle == -1).all()  # version 1 does not hold it


@pytest.mark.parametrize(
    ("index", "expected"),
    [(2, [2]), (-1, [3]), (slice(2, None, -2), [2, 0])],
)
def test_selection(path, events, index, expected):
    read = read_events(path, index)
    sizes = [event.num_points for event in read]
    assert sizes == [events[number].num_points for number in expected]


def test_layout_of_the_file(path, events):
    """As the description of PILArNet-M says, read with h5py alone."""
    with h5py.File(path) as file:
        points = file["point"][1].reshape(-1, 8)
        clusters = file["cluster"][1].reshape(-1, 5)
    assert clusters[:, 0].sum() == len(points) == events[1].num_points
    assert clusters[0, 1:].tolist() == [-1, -1, -1, 4]
    np.testing.assert_array_equal(points[:, :3], events[1].positions)
    np.testing.assert_array_equal(points[:, 3], events[1].energies)
    labels = np.repeat(clusters[:, 4], clusters[:, 0])
    np.testing.assert_array_equal(labels, events[1].semantic)


def test_a_truncated_file_is_refused(path):
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(StructureError, match="truncated or no HDF5"):
        read_events(path)


def test_foreign_files_are_refused(tmp_path):
    text = tmp_path / "text.h5"
    text.write_text("no HDF5")
    with pytest.raises(StructureError, match="no HDF5"):
        read_events(text)
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["positions"] = np.zeros((2, 3))
    with pytest.raises(StructureError, match="positions"):
        read_events(other)
    with pytest.raises(StructureError, match="no such file"):
        read_events(tmp_path / "missing.h5")


def write_raw(path, points, clusters, extra=None):
    columns = [("point", points, np.float32), ("cluster", clusters, np.int64)]
    if extra is not None:
        columns.append(("cluster_extra", extra, np.float32))
    with h5py.File(path, "w") as file:
        for name, rows, dtype in columns:
            data = file.create_dataset(name, (len(rows),), h5py.vlen_dtype(dtype))
            for number, row in enumerate(rows):
                data[number] = row


@pytest.mark.parametrize(
    ("points", "clusters", "match"),
    [
        ([np.ones(15), np.ones(8)], [[1, 0, 0, 0, 1]] * 2, "has 15 entries"),
        ([np.ones(16), np.ones(8)], [[1, 0, 0, 0, 1]] * 2, "count 1 points, but"),
        ([np.ones(16)], [[2, 0, 0, 0]], "five or six numbers"),
        ([np.ones(8)], [[1, 0, 0, 0, 7]], "is no label"),
        ([np.zeros(0), np.ones(8)], [[], [1, 0, 0, 0, 1]], "no event with points"),
        ([np.full(8, np.nan)], [[1, 0, 0, 0, 1]], "not finite"),
        ([np.ones(8)] * 2, [[1, 0, 0, 0, 1]], "2 events in 'point' and 1"),
    ],
)
def test_damaged_events_are_named(tmp_path, points, clusters, match):
    write_raw(tmp_path / "bad.h5", points, clusters)
    with pytest.raises(StructureError, match=match):
        read_events(tmp_path / "bad.h5")


def test_bad_index(path):
    with pytest.raises(StructureError, match="has 4 events"):
        read_events(path, 4)


def test_unlabelled_events_are_not_written(tmp_path):
    bare = make_cloud(np.zeros((1, 3)), np.ones(1))
    with pytest.raises(StructureError, match="Label every point"):
        write_events(tmp_path / "a.h5", [bare])
    mixed = make_cloud(np.zeros((2, 3)), np.ones(2), np.array([0, 1]), np.array([0, 0]))
    with pytest.raises(StructureError, match="several values of semantic"):
        write_events(tmp_path / "a.h5", [mixed])
    assert not (tmp_path / "a.h5").exists()
    with pytest.raises(StructureError, match="cannot be written"):
        write_events(tmp_path / "no" / "a.h5", [])


def rows_of(sizes, labels, width):
    """An event as the files hold it, on distinct voxels."""
    count = sum(sizes)
    points = np.zeros((count, 8), np.float32)
    points[:, 0], points[:, 3] = np.arange(count), 1.0
    clusters = [
        [size, n, n, 0, label, n + 10][:width]
        for n, (size, label) in enumerate(zip(sizes, labels, strict=True))
    ]
    return points.ravel(), np.array(clusters).ravel()


def test_version_2_is_told_by_cluster_extra(tmp_path):
    points, clusters = rows_of((3, 4), (4, 1), 6)
    write_raw(tmp_path / "a.h5", [points], [clusters], [np.zeros(10)])
    (event,) = read_events(tmp_path / "a.h5")
    assert event.semantic.tolist() == [4] * 3 + [1] * 4
    assert event.particle.tolist() == [10] * 3 + [11] * 4
    assert event.cluster.tolist() == [0] * 3 + [1] * 4


@pytest.mark.parametrize("width", [5, 6])
def test_without_it_the_width_is_told_by_the_sizes(tmp_path, width):
    rows = [rows_of((3, 4), (4, 1), width), rows_of((2, 1, 5), (4, 0, 2), width)]
    write_raw(tmp_path / "a.h5", *zip(*rows, strict=True))
    one, other = read_events(tmp_path / "a.h5")
    assert one.semantic.tolist() == [4] * 3 + [1] * 4
    assert other.semantic.tolist() == [4] * 2 + [0] + [2] * 5
    assert (one.particle.max() >= 0) == (width == 6)


def ambiguous():
    """Six clusters of version 1 whose sizes sum to 15 as five of version 2 as well."""
    clusters = np.zeros((6, 5), np.int64)
    clusters[:, 0] = [5, 2, 2, 2, 2, 2]
    # Entries 6, 12, 18 and 24 are sizes if the width is six.
    clusters[1, 1], clusters[2, 2], clusters[3, 3], clusters[4, 4] = 1, 3, 3, 3
    points = np.zeros((15, 8), np.float32)
    points[:, 0], points[:, 3] = np.arange(15), 1.0
    return points.ravel(), clusters.ravel()


def test_what_fits_both_versions_is_refused(tmp_path):
    points, clusters = ambiguous()
    assert clusters[::5].sum() == clusters[::6].sum() == 15
    write_raw(tmp_path / "a.h5", [points], [clusters])
    with pytest.raises(StructureError, match="five or six numbers"):
        read_events(tmp_path / "a.h5")
    # Another event of the file decides.
    more = rows_of((3, 4), (4, 1), 5)
    write_raw(tmp_path / "b.h5", [points, more[0]], [clusters, more[1]])
    read = read_events(tmp_path / "b.h5", 0)[0]
    np.testing.assert_array_equal(
        read.semantic, np.repeat([0, 0, 0, 0, 3, 0], [5, 2, 2, 2, 2, 2])
    )


def test_mixed_versions_are_refused(tmp_path):
    rows = [rows_of((3, 4), (4, 1), 5), rows_of((3, 4), (4, 1), 6)]
    write_raw(tmp_path / "a.h5", *zip(*rows, strict=True))
    assert read_events(tmp_path / "a.h5", 0)[0].num_points == 7
    with pytest.raises(StructureError, match=r"a\.h5\[1\]"):
        read_events(tmp_path / "a.h5", 1)


def test_particles_are_kept_by_version_2(tmp_path, events):
    write_events(tmp_path / "a.h5", events, version=2)
    for before, after in zip(events, read_events(tmp_path / "a.h5"), strict=True):
        assert (before.particle >= 0).any()
        for one, other in zip(before, after, strict=True):
            np.testing.assert_array_equal(one, other)
    with pytest.raises(ArgumentError, match="version=3"):
        write_events(tmp_path / "a.h5", events, version=3)


def test_a_voxel_twice_is_one_voxel(tmp_path, events):
    """Each voxel doubled at half its energy is the same event."""
    event = events[0]
    double = make_cloud(*(np.repeat(a, 2, axis=0) for a in event[:-1]))
    half = double._replace(energies=double.energies / 2)
    write_events(tmp_path / "a.h5", [half], version=2)
    (read,) = read_events(tmp_path / "a.h5")
    for one, other in zip(event, read, strict=True):
        np.testing.assert_array_equal(one, other)
