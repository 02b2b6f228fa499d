"""The losses of Point-MAE: hidden tokens, and labels of points, of turned events."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from symjax.data.point_clouds import CLASSES, PointCloud, pad_cloud
from symjax.errors import ArgumentError, ModelError
from symjax.models.pointmae.config import PointMAEConfig
from symjax.models.pointmae.grouping import Assignment, assign_groups, gather_groups
from symjax.models.pointmae.losses import (
    chamfer_loss,
    energy_infilling_loss,
    focal_loss,
    random_hidden,
)
from symjax.models.pointmae.model import (
    Event,
    PointMAEModel,
    evaluate_heads,
    make_event,
    tokenise,
    with_room,
)
from symjax.models.pointmae.modules import PointMAE
from symjax.models.precision import full_precision
from symjax.training.augmentation import random_elements
from symjax.training.configuration import EventLosses, PenaltySection
from symjax.training.optimisation import Task

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
      ModelError: An event has no token.

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
    # One shape for all: that of the event with the most tokens, if it needs more room.
    most = max(int(tokenise(config, event).num_found) for event in events)
    if most > config.context_length:
        config = with_room(config, most)
    assignments = [assign_groups(config, *event) for event in events]

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


def spread_of_probabilities(
    logits: Float[Array, "elements points classes"],
    labels: Int[Array | np.ndarray, "points"],
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """What class probabilities at several orientations disagree by.

    With p_k those at the k-th of K elements, the sum over labelled points and classes
    of ``sum_k |p_k - mean(p)|^2 / (K - 1)``: over their number, it estimates A^2
    without bias (Domina et al., arXiv:2603.24638). Probabilities are invariant, so
    nothing is turned back.

    Args:
      logits: Logits at each of the elements.
      labels: True classes; points with -1 do not count.

    Returns:
      Sum and number of its terms; their quotient over a batch is the penalty.

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.training.masked import spread_of_probabilities
      >>> sure = jnp.array([[[50.0, 0.0]], [[0.0, 50.0]]])
      >>> [float(x) for x in spread_of_probabilities(sure, jnp.array([1]))]
      [1.0, 2.0]
    """
    probabilities = jax.nn.softmax(logits, axis=-1)
    apart = jnp.var(probabilities, axis=0, ddof=1)
    known = jnp.asarray(labels >= 0)[:, None]
    count = jnp.sum(known) * logits.shape[-1]
    return jnp.sum(jnp.where(known, apart, 0)), count.astype(apart.dtype)


def masked_task(
    model: PointMAEModel,
    samples: EventSamples,
    losses: EventLosses,
    *,
    augmentation: str = "O(3)",
    penalty: PenaltySection | None = None,
) -> Task:
    """Point-MAE and its losses: hidden tokens, labels of points, or both.

    Args:
      model: Where to start.
      samples: Events for training, from which the weights of the classes follow.
      losses: Weights of the losses.
      augmentation: ``"O(3)"``, ``"SO(3)"`` or ``"none"``: every event is turned about
        the centre of the detector.
      penalty: Several elements for each event, over which losses are means, and a
        penalty on what class probabilities differ by
        (:func:`spread_of_probabilities`), times the weight of the segmentation.

    Returns:
      The task; batches are :class:`EventSamples`.

    Raises:
      ModelError: There is a penalty, and the model has no segmentation.

    Example:
      >>> from symjax.training.masked import masked_task
      >>> callable(masked_task)
      True
    """
    config = model.config
    if penalty is not None and not config.num_classes:
        raise ModelError(
            "penalty",
            penalty.weight,
            f"the model {model.name!r} has no class probabilities to compare",
            "Set num_classes, or leave the penalty out",
        )
    copies = 1 if penalty is None else penalty.elements
    network = PointMAE(config, training=True, axis_name=_AXIS)
    classes = max(config.num_classes, 1)
    weights = jnp.asarray(class_weights(np.asarray(samples.labels), classes), "float32")

    def one(
        variables: Any, sample: EventSamples, element: Array, key: Array
    ) -> tuple[tuple[Array, ...], Array | None, Any]:
        """Sums and counts of the losses of one event, its logits, and statistics."""
        event, assignment, labels = sample
        labels = jnp.asarray(labels)
        positions = jnp.matmul(event.positions, element.T, precision="highest")
        groups = gather_groups(config, assignment, positions, event.energies)
        hidden = random_hidden(key, groups.mask, config.masking_ratio)
        # Hidden tokens do not matter to the segmentation, which sees all.
        with full_precision():
            (logits, filled), state = network.apply(
                variables,
                groups,
                positions,
                event.mask,
                assignment.neighbors,
                hidden,
                mutable=["batch_stats"],
            )
        zero = (jnp.zeros(()), jnp.zeros(()))
        chamfer = energy = focal = zero
        if filled is not None and losses.reconstruction:
            target = groups.points[..., : config.decoder_channels]
            chamfer = chamfer_loss(filled.points, target, groups.point_mask, hidden)
            if filled.energies is not None:
                energy = energy_infilling_loss(
                    filled.energies, groups.points[..., 3], groups.point_mask, hidden
                )
        if logits is not None and losses.segmentation:
            focal = focal_loss(logits, labels, weights)
        return (*chamfer, *energy, *focal), logits, state["batch_stats"]

    def loss(
        params: Any,
        statistics: Any,
        batch: Any,
        key: PRNGKeyArray,
        totals: Any,
    ) -> tuple[Array, tuple[Any, dict[str, Array]]]:
        # Batch norms see all copies of all events together.
        every = jax.tree.map(lambda leaf: jnp.repeat(leaf, copies, axis=0), batch)
        size = len(every.labels)
        element_key, hidden_key = jax.random.split(key)
        elements = jnp.broadcast_to(jnp.eye(3), (size, 3, 3))
        if augmentation != "none":
            elements = random_elements(
                element_key, size, inversion=augmentation == "O(3)"
            )
        variables = {"params": params, "batch_stats": statistics}
        sums, logits, state = jax.vmap(one, in_axes=(None, 0, 0, 0), axis_name=_AXIS)(
            variables,
            every,
            elements.astype(jnp.float32),
            jax.random.split(hidden_key, size),
        )
        whole = [jnp.sum(value) for value in sums]
        chamfer, energy, focal = (
            whole[2 * n] / jnp.maximum(whole[2 * n + 1], 1) for n in range(3)
        )
        terms = {
            "chamfer": losses.reconstruction * chamfer / totals,
            "energy": losses.reconstruction * energy / totals,
            "focal": losses.segmentation * focal / totals,
        }
        if penalty is not None:
            assert logits is not None  # models with classes always have them
            logits = logits.reshape(-1, copies, *logits.shape[1:])
            total, count = map(
                jnp.sum, jax.vmap(spread_of_probabilities)(logits, batch.labels)
            )
            weight = penalty.weight * losses.segmentation
            terms["penalty"] = weight * total / jnp.maximum(count, 1) / totals
        value = sum(terms.values(), jnp.zeros(()))
        return value, (jax.tree.map(lambda leaf: leaf[0], state), terms)

    def num_parts(batch: EventSamples) -> int:
        return batch.labels.shape[0] * batch.labels.shape[1]

    parameters = jax.tree.map(
        lambda leaf: jnp.asarray(leaf, jnp.float32), model.parameters
    )
    statistics = parameters.get("batch_stats", {})
    return Task(parameters["params"], statistics, loss, num_parts)


@functools.partial(jax.jit, static_argnums=0)
def _errors_of_one(
    config: PointMAEConfig,
    variables: Any,
    sample: EventSamples,
    element: Float[Array, "3 3"],
    key: PRNGKeyArray,
) -> dict[str, Any]:
    """Sums and counts of the errors of one event, and its predicted labels."""
    event, assignment, _labels = sample
    turned = jnp.matmul(event.positions, element.T, precision="highest")
    hidden = random_hidden(key, assignment.mask, config.masking_ratio)
    logits, filled, groups, _ = evaluate_heads(
        config, variables, event._replace(positions=turned), assignment, hidden
    )
    found: dict[str, Any] = {}
    if logits is not None:
        found["labels"] = jnp.argmax(logits, -1)
    if filled is not None:
        mask, truth = groups.point_mask, groups.points
        found["chamfer"] = chamfer_loss(filled.points, truth, mask, hidden)
        # The trivial guess: every member at the centre of its token.
        guess = jnp.zeros_like(truth).at[..., 3].set(-0.2)
        found["trivial"] = chamfer_loss(guess, truth, mask, hidden)
        if filled.energies is not None:
            found["energy"] = energy_infilling_loss(
                filled.energies, truth[..., 3], mask, hidden
            )
            used = mask & hidden[:, None]
            found["moments"] = (
                jnp.sum(jnp.where(used, truth[..., 3], 0)),
                jnp.sum(jnp.where(used, truth[..., 3] ** 2, 0)),
            )
    return found


def evaluate_events(
    model: PointMAEModel, samples: EventSamples, seed: int = 0
) -> dict[str, Any]:
    """Errors over events, each turned by a random element of O(3).

    Args:
      model: The model.
      samples: The events.
      seed: Of the elements and hidden tokens.

    Returns:
      For models that fill in, Chamfer distance and error of the energies; for those
      that label points, accuracy and F1 of each class; with what trivial guesses reach.

    Example:
      >>> from symjax.training.masked import evaluate_events
      >>> callable(evaluate_events)
      True
    """
    num = len(samples.labels)
    config = model.config
    variables = jax.tree.map(jnp.asarray, model.parameters)
    keys = jax.random.split(jax.random.key(seed), num + 1)
    elements = random_elements(keys[0], num).astype(jnp.float32)
    rows = []
    for n in range(num):
        sample = jax.tree.map(lambda leaf, n=n: leaf[n], samples)
        rows.append(_errors_of_one(config, variables, sample, elements[n], keys[n + 1]))
    found = jax.tree.map(lambda *leaves: np.stack(leaves), *rows)
    errors: dict[str, Any] = {}
    for name in ("chamfer", "trivial"):
        if name in found:
            total, count = found[name]
            key = "chamfer" if name == "chamfer" else "chamfer_trivial"
            errors[key] = float(total.sum() / count.sum())
    if "energy" in found:
        square, count = (part.sum() for part in found["energy"])
        first, second = (part.sum() / count for part in found["moments"])
        errors["energy_rmse"] = float(np.sqrt(square / count))
        errors["energy_rmse_trivial"] = float(np.sqrt(second - first**2))
    if "labels" in found:
        known = np.asarray(samples.labels) >= 0
        truth, guess = np.asarray(samples.labels)[known], found["labels"][known]
        scores = {}
        for number, name in enumerate(CLASSES[: config.num_classes]):
            both = np.sum((truth == number) & (guess == number))
            either = np.sum(truth == number) + np.sum(guess == number)
            scores[name] = float(2 * both / max(either, 1))
        errors["accuracy"] = float(np.mean(truth == guess))
        errors["accuracy_trivial"] = float(
            np.mean(truth == np.bincount(truth).argmax())
        )
        errors["f1"] = scores
        errors["f1_mean"] = float(np.mean(list(scores.values())))
    return {**errors, "events": num}


def event_errors(
    model: PointMAEModel, samples: EventSamples, losses: EventLosses, seed: int
) -> dict[str, float]:
    """The errors that a run follows.

    Args:
      model: The model.
      samples: Events that are held out.
      losses: Weights of the losses.
      seed: Of elements and hidden tokens.

    Returns:
      Numbers of :func:`evaluate_events`, and ``score``: relative Chamfer distance and
      share of wrong labels, weighted like the losses.

    Example:
      >>> from symjax.training.masked import event_errors
      >>> callable(event_errors)
      True
    """
    errors = evaluate_events(model, samples, seed)
    score = 0.0
    if "chamfer" in errors:
        relative = errors["chamfer"] / errors["chamfer_trivial"]
        score += losses.reconstruction * relative
    if "accuracy" in errors:
        score += losses.segmentation * (1 - errors["accuracy"])
    chosen = ("chamfer", "energy_rmse", "accuracy", "f1_mean")
    return {name: errors[name] for name in chosen if name in errors} | {"score": score}
