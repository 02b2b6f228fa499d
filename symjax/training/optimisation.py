"""The training step: micro-batches, devices, optimizer and averaged parameters.

A :class:`Task` defines what is fitted, by initial parameters and a loss. Batches are
pytrees whose leaves have two leading axes: micro-batches, whose gradients are added one
after another, and shards, one for each device.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, PRNGKeyArray

from symjax.training.sections import OptimizerSection

_DEVICES = "devices"


class Loss(Protocol):
    """A loss: a hashable object without arrays; equal losses share a compiled step.

    Arrays that are not trained are passed as ``constants``.
    """

    def __hash__(self) -> int: ...

    def __call__(
        self,
        params: Any,
        statistics: Any,
        constants: Any,
        batch: Any,
        key: PRNGKeyArray,
        totals: Any,
    ) -> tuple[Float[Array, ""], tuple[Any, dict[str, Array]]]:
        """The contribution of one micro-batch of one shard to the loss.

        Args:
          params: Trainable parameters.
          statistics: Running averages.
          constants: Those of the task.
          batch: The micro-batch.
          key: Random key.
          totals: What :meth:`totals` returned for the whole batch.

        Returns:
          The contribution, and a pair of new statistics and its terms by name.
        """
        ...

    def totals(self, batch: Any) -> Any:
        """What the loss is divided by, such as the number of labels.

        Computed from the whole batch, so that a step does not depend on how its batch
        is divided.
        """
        ...


class Task(NamedTuple):
    """What is fitted.

    Attributes:
      params: Initial trainable parameters.
      statistics: Initial running averages, such as those of batch norms.
      constants: Arrays of the loss that are not trained.
      loss: The loss; what it returns is summed over micro-batches and shards.
    """

    params: Any
    statistics: Any
    constants: Any
    loss: Loss


class TrainState(NamedTuple):
    """The state of a fit, from which it can be resumed.

    Attributes:
      step: Number of steps done.
      params: Trainable parameters.
      statistics: Running averages of the model.
      averaged: Exponential moving average of the parameters.
      optimizer: State of the optimizer.
      first_failure: First step whose loss or gradient was not finite; -1 for none. From
        that step on, nothing but ``step`` changes.
    """

    step: Array
    params: Any
    statistics: Any
    averaged: Any
    optimizer: Any
    first_failure: Array


class Schedule(NamedTuple):
    """A learning rate as numbers, so that runs of any schedule share a compiled step.

    Attributes:
      peak: The largest rate.
      warmup: Steps of linear warm-up.
      steps: Steps of the whole run, more than the warm-up.
      final: What the cosine decays to, as a fraction of the peak; 1 for a constant.
    """

    peak: float
    warmup: int
    steps: int
    final: float

    @classmethod
    def of(cls, config: OptimizerSection, steps: int) -> "Schedule":
        """The schedule of a run; a warm-up longer than the run is cut off."""
        final = config.final_fraction if config.schedule == "cosine" else 1.0
        warmup = min(config.warmup, max(steps - 1, 0))
        return cls(config.learning_rate, warmup, max(steps, 1), final)


@jax.jit
def learning_rate(schedule: Schedule, step: Array | int) -> Float[Array, ""]:
    """The learning rate of a step.

    With the peak p, the warm-up w, the number of steps n and the final fraction f, the
    rate of step t = 0, ..., n - 1 is p t / w for t < w, and otherwise

        p (f + (1 - f) (1 + cos(pi (t - w) / (n - w))) / 2).

    Example:
      >>> from symjax.training.optimisation import Schedule, learning_rate
      >>> schedule = Schedule(peak=0.1, warmup=2, steps=6, final=0.01)
      >>> [round(float(learning_rate(schedule, step)), 4) for step in (0, 1, 2, 4)]
      [0.0, 0.05, 0.1, 0.0505]
    """
    peak, warmup, steps, final = schedule
    # In the order of operations of optax, whose schedules are constants of a program.
    rising = peak - peak * (1 - step / jnp.maximum(warmup, 1))
    length = steps - warmup
    angle = jnp.pi * jnp.minimum(step - warmup, length) / length
    falling = peak * ((1 - final) * (0.5 * (1 + jnp.cos(angle))) + final)
    return jnp.where(step < warmup, rising, falling)


def steps_that_count(config: OptimizerSection, steps: int) -> int:
    """The number of steps, or a smaller one with the same learning rates.

    Runs with the same result have the same learning rate at each of their steps. A
    constant rate depends on the number of steps only if a short run cuts the warm-up.

    Example:
      >>> from symjax.training.optimisation import steps_that_count
      >>> from symjax.training.sections import OptimizerSection
      >>> constant = OptimizerSection(schedule="constant", warmup=2)
      >>> [steps_that_count(constant, steps) for steps in (1, 2, 3, 4)]
      [1, 2, 3, 3]
    """
    return steps if config.schedule == "cosine" else min(steps, config.warmup + 1)


def _make_optimizer(config: OptimizerSection) -> optax.GradientTransformation:
    """AdamW with clipped gradients (Loshchilov and Hutter, arXiv:1711.05101).

    Its updates are those of a learning rate of -1. Weights decay; biases and the scales
    of normalisations do not.
    """
    adam = optax.chain(
        optax.scale_by_adam(config.beta1, config.beta2),
        optax.add_decayed_weights(
            config.weight_decay,
            lambda params: jax.tree.map(lambda leaf: leaf.ndim > 1, params),
        ),
    )
    if config.gradient_clip is None:
        return adam
    return optax.chain(optax.clip_by_global_norm(config.gradient_clip), adam)


def start(task: Task, config: OptimizerSection) -> TrainState:
    """The state before the first step, with copies of the arrays of the task."""
    return _initial_state(task.params, task.statistics, config)


@functools.partial(jax.jit, static_argnums=2)
def _initial_state(
    params: Any, statistics: Any, config: OptimizerSection
) -> TrainState:
    # Steps donate their state, so that each leaf needs its own memory.
    copy = functools.partial(jax.tree.map, jnp.copy)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=copy(params),
        statistics=copy(statistics),
        averaged=copy(params),
        optimizer=_make_optimizer(config).init(params),
        first_failure=jnp.full((), -1, jnp.int32),
    )


def gradients(
    loss: Loss,
    params: Any,
    statistics: Any,
    constants: Any,
    batch: Any,
    key: PRNGKeyArray,
    mesh: Mesh | None = None,
) -> tuple[Any, Any, Float[Array, ""], dict[str, Array]]:
    """Computes the loss of a batch and its gradient.

    Arguments are those of the loss, with a batch ``(micro-batches, shards, ...)``, each
    part of which derives its own key, and one device of the mesh for each shard; None
    for one device and one shard.

    Returns:
      The gradient, new statistics, the loss, and its terms by name.

    Raises:
      ValueError: There are several shards and no mesh.
    """
    totals = loss.totals(batch)
    parts, shards = jax.tree.leaves(batch)[0].shape[:2]

    def local(
        params: Any,
        statistics: Any,
        constants: Any,
        batch: Any,
        key: PRNGKeyArray,
        totals: Any,
    ) -> tuple[Any, Any, Array, dict[str, Array]]:
        shard = jax.lax.axis_index(_DEVICES) if mesh is not None else 0
        batch = jax.tree.map(lambda leaf: leaf[:, 0], batch)

        def one(
            statistics: Any, index: Array | int, part: Any
        ) -> tuple[Any, Any, Array, dict[str, Array]]:
            part_key = jax.random.fold_in(key, index * shards + shard)
            (value, (statistics, terms)), gradient = jax.value_and_grad(
                loss, has_aux=True
            )(params, statistics, constants, part, part_key, totals)
            return gradient, statistics, value, terms

        if parts == 1:
            results = one(statistics, 0, jax.tree.map(lambda leaf: leaf[0], batch))
        else:
            shapes = jax.eval_shape(
                one, statistics, 0, jax.tree.map(lambda leaf: leaf[0], batch)
            )
            zeros = jax.tree.map(
                lambda leaf: jnp.zeros(leaf.shape, leaf.dtype),
                (shapes[0], shapes[2], shapes[3]),
            )

            def add(carry: Any, x: Any) -> tuple[Any, None]:
                statistics, sums = carry
                gradient, statistics, value, terms = one(statistics, *x)
                sums = jax.tree.map(jnp.add, sums, (gradient, value, terms))
                return (statistics, sums), None

            (statistics, (gradient, value, terms)), _ = jax.lax.scan(
                add, (statistics, zeros), (jnp.arange(parts), batch)
            )
            results = gradient, statistics, value, terms
        if mesh is None:
            return results
        gradient, statistics, value, terms = results
        gradient, value, terms = jax.lax.psum((gradient, value, terms), _DEVICES)
        return gradient, jax.lax.pmean(statistics, _DEVICES), value, terms

    if mesh is None:
        if shards != 1:
            raise ValueError(f"{shards} shards need a mesh")
        return local(params, statistics, constants, batch, key, totals)
    return jax.shard_map(
        local,
        mesh=mesh,
        in_specs=(P(), P(), P(), P(None, _DEVICES), P(), P()),
        out_specs=(P(), P(), P(), P()),
        check_vma=False,
    )(params, statistics, constants, batch, key, totals)


def device_mesh(num_devices: int) -> Mesh | None:
    """Mesh of the first ``num_devices`` devices; None for a single device."""
    if num_devices == 1:
        return None
    return Mesh(jax.devices()[:num_devices], (_DEVICES,))


def place(batch: Any, mesh: Mesh | None) -> Any:
    """Puts a batch, ``(micro-batches, shards, ...)``, on the devices of a mesh."""
    if mesh is None:
        return jax.device_put(batch)
    return jax.device_put(batch, NamedSharding(mesh, P(None, _DEVICES)))


_NO_SCHEDULE = {
    name: OptimizerSection.model_fields[name].default
    for name in ("learning_rate", "schedule", "warmup", "final_fraction")
}
Step = Callable[[TrainState, Any], tuple[TrainState, dict[str, Array]]]


def make_step(
    task: Task,
    config: OptimizerSection,
    steps: int,
    seed: int,
    mesh: Mesh | None = None,
) -> Step:
    """The compiled step, shared by all runs that differ in schedule, seed or data.

    Args:
      task: What is fitted.
      config: Settings of the optimizer.
      steps: Number of steps of the whole run.
      seed: Seed of all random numbers of the loss, which depend on it and on the number
        of the step.
      mesh: Devices; None for one device.

    Returns:
      ``step(state, batch) -> (state, metrics)``. Metrics are ``loss``, its terms by
      name and ``gradient_norm`` before clipping. The buffers of ``state`` are donated.

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.training.sections import OptimizerSection
      >>> from symjax.training.optimisation import Task, make_step, start
      >>> class Squares:
      ...     def __call__(self, params, statistics, constants, batch, key, totals):
      ...         return jnp.sum((params - batch) ** 2) / totals, (statistics, {})
      ...     def totals(self, batch):
      ...         return batch.size
      >>> task = Task(jnp.zeros(()), {}, {}, Squares())
      >>> config = OptimizerSection(learning_rate=0.1, warmup=0)
      >>> step = make_step(task, config, 100, seed=0)
      >>> state, metrics = step(start(task, config), jnp.ones((1, 1, 4)))
      >>> print(metrics["loss"], int(state.step))
      1.0 1
    """
    # The schedule is an argument of the step rather than a part of it.
    plain = config.model_copy(update=_NO_SCHEDULE)
    step = _compiled_step(task.loss, plain, mesh)
    constants, key = task.constants, jax.random.key(seed)
    schedule = Schedule.of(config, steps)
    return lambda state, batch: step(state, constants, batch, key, schedule)


@functools.lru_cache(maxsize=16)
def _compiled_step(
    loss: Loss, config: OptimizerSection, mesh: Mesh | None
) -> Callable[..., tuple[TrainState, dict[str, Array]]]:
    transformation = _make_optimizer(config)

    @functools.partial(jax.jit, donate_argnums=0)
    def step(
        state: TrainState,
        constants: Any,
        batch: Any,
        key: PRNGKeyArray,
        schedule: Schedule,
    ) -> tuple[TrainState, dict[str, Array]]:
        key = jax.random.fold_in(key, state.step)
        gradient, statistics, value, terms = gradients(
            loss, state.params, state.statistics, constants, batch, key, mesh
        )
        norm = optax.tree.norm(gradient)
        finite = jnp.isfinite(value) & jnp.isfinite(norm)
        failure = jnp.where(
            finite | (state.first_failure >= 0), state.first_failure, state.step
        )

        def learn() -> TrainState:
            updates, optimizer = transformation.update(
                gradient, state.optimizer, state.params
            )
            rate = learning_rate(schedule, state.step)
            updates = jax.tree.map(
                lambda update: jnp.asarray(-rate, update.dtype) * update, updates
            )
            params = optax.apply_updates(state.params, updates)
            # Early averages forget the random start sooner.
            decay = jnp.minimum(config.average, (1 + state.step) / (10 + state.step))
            averaged = jax.tree.map(
                lambda old, new: (decay * old + (1 - decay) * new).astype(old.dtype),
                state.averaged,
                params,
            )
            return TrainState(
                state.step + 1, params, statistics, averaged, optimizer, failure
            )

        def keep() -> TrainState:
            # Parameters of the failed step are kept for its diagnosis.
            return state._replace(step=state.step + 1, first_failure=failure)

        # A branch: jnp.where would read both states.
        new = jax.lax.cond(failure < 0, learn, keep)
        return new, {"loss": value, **terms, "gradient_norm": norm}

    return step
