"""The step: plain optax, micro-batches, devices, averages, failures."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from symjax.training.optimisation import (
    Schedule,
    Task,
    device_mesh,
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


@dataclasses.dataclass(frozen=True)
class Squares:
    """Of a linear function of a batch, whose constant term is not trained."""

    traced: Callable[[], None] = lambda: None

    def __call__(self, params, statistics, constants, batch, key, totals):
        self.traced()
        value = jnp.sum((batch @ params["w"] + params["b"] + constants) ** 2) / totals
        return value, ({"seen": statistics["seen"] + 1}, {"square": value})

    def totals(self, batch):
        return np.prod(batch.shape[:-1])


TASK = Task(
    params={"w": jnp.arange(6.0).reshape(3, 2), "b": jnp.ones(2)},
    statistics={"seen": jnp.zeros(())},
    constants=jnp.zeros(()),
    loss=Squares(),
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
    step, state = make_step(TASK, CONFIG, steps, 0), start(TASK, CONFIG)
    params, averaged = TASK.params, TASK.params
    memory = plain.init(params)

    @jax.jit
    def expected(params, averaged, memory, decay):
        value, gradient = jax.value_and_grad(
            lambda p: jnp.mean(jnp.sum((BATCH[0, 0] @ p["w"] + p["b"]) ** 2, -1))
        )(params)
        updates, memory = plain.update(gradient, memory, params)
        params = optax.apply_updates(params, updates)
        averaged = jax.tree.map(
            lambda a, p: decay * a + (1 - decay) * p, averaged, params
        )
        return params, averaged, memory, value, optax.tree.norm(gradient)

    for number in range(steps):
        decay = min(0.5, (1 + number) / (10 + number))
        params, averaged, memory, value, norm = expected(
            params, averaged, memory, decay
        )
        state, metrics = step(state, BATCH)
        np.testing.assert_allclose(metrics["loss"], value, rtol=1e-12)
        np.testing.assert_allclose(metrics["gradient_norm"], norm, rtol=1e-12)
    for mine, theirs in ((state.params, params), (state.averaged, averaged)):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), mine, theirs
        )
    assert int(state.statistics["seen"]) == int(state.step) == steps


def test_equal_losses_share_a_compiled_step():
    """Whatever their parameters, constants and seeds; other settings do not."""
    traces = []
    loss = Squares(functools.partial(traces.append, 1))
    for scale, average, expected in ((1, 0.5, 1), (2, 0.5, 1), (2, 0.9, 2)):
        task = TASK._replace(
            params={name: scale * leaf for name, leaf in TASK.params.items()},
            constants=jnp.asarray(float(scale)),
            loss=dataclasses.replace(loss),
        )
        config = CONFIG.model_copy(update={"average": average})
        step, state = make_step(task, config, 5, scale), start(task, config)
        _, metrics = step(state, BATCH)
        assert len(traces) == expected
        wanted, *_ = task.loss(*task[:3], BATCH[0, 0], None, 8)
        traces.pop()
        np.testing.assert_allclose(metrics["loss"], wanted, rtol=1e-12)


def test_schedules_share_a_compiled_step():
    """Runs of any length and rate, each of which learns at its own rate."""
    traces = []
    task = TASK._replace(loss=Squares(functools.partial(traces.append, 1)))
    for steps, changes in (
        (5, {}),
        (9, {}),
        (9, {"learning_rate": 0.2}),
        (9, {"schedule": "constant"}),
        (9, {"warmup": 0, "final_fraction": 0.5}),
    ):
        config = CONFIG.model_copy(update=changes)
        step, state = make_step(task, config, steps, 0), start(task, config)
        for _ in range(4):
            before = np.asarray(state.params["b"])
            state, _ = step(state, BATCH)
        # Where every gradient has the same sign, Adam's step is about its rate.
        moved = np.abs(np.asarray(state.params["b"]) - before)
        rate = learning_rate(Schedule.of(config, steps), 3)
        np.testing.assert_allclose(moved, rate, rtol=0.15)
    assert len(traces) == 1


def test_micro_batches_make_the_same_step():
    """Equal to rounding: sums are added in another order."""
    compiled = jax.jit(functools.partial(gradients, TASK.loss, *TASK[:3]))
    parts, key = BATCH.reshape(4, 1, 2, 3), jax.random.key(1)
    whole, divided = compiled(BATCH, key), compiled(parts, key)
    for index in (0, 2, 3):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12),
            whole[index],
            divided[index],
        )
    assert int(divided[1]["seen"]) == 4


@pytest.mark.parametrize("steps", [1, 2, 3, 10])
def test_schedules(steps):
    """Those of optax, also where a run ends within its warm-up."""
    warmup = min(2, steps - 1)
    cosine = optax.warmup_cosine_decay_schedule(0.0, 0.1, warmup, steps, 0.001)
    schedule = Schedule.of(CONFIG, steps)
    for step in range(steps + 1):
        np.testing.assert_allclose(
            learning_rate(schedule, step), cosine(step), rtol=1e-6
        )
    constant = CONFIG.model_copy(update={"schedule": "constant"})
    rates = [learning_rate(Schedule.of(constant, steps), n) for n in range(steps)]
    np.testing.assert_allclose(rates[warmup:], 0.1, rtol=1e-6)


def test_nothing_is_learnt_from_a_step_that_failed():
    step, state = make_step(TASK, CONFIG, 10, 0), start(TASK, CONFIG)
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
        gradients(TASK.loss, *TASK[:3], jnp.zeros((1, 2, 4, 3)), jax.random.key(0))
    assert place(np.zeros((1, 1, 2)), None).shape == (1, 1, 2)


class Noisy(Squares):
    """With a random number of each part, and statistics of its own."""

    def __call__(self, params, statistics, constants, batch, key, totals):
        value, (_, terms) = super().__call__(
            *(params, statistics, constants, batch, key, totals)
        )
        noise = jax.random.normal(key, ()) / totals
        return value + noise, ({"seen": jnp.mean(batch)}, terms)


def test_two_devices_make_the_same_step():
    """Those of two micro-batches on one device; statistics are means over devices."""
    key, mesh = jax.random.key(1), device_mesh(2)
    step = functools.partial(gradients, Noisy(), *TASK[:3])
    batch = BATCH.reshape(2, 2, 2, 3)
    placed = place(batch, mesh)
    assert len(placed.sharding.device_set) == 2
    ours = jax.jit(lambda batch: step(batch, key, mesh))(placed)
    other = jax.jit(lambda batch: step(batch, key))(batch.reshape(4, 1, 2, 3))
    for index in (0, 2, 3):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12),
            ours[index],
            other[index],
        )
    np.testing.assert_allclose(ours[1]["seen"], np.mean(batch[1]), rtol=1e-12)
