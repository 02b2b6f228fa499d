"""What breaks the symmetry of an event: network, tokens, voxels."""

import dataclasses

import pytest
from small_models import drawn_pointmae

from symjax.data.point_clouds import (
    SMALL,
    generate_event,
)
from symjax.metrics import measure
from symjax.models.pointmae import breaking_problem
from symjax.models.pointmae.source import prepare_cloud
from symjax.runs.breaking import measure_breaking
from symjax.so3.finite_groups import finite_group

# One for all, so that one program measures it.
EVENT = generate_event(1_000_000, SMALL)


@pytest.fixture(scope="module")
def model():
    return drawn_pointmae()


def test_sources_of_one_event(model):
    event = prepare_cloud(model, "a", EVENT)
    cubic, full = measure_breaking(breaking_problem(model, event), samples=8)
    assert cubic.network > 0
    assert full.num_elements == 8
    assert cubic.labels.frequencies.shape == (event.num_points, 4)
    # The content over O_h, and the errors, are those of the general measurement.
    problem = breaking_problem(model, event)
    expected = measure(problem, over=finite_group("Oh"), batch_size=8)
    assert cubic.content == pytest.approx(expected["all"].content, abs=1e-9)
    assert cubic.network == pytest.approx(expected["network"].equivariance_error)
    assert cubic.total == pytest.approx(expected["all"].equivariance_error)


@pytest.mark.parametrize("coarse", [False, True])
def test_voxels_break_nothing_under_the_group_of_the_lattice(model, coarse):
    """Of tokens with lattice points exactly on their surface, too.

    The event is the same before and after voxelisation, so that both tokenisations
    must decide every tie alike, in the published tokens of 25 voxels from 256 seeds as
    well.
    """
    changes = {"num_seeds": 256, "mean_centers": True} if coarse else {}
    model = dataclasses.replace(
        model, config=dataclasses.replace(model.config, **changes)
    )
    event = prepare_cloud(model, "a", EVENT)
    cubic, full = measure_breaking(breaking_problem(model, event), samples=8)
    assert cubic.voxelisation == 0
    assert full.voxelisation > 1e-4
    assert full.total > 1e-4
