"""The step: plain optax, micro-batches, devices, averages, failures."""

import dataclasses
import subprocess
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from symjax.so3 import MATRIX, VECTOR, act, spherical
from symjax.so3.action import act_on_samples
from symjax.training.augmentation import random_elements
from symjax.training.optimisation import (
    Task,
    gradients,
    learning_rate,
    make_step,
    place,
    start,
)
from symjax.training.sections import OptimizerSection

CONFIG = OptimizerSection(
    learning_rate=0.1, warmup=2, weight_decay=0.1, gradient_clip=0.5, average=0.5
)

VECTOR_1 = dataclasses.replace(VECTOR, has_channels=True)


def loss(params, statistics, batch, key, totals):
    value = jnp.sum((batch @ params["w"] + params["b"]) ** 2) / totals
    return value, ({"seen": statistics["seen"] + 1}, {"square": value})


TASK = Task(
    {"w": jnp.arange(6.0).reshape(3, 2), "b": jnp.ones(2)},
    {"seen": jnp.zeros(())},
    loss,
    lambda batch: np.prod(batch.shape[:-1]),
)
BATCH = jax.random.normal(jax.random.key(0), (1, 1, 8, 3))


def test_a_step_is_one_of_plain_optax():
    """Clipping, AdamW with decay of matrices alone, warm-up and cosine.

    Schedules are computed in float32.
    """
    steps = 5
    schedule = optax.warmup_cosine_decay_schedule(0.0, 0.1, 2, steps, 0.001)
    plain = optax.chain(
        optax.clip_by_global_norm(0.5),
        optax.adamw(schedule, weight_decay=0.1, mask={"w": True, "b": False}),
    )
    step, state = make_step(TASK, CONFIG, steps, 0), start(TASK, CONFIG, steps)
    params, averaged = TASK.params, TASK.params
    memory = plain.init(params)
    for number in range(steps):
        value, gradient = jax.value_and_grad(
            lambda p: jnp.mean(jnp.sum((BATCH[0, 0] @ p["w"] + p["b"]) ** 2, -1))
        )(params)
        updates, memory = plain.update(gradient, memory, params)
        params = optax.apply_updates(params, updates)
        decay = min(0.5, (1 + number) / (10 + number))
        averaged = jax.tree.map(
            lambda a, p, decay=decay: decay * a + (1 - decay) * p, averaged, params
        )
        state, metrics = step(state, BATCH)
        np.testing.assert_allclose(metrics["loss"], value, rtol=1e-12)
        np.testing.assert_allclose(
            metrics["gradient_norm"], optax.tree.norm(gradient), rtol=1e-12
        )
    for mine, theirs in ((state.params, params), (state.averaged, averaged)):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), mine, theirs
        )
    assert int(state.statistics["seen"]) == int(state.step) == steps


def test_micro_batches_make_the_same_step():
    """Equal to rounding: sums are added in another order."""
    key = jax.random.key(1)
    whole = gradients(TASK, TASK.params, TASK.statistics, BATCH, key)
    parts = BATCH.reshape(4, 1, 2, 3)
    divided = gradients(TASK, TASK.params, TASK.statistics, parts, key)
    for index in (0, 2, 3):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12),
            whole[index],
            divided[index],
        )
    assert int(divided[1]["seen"]) == 4


def test_schedules():
    rate = learning_rate(CONFIG, 10)
    reference = optax.warmup_cosine_decay_schedule(0.0, 0.1, 2, 10, 0.001)
    for step in range(11):
        np.testing.assert_allclose(rate(step), reference(step), rtol=1e-6)
    constant = CONFIG.model_copy(update={"schedule": "constant", "warmup": 0})
    assert float(learning_rate(constant, 10)(7)) == pytest.approx(0.1)


def test_nothing_is_learnt_from_a_step_that_failed():
    step, state = make_step(TASK, CONFIG, 10, 0), start(TASK, CONFIG, 10)
    state, _ = step(state, BATCH)
    before = jax.device_get(state)
    state, metrics = step(state, BATCH.at[0, 0, 3, 1].set(jnp.nan))
    assert not np.isfinite(metrics["loss"])
    state, metrics = step(state, BATCH)
    assert int(state.first_failure) == 1
    assert np.isfinite(metrics["loss"])
    for part in ("params", "averaged", "optimizer", "statistics"):
        jax.tree.map(
            np.testing.assert_array_equal, getattr(before, part), getattr(state, part)
        )


def test_shards_need_a_mesh():
    with pytest.raises(ValueError, match="need a mesh"):
        gradients(
            TASK,
            TASK.params,
            TASK.statistics,
            jnp.zeros((1, 2, 4, 3)),
            jax.random.key(0),
        )
    assert place(np.zeros((1, 1, 2)), None).shape == (1, 1, 2)


def test_two_devices_make_the_same_step():
    """In a process of its own, whose CPU counts as two devices."""
    program = """
    import jax, jax.numpy as jnp, numpy as np
    jax.config.update("jax_num_cpu_devices", 2)
    jax.config.update("jax_enable_x64", True)
    from symjax.training.optimisation import Task, device_mesh, gradients, place
    def loss(params, statistics, batch, key, totals):
        noise = jax.random.normal(key, ())
        value = jnp.sum((batch @ params) ** 2 + noise) / totals
        return value, ({"mean": jnp.mean(batch)}, {"square": value})
    task = Task(jnp.arange(3.0), {"mean": jnp.zeros(())}, loss,
                lambda batch: np.prod(batch.shape[:-1]))
    batch = np.random.default_rng(0).normal(size=(2, 2, 4, 3))
    key, mesh = jax.random.key(0), device_mesh(2)
    placed = place(batch, mesh)
    assert len(placed.sharding.device_set) == 2
    ours = jax.jit(
        lambda b: gradients(task, task.params, task.statistics, b, key, mesh))(placed)
    other = gradients(task, task.params, task.statistics,
                      batch.reshape(4, 1, 4, 3), key)
    for index in (0, 2):
        np.testing.assert_allclose(ours[index], other[index], rtol=1e-12)
    np.testing.assert_allclose(ours[1]["mean"], batch[1].mean(), rtol=1e-12)
    print("equal")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "equal", done.stderr


@pytest.mark.parametrize(
    "representation",
    [VECTOR, MATRIX, spherical(0, -1), spherical(1, -1), spherical(3, 1)],
    ids=str,
)
def test_every_sample_turns_with_its_own_element(representation):
    elements = random_elements(jax.random.key(0), 4)
    values = jax.random.normal(jax.random.key(1), (4, *representation.shape, 2))
    channels = dataclasses.replace(representation, has_channels=True)
    turned = act_on_samples(channels, elements, values)
    for element, value, result in zip(elements, values, turned, strict=True):
        np.testing.assert_allclose(act(channels, element, value), result, atol=1e-12)


def test_an_equivariant_model_does_not_notice_augmentation():
    """Its gradient is that of the given orientation, element by element.

    The model is sum_j w(|r_j|) r_j, an exactly equivariant vector, fitted to vectors.
    """
    positions = jax.random.normal(jax.random.key(0), (5, 7, 3))
    reference = jax.random.normal(jax.random.key(1), (5, 3))

    def at(params, elements):
        turned = jnp.einsum("sij,snj->sni", elements, positions)
        lengths = jnp.linalg.norm(turned, axis=-1, keepdims=True)
        predicted = jnp.sum(jnp.polyval(params, lengths) * turned, axis=1)
        wanted = act_on_samples(VECTOR_1, elements, reference[..., None])[..., 0]
        return jnp.sum((predicted - wanted) ** 2)

    params = jnp.array([0.3, -0.2, 0.5])
    plain = jax.grad(at)(params, jnp.broadcast_to(jnp.eye(3), (5, 3, 3)))
    for seed in range(3):
        turned = jax.grad(at)(params, random_elements(jax.random.key(seed), 5))
        np.testing.assert_allclose(turned, plain, rtol=1e-10)
