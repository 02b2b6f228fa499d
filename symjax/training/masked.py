"""Fitting Point-MAE: hidden tokens, and labels of points, with augmentation by O(3)."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from symjax.data.point_clouds import PointCloud, pad_cloud
from symjax.errors import ArgumentError
from symjax.models.pointmae.config import PointMAEConfig
from symjax.models.pointmae.grouping import Assignment, gather_groups
from symjax.models.pointmae.losses import (
    chamfer_loss,
    energy_infilling_loss,
    focal_loss,
    random_hidden,
)
from symjax.models.pointmae.model import Event, PointMAEModel, make_event, tokenise
from symjax.models.pointmae.modules import PointMAE
from symjax.training.augmentation import random_elements

_AXIS = "events"


class EventSamples(NamedTuple):
    """Events of one padded shape with their tokens and labels, along a leading axis.

    Rotations do not change which points belong to a token (but for ties), so the
    tokens are those of the given orientation, found once.

    Attributes:
      events: Normalised events.
      assignments: Their tokens.
      labels: Label of each point, -1 where it is unknown.

    Example:
      >>> from symjax.training.masked import EventSamples
      >>> EventSamples._fields
      ('events', 'assignments', 'labels')
    """

    events: Event
    assignments: Assignment
    labels: Int[Array | np.ndarray, "num points"]


@dataclasses.dataclass(frozen=True)
class MaskedSettings:
    """How a Point-MAE is fitted.

    Attributes:
      steps: Number of optimisation steps.
      batch_size: Events in each step, drawn with replacement.
      learning_rate: Peak of the cosine schedule.
      weight_decay: Of AdamW.
      reconstruction: Weight of hidden tokens: Chamfer distance and energies.
      segmentation: Weight of the focal loss of the labels; 0 for pretraining.
      augment: Whether every event is turned by a random element of O(3).
      average: Decay of the exponential average of the parameters that is returned.
      seed: Of batches, elements and hidden tokens.

    Raises:
      ArgumentError: A field has an impossible value.

    Example:
      >>> from symjax.training.masked import MaskedSettings
      >>> MaskedSettings(steps=10).segmentation
      0.0
    """

    steps: int
    batch_size: int = 16
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    reconstruction: float = 1.0
    segmentation: float = 0.0
    augment: bool = True
    average: float = 0.998
    seed: int = 0

    def __post_init__(self) -> None:
        for field in ("steps", "batch_size"):
            value = getattr(self, field)
            if not isinstance(value, int) or value < 1:
                raise ArgumentError(field, value, "is not a count", "Pass 1 or more")
        if not self.learning_rate > 0:
            raise ArgumentError(
                "learning_rate", self.learning_rate, "is not positive", "Pass 1e-3"
            )
        if not 0 <= self.average < 1:
            raise ArgumentError(
                "average", self.average, "is not in [0, 1)", "Pass 0.99, or 0 for none"
            )
        for field in ("reconstruction", "segmentation", "weight_decay"):
            if not getattr(self, field) >= 0:
                raise ArgumentError(
                    field, getattr(self, field), "is negative", "Pass 0 or more"
                )
        if self.reconstruction == self.segmentation == 0:
            raise ArgumentError(
                "segmentation", 0, "nothing is fitted", "Give one loss a weight"
            )


class MaskedState(NamedTuple):
    """Everything a fit needs to go on from where it stopped.

    Example:
      >>> from symjax.training.masked import MaskedState
      >>> MaskedState._fields[0]
      'step'
    """

    step: Array
    params: Any
    statistics: Any
    averaged: Any
    optimizer: Any
    key: Array


def prepare_events(
    config: PointMAEConfig, clouds: list[PointCloud], num_points: int | None = None
) -> EventSamples:
    """Pads, normalises and tokenises events.

    Args:
      config: Hyperparameters.
      clouds: The events.
      num_points: Number of points to pad to; by default those of the largest event.

    Returns:
      The samples, in float32.

    Raises:
      ArgumentError: There is no event, or ``num_points`` is too small.
      ModelError: An event has more tokens than the context holds.

    Example:
      >>> from symjax.data.point_clouds import SMALL, generate_events, select_points
      >>> from symjax.models.pointmae import PointMAEConfig
      >>> from symjax.training.masked import prepare_events
      >>> config = PointMAEConfig(detector_size=SMALL.size, group_points=16,
      ...                         group_radius=0.045, context_length=128)
      >>> clouds = [select_points(e) for e in generate_events(2, settings=SMALL)]
      >>> prepare_events(config, clouds, 512).labels.shape
      (2, 512)
    """
    if not clouds:
        raise ArgumentError("clouds", clouds, "is empty", "Pass one event or more")
    size = max(cloud.num_points for cloud in clouds)
    size = size if num_points is None else num_points
    padded = [pad_cloud(cloud, size) for cloud in clouds]
    events = [make_event(config, cloud, np.float32) for cloud in padded]
    assignments = [tokenise(config, event) for event in events]

    def stack(rows: list[Any]) -> Any:
        return jax.tree.map(lambda *leaves: np.stack(leaves), *rows)

    labels = np.stack([np.asarray(cloud.semantic) for cloud in padded])
    return EventSamples(stack(events), stack(assignments), labels)


def class_weights(
    labels: np.ndarray, num_classes: int, power: float = 0.5
) -> Float[np.ndarray, "classes"]:
    """(N / (C n_c))^power for n_c of N points in class c of C.

    Args:
      labels: Labels, -1 where unknown.
      num_classes: Number of classes.
      power: 1 weighs all classes equally, 0 all points.

    Returns:
      One weight for each class.

    Example:
      >>> import numpy as np
      >>> from symjax.training.masked import class_weights
      >>> class_weights(np.array([0, 0, 0, 1, -1]), 2, 1.0).round(3).tolist()
      [0.667, 2.0]
    """
    known = labels[labels >= 0]
    counts = np.bincount(known, minlength=num_classes)
    return np.asarray((len(known) / (num_classes * np.maximum(counts, 1))) ** power)


def _optimizer(settings: MaskedSettings) -> optax.GradientTransformation:
    warmup = max(settings.steps // 20, 1)
    schedule = optax.warmup_cosine_decay_schedule(
        0.0,
        settings.learning_rate,
        warmup,
        max(settings.steps, warmup + 1),
        end_value=0.01 * settings.learning_rate,
    )
    # The clip of the original.
    return optax.chain(
        optax.clip_by_global_norm(3.0),
        optax.adamw(schedule, weight_decay=settings.weight_decay),
    )


def start_masked(model: PointMAEModel, settings: MaskedSettings) -> MaskedState:
    """State before the first step.

    Args:
      model: The model to be fitted.
      settings: How.

    Returns:
      The state.

    Example:
      >>> from symjax.training.masked import start_masked
      >>> callable(start_masked)
      True
    """
    parameters = jax.tree.map(
        lambda leaf: jnp.asarray(leaf, jnp.float32), model.parameters
    )
    params = parameters["params"]
    return MaskedState(
        jnp.zeros((), jnp.int32),
        params,
        parameters["batch_stats"],
        params,
        _optimizer(settings).init(params),
        jax.random.key_data(jax.random.key(settings.seed)),
    )


def batch_loss(
    config: PointMAEConfig,
    settings: MaskedSettings,
    params: Any,
    statistics: Any,
    batch: EventSamples,
    elements: Float[Array, "batch 3 3"],
    keys: Array,
    weights: Float[Array, "classes"],
) -> tuple[Float[Array, ""], Any]:
    """Loss of a batch, and the new statistics of the batch norms.

    Args:
      config: Hyperparameters.
      settings: Weights of the losses.
      params: Parameters.
      statistics: Running averages of the batch norms.
      batch: Events.
      elements: Element of O(3) that turns each event.
      keys: Random key for the hidden tokens of each event.
      weights: Weight of each class.

    Returns:
      The loss and the statistics.
    """
    network = PointMAE(config, training=True, axis_name=_AXIS)

    def one(
        event: Event, assignment: Assignment, labels: Any, element: Array, key: Array
    ) -> tuple[tuple[Array, ...], Any]:
        positions = jnp.matmul(event.positions, element.T, precision="highest")
        groups = gather_groups(config, assignment, positions, event.energies)
        hidden = random_hidden(key, groups.mask, config.masking_ratio)
        # Hidden tokens do not matter to the segmentation, which sees all.
        (logits, filled), state = network.apply(
            {"params": params, "batch_stats": statistics},
            groups,
            positions,
            event.mask,
            assignment.neighbors,
            hidden,
            mutable=["batch_stats"],
        )
        zero = (jnp.zeros(()), jnp.zeros(()))
        chamfer = energy = focal = zero
        if filled is not None and settings.reconstruction:
            target = groups.points[..., : config.decoder_channels]
            chamfer = chamfer_loss(filled.points, target, groups.point_mask, hidden)
            if filled.energies is not None:
                energy = energy_infilling_loss(
                    filled.energies, groups.points[..., 3], groups.point_mask, hidden
                )
        if logits is not None and settings.segmentation:
            focal = focal_loss(logits, labels, weights)
        return (*chamfer, *energy, *focal), state["batch_stats"]

    sums, state = jax.vmap(one, axis_name=_AXIS)(
        batch.events, batch.assignments, batch.labels, elements, keys
    )
    totals = [jnp.sum(value) for value in sums]
    chamfer, energy, focal = (
        totals[2 * n] / jnp.maximum(totals[2 * n + 1], 1) for n in range(3)
    )
    loss = settings.reconstruction * (chamfer + energy) + settings.segmentation * focal
    return loss, jax.tree.map(lambda leaf: leaf[0], state)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _run(
    config: PointMAEConfig,
    settings: MaskedSettings,
    num_steps: int,
    samples: EventSamples,
    weights: Float[Array, "classes"],
    state: MaskedState,
) -> tuple[MaskedState, Float[Array, ""]]:
    """Some steps in one compiled loop; returns the mean loss."""
    optimizer = _optimizer(settings)
    size = settings.batch_size

    def step(state: MaskedState, _: None) -> tuple[MaskedState, Float[Array, ""]]:
        key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
        batch_key, element_key, hidden_key = jax.random.split(key, 3)
        pick = jax.random.randint(batch_key, (size,), 0, len(samples.labels))
        batch = jax.tree.map(lambda leaf: jnp.asarray(leaf)[pick], samples)
        elements = jnp.broadcast_to(jnp.eye(3), (size, 3, 3))
        if settings.augment:
            elements = random_elements(element_key, size)
        (value, statistics), gradient = jax.value_and_grad(
            lambda params: batch_loss(
                config,
                settings,
                params,
                state.statistics,
                batch,
                elements.astype(jnp.float32),
                jax.random.split(hidden_key, size),
                weights,
            ),
            has_aux=True,
        )(state.params)
        updates, optimizer_state = optimizer.update(
            gradient, state.optimizer, state.params
        )
        params = optax.apply_updates(state.params, updates)
        # Young averages forget the random start sooner.
        decay = jnp.minimum(settings.average, (1 + state.step) / (10 + state.step))
        averaged = jax.tree.map(
            lambda old, new: decay * old + (1 - decay) * new, state.averaged, params
        )
        new = MaskedState(
            state.step + 1, params, statistics, averaged, optimizer_state, state.key
        )
        return new, value

    state, values = jax.lax.scan(step, state, None, length=num_steps)
    return state, jnp.mean(values)


def fit_masked(
    model: PointMAEModel,
    samples: EventSamples,
    settings: MaskedSettings,
    *,
    state: MaskedState | None = None,
    interval: int = 100,
    report: Callable[[MaskedState, float], bool | None] | None = None,
) -> PointMAEModel:
    """Fits a Point-MAE to hidden tokens, to labels, or to both.

    Args:
      model: The model to start from.
      samples: The events.
      settings: How; ``segmentation=0`` is pretraining.
      state: State to go on from; a fresh one by default.
      interval: Steps in one compiled loop.
      report: Called after each interval with the state and the mean loss; True ends
        the fit early.

    Returns:
      The model with averaged parameters.

    Raises:
      ArgumentError: The loss is not finite.

    Example:
      >>> from symjax.training.masked import fit_masked
      >>> callable(fit_masked)
      True
    """
    state = start_masked(model, settings) if state is None else state
    classes = max(model.config.num_classes, 1)
    weights = jnp.asarray(class_weights(np.asarray(samples.labels), classes))
    weights = weights.astype(jnp.float32)
    while (left := settings.steps - int(state.step)) > 0:
        num = min(interval, left)
        state, loss = _run(model.config, settings, num, samples, weights, state)
        if not np.isfinite(loss):
            raise ArgumentError(
                "learning_rate",
                settings.learning_rate,
                f"the loss is {float(loss)} at step {int(state.step)}",
                "Lower it",
            )
        if report is not None and report(state, float(loss)):
            break
    parameters = {"params": state.averaged, "batch_stats": state.statistics}
    return dataclasses.replace(model, parameters=jax.device_get(parameters))
