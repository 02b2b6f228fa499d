"""A Point-MAE in a run: padding of events, and options that events do not have."""

import dataclasses

import ase.build
import numpy as np
import pytest

from symjax.data.point_clouds import SMALL, generate_event
from symjax.errors import ArgumentError, ModelError
from symjax.models.pointmae.inputs import seen_points
from symjax.models.pointmae.source import PointMAESource, padded_size, selection_line
from symjax.runs import Options


def test_few_sizes_each_with_little_room():
    sizes = [padded_size(number) for number in range(1, 3000)]
    assert sorted(set(sizes))[:6] == [64, 96, 128, 192, 256, 384]
    for number, size in enumerate(sizes, start=1):
        assert number <= size < max(65, 1.5 * number + 1)


def test_an_event_is_selected_and_padded(model):
    cloud = generate_event(12, SMALL)
    prepared, size = PointMAESource(model).prepare("one", cloud, None)
    seen = seen_points(model.config, cloud)
    assert size == len(prepared.mask) == padded_size(seen.num_points)
    real = np.asarray(prepared.mask)
    np.testing.assert_array_equal(prepared.positions[real], seen.positions[seen.mask])


def test_refusals(model):
    source = PointMAESource(model)
    with pytest.raises(ModelError, match="water, which is not an event"):
        source.prepare("water", ase.build.molecule("H2O"), None)
    far = generate_event(12, SMALL)
    far = far._replace(positions=4 * np.asarray(far.positions))
    with pytest.raises(ModelError, match="points of far are outside the detector"):
        source.prepare("far", far, None)
    for options in (Options(symmetry=True), Options(energy="energy")):
        with pytest.raises(ArgumentError, match=r"events|structures"):
            source.settings(options)
    with pytest.raises(ModelError, match="matches no layer"):
        source.settings(Options(layers="nothing"))


def test_what_is_read_is_said(model):
    threshold = dataclasses.replace(model.config, energy_threshold=0.13)
    keep = dataclasses.replace(threshold, energy_threshold=0.0, low_energy="keep")
    lines = [
        selection_line(dataclasses.replace(model, config=one))
        for one in (threshold, keep)
    ]
    assert lines[0].startswith("voxels above 0.13 MeV")
    assert lines[1] == "voxels of any energy"
    said = PointMAESource(model).settings(Options(layers="none"))
    assert said == {"points": selection_line(model)}


def test_breaking_needs_classes(model, event):
    bare = dataclasses.replace(model.config, num_classes=0)
    source = PointMAESource(dataclasses.replace(model, config=bare))
    assert source.breaking(event, Options()) is None
