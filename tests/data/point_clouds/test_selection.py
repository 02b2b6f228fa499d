"""Which points a network sees, against the rules of the released implementation."""

import numpy as np
import pytest

from symjax.data.point_clouds import make_cloud, merge_voxels, select_points
from symjax.errors import ArgumentError, StructureError


def test_both_removals_agree_on_events_laid_out_as_published(events):
    empty = 0
    for event in events:
        empty += not (event.semantic == 4).any()
        by_label = select_points(event)
        by_cluster = select_points(event, low_energy="first cluster")
        for one, other in zip(by_label, by_cluster, strict=True):
            np.testing.assert_array_equal(one, other)
    assert empty > 5  # among them events without such deposits


def test_removals_differ_where_the_first_cluster_is_a_particle():
    cloud = make_cloud(
        np.arange(12.0).reshape(4, 3),
        np.ones(4),
        np.array([1, 1, 4, 0]),
        np.array([0, 0, 1, 2]),
    )
    chosen = {
        rule: select_points(cloud, low_energy=rule).semantic.tolist()
        for rule in ("label", "first cluster", "keep")
    }
    assert chosen == {
        "label": [1, 1, 0],
        "first cluster": [4, 0],
        "keep": [1, 1, 4, 0],
    }


def test_bad_selections_are_named():
    cloud = make_cloud(np.zeros((1, 3)), np.ones(1))
    with pytest.raises(ArgumentError, match="low_energy='all'"):
        select_points(cloud, low_energy="all")
    for threshold in (-1.0, float("nan")):
        with pytest.raises(ArgumentError, match="energy_threshold"):
            select_points(cloud, energy_threshold=threshold)
    with pytest.raises(StructureError, match="without a cluster"):
        select_points(cloud, low_energy="first cluster")


def test_merging_keeps_the_energy_and_the_labels_of_the_larger_share():
    x = np.array([[3, 0, 0], [1, 0, 0], [3, 0, -0.0], [3, 0, 0]])
    cloud = make_cloud(
        x, np.array([1.0, 7.0, 2.0, 2.0]), *(np.array([0, 1, 2, 3]) for _ in range(3))
    )
    one = merge_voxels(cloud)
    assert one.positions.tolist() == [[3, 0, 0], [1, 0, 0]]
    assert one.energies.tolist() == [5.0, 7.0]
    for labels in (one.semantic, one.cluster, one.particle):
        assert labels.tolist() == [2, 1]
    assert merge_voxels(one) is one
