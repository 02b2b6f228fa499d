"""Events on the scale of the network, and contexts with room for their tokens."""

import dataclasses

import numpy as np
import pytest

from symjax.errors import ModelError
from symjax.models.pointmae import make_event, tokenise
from symjax.models.pointmae.inputs import check_inside, with_room


def test_scales(config, event):
    """Corners of the detector at distance 1; energies on [-1, 1]; padding at 0."""
    made, mask = make_event(config, event, np.float64), np.asarray(event.mask)
    length = np.sqrt(3) * config.detector_size / 2
    expected = (np.asarray(event.positions) - config.middle) / length
    np.testing.assert_allclose(made.positions[mask], expected[mask], rtol=1e-12)
    assert not np.asarray(made.positions)[~mask].any()
    offset, most = config.energy_offset, config.energy_maximum
    energies = np.asarray(event.energies, float)[mask]
    scaled = 2 * np.log(energies / offset + 1) / np.log(most / offset + 1) - 1
    np.testing.assert_allclose(made.energies[mask], scaled, rtol=1e-6)


@pytest.mark.parametrize(
    ("found", "spare", "context", "length"),
    [
        (1, 0, 512, 32),
        (33, 0, 512, 64),
        (257, 0, 512, 320),
        (250, 10, 512, 320),
        (40, 0, 48, 48),
        (600, 0, 512, 640),
    ],
)
def test_contexts_of_few_lengths(config, found, spare, context, length):
    wide = dataclasses.replace(config, context_length=context)
    assert with_room(wide, found, spare).context_length == length


def test_an_event_of_another_detector(config, event):
    check_inside(config, event)
    far = event._replace(positions=4 * np.asarray(event.positions))
    with pytest.raises(ModelError, match="points of the event are outside"):
        check_inside(config, far)


def test_an_event_without_points_has_no_token(config, event):
    nothing = event._replace(mask=np.zeros_like(event.mask))
    with pytest.raises(ModelError, match="no token"):
        tokenise(config, make_event(config, nothing, np.float32))
