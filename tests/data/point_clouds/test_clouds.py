"""Padded clouds and the scales of coordinates and energies."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from symjax.data.point_clouds import (
    make_cloud,
    normalise_energies,
    pad_cloud,
    select_points,
    voxel_length,
)
from symjax.errors import ArgumentError, StructureError


def cloud(num=5):
    generator = np.random.default_rng(num)
    return make_cloud(
        generator.uniform(0, 100, (num, 3)),
        generator.uniform(0, 5, num),
        generator.integers(0, 5, num),
        generator.integers(0, 3, num),
    )


@given(st.integers(5, 40))
def test_padding_changes_nothing_real(size):
    one = cloud()
    padded = pad_cloud(one, size)
    assert padded.num_points == 5
    for before, after in zip(one, padded, strict=True):
        np.testing.assert_array_equal(before, after[:5])
        assert after.shape[0] == size
    assert not padded.mask[5:].any()
    assert (padded.semantic[5:] == -1).all()


@given(st.floats(1e-3, 15.0))
def test_energies_match_the_published_transform(energy):
    """2 (log10(e + t) - log10 t) / (log10(m + t) - log10 t) - 1, t = 0.13, m = 20."""
    low, high = np.log10(0.13), np.log10(20.0 + 0.13)
    expected = 2 * (np.log10(energy + 0.13) - low) / (high - low) - 1
    np.testing.assert_allclose(normalise_energies(energy), expected, atol=1e-12)


def test_the_corners_of_the_detector_have_distance_1():
    np.testing.assert_allclose(voxel_length(768) * 768 * np.sqrt(3), 2)


def test_selection_drops_low_energy():
    one = make_cloud(
        np.arange(12.0).reshape(4, 3),
        np.array([0.13, 0.14, 5.0, 5.0]),
        np.array([1, 1, 4, 0]),
    )
    assert select_points(one).energies.tolist() == pytest.approx([0.14, 5.0])
    assert select_points(one, low_energy="keep").num_points == 3


@pytest.mark.parametrize(
    ("positions", "energies", "labels", "argument"),
    [
        (np.zeros((0, 3)), np.zeros(0), None, "energies"),
        (np.zeros((2, 2)), np.ones(2), None, "positions"),
        (np.full((2, 3), np.nan), np.ones(2), None, "positions, energies"),
        (np.zeros((2, 3)), np.array([1.0, -1.0]), None, "energies"),
        (np.zeros((2, 3)), np.ones(2), np.array([0, 5]), "semantic"),
        (np.zeros((2, 3)), np.ones(2), np.array([0.0, 1.0]), "semantic"),
        (np.zeros((2, 3)), np.ones(2), np.array([0]), "semantic"),
    ],
)
def test_bad_arrays_are_named(positions, energies, labels, argument):
    with pytest.raises(StructureError) as caught:
        make_cloud(positions, energies, labels)
    assert caught.value.argument == argument


def test_other_bad_input():
    with pytest.raises(ArgumentError, match="num_points"):
        pad_cloud(cloud(), 4)
    with pytest.raises(ArgumentError, match="size"):
        voxel_length(0)
    with pytest.raises(ArgumentError, match="threshold"):
        normalise_energies(1.0, threshold=0)
    with pytest.raises(StructureError, match="no point"):
        select_points(cloud(), energy_threshold=100)
