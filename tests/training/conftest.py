"""A fresh model with its data, which tests of several files only read."""

from typing import Any, NamedTuple

import pytest
from small_models import EVENT_CONFIG
from water_runs import TARGETS, TINY, frames

from symjax.data.point_clouds import SMALL, generate_events, select_points
from symjax.models.pet import PETConfig
from symjax.training.baselines import fresh_model, loss_units, subtract_baselines
from symjax.training.batches import prepare_data
from symjax.training.fitted import labels_of
from symjax.training.masked import prepare_events
from symjax.training.sections import TargetSection


class Fitted(NamedTuple):
    """A model, data without its baselines, what is fitted, and its spread."""

    model: Any
    data: Any
    labels: Any
    size: Any


@pytest.fixture(scope="session")
def fitted():
    sections = {
        name: TargetSection(**{**section, "loss": "squared"})
        for name, section in TARGETS.items()
    }
    targets = tuple(section.target(name) for name, section in sections.items())
    config = PETConfig((1, 7, 8), targets, **TINY)
    labels = labels_of(sections, config)
    data = prepare_data(frames(), sections, config)
    model = fresh_model(config, labels, data, 0, "pet")
    data = subtract_baselines(config, data, model.parameters["baseline"])
    return Fitted(model, data, labels, loss_units(labels, data))


@pytest.fixture(scope="session")
def samples():
    """Six events of at most 200 points."""
    clouds = [select_points(e) for e in generate_events(20, settings=SMALL)]
    small = [cloud for cloud in clouds if cloud.num_points <= 200]
    return prepare_events(EVENT_CONFIG, small[:6], 200)
