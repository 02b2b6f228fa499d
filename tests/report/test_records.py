"""What a report stores of an item, by its kind."""

import ase.build
import numpy as np
import pytest

from symjax.data.point_clouds import SMALL, generate_event
from symjax.report.records import heading, numbers


def test_headings_of_structures_events_and_what_could_not_be_read():
    water = heading(ase.build.molecule("H2O"))
    assert (water["formula"], water["num_atoms"], len(water["digest"])) == (
        "H2O",
        3,
        64,
    )
    cloud = generate_event(12, SMALL)
    event = heading(cloud)
    assert event["formula"] == "event"
    assert event["num_atoms"] == int(np.asarray(cloud.mask).sum())
    assert heading(None) == {"formula": "", "num_atoms": 0, "digest": ""}


@pytest.mark.parametrize("call", [heading, lambda item: numbers(item, {}, None)])
def test_other_kinds_of_items_are_refused(call):
    with pytest.raises(TypeError, match="dict is neither a structure nor an event"):
        call({})
