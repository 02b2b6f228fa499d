"""What breaks the symmetry of an event: network, tokens, voxels."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_models import drawn_pointmae

from symjax.data.point_clouds import (
    SMALL,
    generate_event,
)
from symjax.metrics import Output, Problem, measure
from symjax.models.pointmae import breaking_problem
from symjax.models.pointmae.source import prepare_cloud
from symjax.runs.breaking import measure_breaking
from symjax.so3 import FEATURE
from symjax.so3.finite_groups import finite_group

# As in test_events, so that one program measures it.
EVENT = generate_event(12, SMALL)


@pytest.fixture(scope="module")
def model():
    return drawn_pointmae()


def shares(x):
    """Probabilities of four classes for each of three points, by each source."""
    given = {
        name: jax.nn.softmax(
            scale * jnp.stack([x[:, 0], x[:, 1] * x[:, 2], x[:, 1], x[:, 2] ** 3], -1)
        )
        for name, scale in (("network", 1.0), ("all", 2.0))
    }
    apart = given["all"] - given["network"]
    return given | {"tokenisation": apart, "voxelisation": 0.5 * apart}


def test_sources_are_those_of_the_general_measurement():
    """The content over O_h and the errors, of points that are real."""
    x = np.random.default_rng(0).normal(size=(3, 3))
    output = Output(FEATURE, mask=np.array([True, True, False]), samples=np.arange(3))
    names = ("network", "tokenisation", "voxelisation", "all")
    problem = Problem(shares, x, dict.fromkeys(names, output))
    cubic, full = measure_breaking(problem, samples=8)
    assert full.num_elements == 8
    assert cubic.num_points == 2
    assert cubic.labels.frequencies.shape == (2, 4)
    expected = measure(problem, over=finite_group("Oh"), batch_size=8)
    assert cubic.content == pytest.approx(expected["all"].content, abs=1e-9)
    assert cubic.network == pytest.approx(expected["network"].equivariance_error)
    assert cubic.total == pytest.approx(expected["all"].equivariance_error)
    z = np.stack(
        [shares(x @ g.T)["tokenisation"][:2] for g in finite_group("Oh").elements]
    )
    assert cubic.tokenisation == pytest.approx(np.sqrt(np.mean(z**2)))
    assert cubic.voxelisation == pytest.approx(cubic.tokenisation / 2)


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
