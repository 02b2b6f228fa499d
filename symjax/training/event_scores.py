"""Errors of a Point-MAE on rotated events: masked tokens, and labels of points."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from symjax._arrays import to_device
from symjax.data.point_clouds import CLASSES
from symjax.models.pointmae.config import PointMAEConfig
from symjax.models.pointmae.losses import (
    chamfer_loss,
    energy_infilling_loss,
    random_hidden,
)
from symjax.models.pointmae.model import PointMAEModel, check_finite, evaluate_heads
from symjax.training.augmentation import random_elements
from symjax.training.configuration import EventLosses
from symjax.training.masked import EventSamples


def class_ious(
    truth: Int[np.ndarray, "points"], guess: Int[np.ndarray, "points"], classes: int
) -> Float[np.ndarray, "classes"]:
    """Intersection over union of each class in one event; 1 of one without points."""
    numbers = np.arange(classes)[:, None]
    agreed = np.sum((truth == numbers) & (guess == numbers), axis=1)
    either = np.sum((truth == numbers) | (guess == numbers), axis=1)
    return np.where(either > 0, agreed / np.maximum(either, 1), 1.0)


@functools.partial(jax.jit, static_argnums=0)
def _errors_of_one(
    config: PointMAEConfig,
    variables: Any,
    sample: EventSamples,
    element: Float[Array, "3 3"],
    key: PRNGKeyArray,
) -> dict[str, Any]:
    """Sums and counts of the errors of one event, and its logits."""
    event, assignment, _labels = sample
    rotated = jnp.matmul(event.positions, element.T, precision="highest")
    hidden = random_hidden(key, assignment.mask, config.masking_ratio)
    logits, filled, groups, _ = evaluate_heads(
        config, variables, event._replace(positions=rotated), assignment, hidden
    )
    found: dict[str, Any] = {}
    if logits is not None:
        found["logits"] = logits
    if filled is not None:
        mask, truth = groups.point_mask, groups.points
        found["chamfer"] = chamfer_loss(filled.points, truth, mask, hidden)
        # The trivial guess: each point at the centre of its token.
        guess = jnp.zeros_like(truth).at[..., 3].set(-0.2)
        found["chamfer_trivial"] = chamfer_loss(guess, truth, mask, hidden)
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
    """Errors over events, each transformed by a random element of O(3).

    Args:
      model: The model.
      samples: The events.
      seed: Seed of the elements and of the masked tokens.

    Returns:
      ``events``, their number. For models with a decoder ``chamfer``, and with energies
      ``energy_rmse``. For models with classes ``accuracy``, ``f1`` of each class over
      all labelled points, ``iou`` of each class as a mean over events with labels, and
      their means over classes, ``f1_mean`` and ``iou_mean``. Names that end in
      ``_trivial`` are errors of a guess: points at the centres of their tokens, the
      mean energy, and the most frequent class.

    Raises:
      ModelError: A logit of the model is not finite.
    """
    num = len(samples.labels)
    config = model.config
    variables = jax.tree.map(to_device, model.parameters)
    keys = jax.random.split(jax.random.key(seed), num + 1)
    elements = random_elements(keys[0], num).astype(jnp.float32)
    rows = []
    for n in range(num):
        sample = jax.tree.map(lambda leaf, n=n: leaf[n], samples)
        row = _errors_of_one(config, variables, sample, elements[n], keys[n + 1])
        if "logits" in row:
            logits = np.asarray(row.pop("logits"))
            check_finite(model.name, logits[np.asarray(sample.events.mask)])
            row["labels"] = logits.argmax(-1)
        rows.append(row)
    found = jax.tree.map(lambda *leaves: np.stack(leaves), *rows)
    errors: dict[str, Any] = {}
    for name in ("chamfer", "chamfer_trivial"):
        if name in found:
            total, count = found[name]
            errors[name] = float(total.sum() / count.sum())
    if "energy" in found:
        square, count = (part.sum() for part in found["energy"])
        first, second = (part.sum() / count for part in found["moments"])
        errors["energy_rmse"] = float(np.sqrt(square / count))
        errors["energy_rmse_trivial"] = float(np.sqrt(second - first**2))
    known = np.asarray(samples.labels) >= 0
    if "labels" in found and known.any():
        ious = np.array(
            [
                class_ious(row[real], labels[real], config.num_classes)
                for row, labels, real in zip(
                    np.asarray(samples.labels), found["labels"], known, strict=True
                )
                if real.any()
            ]
        )
        truth, guess = np.asarray(samples.labels)[known], found["labels"][known]
        scores = {}
        for number, name in enumerate(CLASSES[: config.num_classes]):
            one, other = truth == number, guess == number
            either = max(one.sum() + other.sum(), 1)
            scores[name] = float(2 * np.sum(one & other) / either)
        errors["accuracy"] = float(np.mean(truth == guess))
        errors["accuracy_trivial"] = float(
            np.mean(truth == np.bincount(truth).argmax())
        )
        errors["f1"] = scores
        errors["f1_mean"] = float(np.mean(list(scores.values())))
        errors["iou"] = dict(zip(scores, ious.mean(0).tolist(), strict=False))
        errors["iou_mean"] = float(ious.mean())
    return {**errors, "events": num}


def event_errors(
    model: PointMAEModel, samples: EventSamples, losses: EventLosses, seed: int
) -> dict[str, float]:
    """Errors of a validation: those of :func:`evaluate_events` and a score.

    The score is the Chamfer distance relative to its trivial guess plus the fraction of
    wrong labels, weighted as in the losses.
    """
    errors = evaluate_events(model, samples, seed)
    score = 0.0
    if "chamfer" in errors:
        relative = errors["chamfer"] / errors["chamfer_trivial"]
        score += losses.reconstruction * relative
    if "accuracy" in errors:
        score += losses.segmentation * (1 - errors["accuracy"])
    chosen = ("chamfer", "energy_rmse", "accuracy", "f1_mean", "iou_mean")
    return {name: errors[name] for name in chosen if name in errors} | {"score": score}
