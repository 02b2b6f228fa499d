"""The whole network on one event: what each head may see."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symjax.models.pointmae import PointMAE, make_event, tokenise
from symjax.models.pointmae.grouping import gather_groups
from symjax.models.pointmae.losses import random_hidden
from symjax.models.pointmae.model import evaluate_heads


@pytest.fixture(scope="module")
def inputs(model, event):
    read = make_event(model.config, event, np.float64)
    assignment = tokenise(model.config, read)
    hidden = random_hidden(jax.random.key(0), assignment.mask, 0.6)
    return read, assignment, hidden


@pytest.fixture(scope="module")
def run(model):
    return jax.jit(
        lambda *arguments: evaluate_heads(model.config, model.parameters, *arguments)
    )


def test_shapes(run, inputs, model, event):
    logits, filled, groups, _ = run(*inputs)
    assert logits.shape == (len(event.mask), 4)
    assert filled.points.shape == (32, 6, 4)
    assert filled.energies.shape == (32, 6)
    assert groups.points.shape == (32, 6, 4)


def test_the_encoder_does_not_see_hidden_tokens(run, inputs, model):
    """Moving points of hidden tokens leaves the reconstruction of positions alone."""
    event, assignment, hidden = inputs
    seen = np.asarray(assignment.members)[~np.asarray(hidden)]
    centers = np.asarray(assignment.centers)
    free = np.setdiff1d(
        np.flatnonzero(event.mask), np.concatenate([seen.ravel(), centers])
    )
    assert len(free) > 3
    moved = event._replace(
        positions=event.positions.at[free].add(0.01),
        energies=event.energies.at[free].add(0.3),
    )
    one, other = run(*inputs)[1], run(moved, assignment, hidden)[1]
    np.testing.assert_allclose(one.points, other.points, atol=1e-12)
    # the energy decoder reads the positions, but not the energies
    recolored = event._replace(energies=moved.energies)
    third = run(recolored, assignment, hidden)[1]
    real = np.asarray(hidden)
    np.testing.assert_allclose(one.energies[real], third.energies[real], atol=1e-12)
    assert (np.asarray(one.energies)[real] != np.asarray(other.energies)[real]).any()


def test_gradients_are_finite_even_without_points(model, inputs):
    event, assignment, hidden = inputs
    config = model.config
    empty = event._replace(mask=jnp.zeros_like(event.mask))
    nothing = assignment._replace(
        mask=jnp.zeros_like(assignment.mask),
        members=jnp.full_like(assignment.members, -1),
        neighbors=jnp.full_like(assignment.neighbors, -1),
    )

    def loss(params, event, assignment):
        variables = {**model.parameters, "params": params}
        logits, filled, _, _ = evaluate_heads(
            config, variables, event, assignment, hidden
        )
        return jnp.sum(logits**2) + jnp.sum(filled.points**2)

    gradient = jax.jit(jax.grad(loss))
    for pair in ((event, assignment), (empty, nothing)):
        leaves = jax.tree.leaves(gradient(model.parameters["params"], *pair))
        assert all(np.isfinite(leaf).all() for leaf in leaves)


def test_encode_without_heads(model, inputs):
    event, assignment, _ = inputs
    groups = gather_groups(model.config, assignment, event.positions, event.energies)
    network = PointMAE(model.config)
    out = jax.eval_shape(
        lambda: network.apply(model.parameters, groups, method=PointMAE.encode)
    )
    assert out.shape == (32, 16)
