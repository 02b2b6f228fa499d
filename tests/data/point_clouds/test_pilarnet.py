"""Files of PILArNet-M: round trip, and refusal of what is damaged or foreign."""

import h5py
import numpy as np
import pytest

from symjax.data.point_clouds import (
    SMALL,
    count_events,
    generate_events,
    make_cloud,
    read_events,
    write_events,
)
from symjax.errors import StructureError


@pytest.fixture(scope="module")
def events():
    return generate_events(4, settings=SMALL)


@pytest.fixture
def path(tmp_path, events):
    write_events(tmp_path / "events.h5", events)
    return tmp_path / "events.h5"


def test_round_trip(path, events):
    assert count_events(path) == 4
    for before, after in zip(events, read_events(path), strict=True):
        for one, other in zip(before, after, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("index", "expected"),
    [(2, [2]), (-1, [3]), (slice(1, 3), [1, 2]), ([3, 0], [3, 0])],
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
        count_events(text)
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["positions"] = np.zeros((2, 3))
    with pytest.raises(StructureError, match="positions"):
        count_events(other)
    with pytest.raises(StructureError, match="no such file"):
        count_events(tmp_path / "missing.h5")


def write_raw(path, points, clusters):
    with h5py.File(path, "w") as file:
        for name, rows, dtype in (
            ("point", points, np.float32),
            ("cluster", clusters, np.int64),
        ):
            data = file.create_dataset(name, (len(rows),), h5py.vlen_dtype(dtype))
            for number, row in enumerate(rows):
                data[number] = row


@pytest.mark.parametrize(
    ("points", "clusters", "match"),
    [
        ([np.ones(15)], [[1, 0, 0, 0, 1]], "holds 15 entries"),
        ([np.ones(16)], [[1, 0, 0, 0, 1]], "count 1 points, but there are 2"),
        ([np.ones(16)], [[2, 0, 0, 0]], "holds 4 entries"),
        ([np.ones(8)], [[1, 0, 0, 0, 7]], "is no label"),
        ([np.zeros(0)], [np.zeros(0, int)], "no event with points"),
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
    with pytest.raises(StructureError, match="several labels"):
        write_events(tmp_path / "a.h5", [mixed])
    assert not (tmp_path / "a.h5").exists()
    with pytest.raises(StructureError, match="cannot be written"):
        write_events(tmp_path / "no" / "a.h5", [])
