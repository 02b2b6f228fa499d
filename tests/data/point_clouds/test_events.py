"""Generated events: reproducible, on the lattice, with plausible physics."""

import dataclasses

import numpy as np
import pytest

from symjax.data.point_clouds import (
    SMALL,
    EventSettings,
    argon,
    generate_event,
    generate_events,
)
from symjax.errors import ArgumentError


def test_a_seed_determines_the_event(events):
    again = generate_event(3, SMALL)
    for one, other in zip(events[3], again, strict=True):
        np.testing.assert_array_equal(one, other)
    assert events[3].num_points != events[4].num_points


def test_points_lie_on_distinct_voxels(events):
    for event in events:
        x = event.positions
        np.testing.assert_array_equal(x, np.round(x))
        assert x.min() >= 0
        assert x.max() < SMALL.size
        assert len(np.unique(x, axis=0)) == len(x) <= SMALL.max_points
        assert (event.energies > SMALL.threshold).all()


def test_all_classes_occur_and_clusters_have_one(events):
    seen = set()
    for event in events:
        assert (np.diff(event.cluster) >= 0).all()
        for cluster in np.unique(event.cluster):
            labels = np.unique(event.semantic[event.cluster == cluster])
            assert len(labels) == 1
            seen |= set(labels.tolist())
    assert seen == set(range(5))


def test_a_muon_deposits_its_energy_along_its_range():
    """The range is the integral of the inverse energy loss."""
    energy = np.linspace(1.0, 100.0, 400)
    loss = [argon.stopping_power(t, argon.MUON_MASS) for t in energy]
    expected = np.trapezoid(1 / np.array(loss), energy)
    settings = EventSettings(
        size=512, tracks=(1, 1), showers=(0, 0), track_energy=(100.0, 100.0)
    )
    lengths, energies = [], []
    for seed in range(40):
        event = generate_event(seed, settings)
        track = event.semantic == 1
        if not (event.semantic == 2).any():
            continue  # no decay electron: not a muon, or it has left
        x = event.positions[track]
        spread = np.linalg.norm(x[:, None] - x[None], axis=-1)
        lengths.append(spread.max() * settings.pitch)
        other = np.isin(event.semantic, (1, 3, 4))
        energies.append(event.energies[other].sum())
    assert len(lengths) > 5
    # shorter than the path, which scattering bends
    assert 0.75 * expected < np.median(lengths) < 1.05 * expected
    assert np.median(energies) == pytest.approx(100, rel=0.15)


def test_showers_deposit_most_of_their_energy():
    settings = EventSettings(
        size=768, tracks=(0, 0), showers=(1, 1), shower_energy=(200.0, 200.0)
    )
    total = [generate_event(seed, settings).energies.sum() for seed in range(12)]
    assert 100 < np.median(total) <= 201


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("size", 0),
        ("pitch", -1.0),
        ("tracks", (3, 1)),
        ("shower_energy", (-1.0, 2.0)),
    ],
)
def test_bad_settings_are_named(field, value):
    with pytest.raises(ArgumentError, match=field):
        dataclasses.replace(SMALL, **{field: value})


def test_other_bad_input():
    with pytest.raises(ArgumentError, match="seed"):
        generate_event(-1)
    with pytest.raises(ArgumentError, match="num"):
        generate_events(-1)
    with pytest.raises(ArgumentError, match="tracks"):
        EventSettings(tracks=(0, 0), showers=(0, 0))
