"""A tiny model and a small event, shared by the tests of the model."""

import pytest
from small_models import EVENT_CONFIG, drawn_pointmae

from symjax.data.point_clouds import SMALL, generate_event, pad_cloud, select_points


@pytest.fixture(scope="session")
def config():
    return EVENT_CONFIG


@pytest.fixture(scope="session")
def model():
    return drawn_pointmae()


@pytest.fixture(scope="session")
def event():
    return pad_cloud(select_points(generate_event(12, SMALL)), 96)
