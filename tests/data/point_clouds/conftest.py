"""What tests of events share."""

import pytest

from symjax.data.point_clouds import SMALL, generate_events


@pytest.fixture(scope="session")
def events():
    """Small ones, among them some without scattered deposits."""
    return generate_events(16, settings=SMALL)
