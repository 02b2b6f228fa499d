"""The training losses of Point-MAE: masked tokens and labels of points."""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from symjax._arrays import to_device
from symjax.data.point_clouds import PointCloud, pad_cloud
from symjax.errors import ArgumentError, ModelError, StructureError
from symjax.models.pointmae.config import PointMAEConfig
from symjax.models.pointmae.grouping import Assignment, gather_groups
from symjax.models.pointmae.inputs import (
    Event,
    make_event,
    tokenise,
    with_room,
    with_slots,
)
from symjax.models.pointmae.layers import Mode
from symjax.models.pointmae.losses import (
    chamfer_loss,
    energy_infilling_loss,
    focal_loss,
    random_hidden,
)
from symjax.models.pointmae.model import PointMAEModel
from symjax.models.pointmae.modules import PointMAE
from symjax.models.precision import full_precision
from symjax.training.augmentation import euler_elements, random_elements
from symjax.training.configuration import EventLosses, PenaltySection
from symjax.training.optimisation import Task

_AXIS = "events"


class EventSamples(NamedTuple):
    """Events of one padded shape with their tokens and labels, along a leading axis.

    Rotations do not change which points belong to a token, apart from ties, so tokens
    are assigned once, in the given orientation.

    Attributes:
      events: Normalised events.
      assignments: Their tokens.
      labels: Label of each point; -1 where it is unknown.
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
      num_points: Number of points to pad to; by default that of the largest event.

    Raises:
      ArgumentError: There is no event.
    """
    if not clouds:
        raise ArgumentError("clouds", clouds, "is empty", "Pass one event or more")
    size = max(cloud.num_points for cloud in clouds)
    size = size if num_points is None else num_points
    padded = [pad_cloud(cloud, size) for cloud in clouds]
    events = [make_event(config, cloud, np.float32) for cloud in padded]
    # Padded to the largest number of tokens, as the cost of attention is its square.
    found = [tokenise(config, event) for event in events]
    room = with_room(config, max(int(one.num_found) for one in found)).context_length
    assignments = [with_slots(one, room) for one in found]

    def stack(rows: list[Any]) -> Any:
        return jax.tree.map(lambda *leaves: np.stack(leaves), *rows)

    labels = np.stack([np.asarray(cloud.semantic) for cloud in padded])
    return EventSamples(stack(events), stack(assignments), labels)


def class_weights(labels: np.ndarray, num_classes: int) -> Float[np.ndarray, "classes"]:
    """Weights sqrt(N / (C n_c)) of C classes with n_c of N labelled points each."""
    known = labels[labels >= 0]
    counts = np.bincount(known, minlength=num_classes)
    return np.sqrt(len(known) / (num_classes * np.maximum(counts, 1)))


# Number of points of each class in PILArNet-M (arXiv:2502.02558, Fig. 8).
_PUBLISHED_POINTS = (1926651899.0, 2038240940.0, 34083197.0, 92015482.0, 1145363125.0)


def published_class_weights(num_classes: int) -> Float[np.ndarray, "classes"]:
    """Weights N / n_c of classes with n_c of the N points of PILArNet-M, as PoLAr-MAE.

    Raises:
      ArgumentError: There are neither 4 classes, without deposits of low energy, nor 5.
    """
    if num_classes not in (4, 5):
        raise ArgumentError(
            "losses.classes",
            "published",
            f"there are no published weights for {num_classes} classes",
            "Use 'data' or 'equal'",
        )
    counts = np.array(_PUBLISHED_POINTS[:num_classes])
    return np.asarray(counts.sum() / counts)


def spread_of_probabilities(
    logits: Float[Array, "elements points classes"],
    labels: Int[Array | np.ndarray, "points"],
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Variance of class probabilities over orientations, for the penalty.

    With p_k the probabilities at the k-th of K elements, the sum over labelled points
    and classes of ``sum_k |p_k - mean(p)|^2 / (K - 1)``. Divided by the number of terms
    it is an unbiased estimate of A^2 (Domina et al., arXiv:2603.24638).

    Returns:
      Sum and number of its terms.
    """
    probabilities = jax.nn.softmax(logits, axis=-1)
    apart = jnp.var(probabilities, axis=0, ddof=1)
    known = jnp.asarray(labels >= 0)[:, None]
    count = jnp.sum(known) * logits.shape[-1]
    return jnp.sum(jnp.where(known, apart, 0)), count.astype(apart.dtype)


class Augmentation(NamedTuple):
    """How events are transformed in training, about the centre of the detector.

    Attributes:
      group: ``"O(3)"``, ``"SO(3)"``, ``"Euler angles"`` or ``"none"``.
      together: Whether one element serves all events of a batch, as in PoLAr-MAE.
    """

    group: str = "O(3)"
    together: bool = False

    def elements(
        self, key: PRNGKeyArray, num: int, copies: int
    ) -> Float[Array, "total 3 3"]:
        """Draws elements for the copies of each event; those of one event are adjacent.

        With ``together``, the k-th copies of all events share an element.
        """
        size = copies if self.together else num * copies
        if self.group == "none":
            return jnp.broadcast_to(jnp.eye(3), (num * copies, 3, 3))
        if self.group == "Euler angles":
            elements = euler_elements(key, size)
        else:
            elements = random_elements(key, size, inversion=self.group == "O(3)")
        return jnp.tile(elements, (num * copies // size, 1, 1))


_DEFAULT = Augmentation()


class Constants(NamedTuple):
    """Arrays of the loss of Point-MAE that are not trained.

    Attributes:
      params: Parameters of frozen modules.
      weights: Weights of the classes.
    """

    params: dict[str, Any]
    weights: Float[Array, "classes"]


@dataclasses.dataclass(frozen=True)
class MaskedLoss:
    """Losses of Point-MAE: of masked tokens, of labels of points, or both.

    With a penalty, each event is transformed by several elements. The losses are means
    over them, and the variance of class probabilities
    (:func:`spread_of_probabilities`) is added, times the weights of the penalty and of
    the segmentation.

    Attributes:
      config: Hyperparameters.
      losses: Weights of the losses.
      augmentation: How events are transformed.
      penalty: The penalty, with its weight and number of elements; None for none.
    """

    config: PointMAEConfig
    losses: EventLosses
    augmentation: Augmentation = _DEFAULT
    penalty: PenaltySection | None = None

    def __call__(
        self,
        params: Any,
        statistics: Any,
        constants: Constants,
        batch: EventSamples,
        key: PRNGKeyArray,
        totals: Any,
    ) -> tuple[Array, tuple[Any, dict[str, Array]]]:
        """The loss, new statistics of the batch norms, and contributions by name."""
        losses, penalty = self.losses, self.penalty
        copies = 1 if penalty is None else penalty.elements
        # Batch norms see all copies of all events together.
        every = jax.tree.map(lambda leaf: jnp.repeat(leaf, copies, axis=0), batch)
        size = len(every.labels)
        element_key, hidden_key = jax.random.split(key)
        elements = self.augmentation.elements(element_key, size // copies, copies)
        variables = {
            "params": {**constants.params, **params},
            "batch_stats": statistics,
        }
        sums, logits, state = jax.vmap(
            functools.partial(self._one, variables, constants.weights), axis_name=_AXIS
        )(every, elements.astype(jnp.float32), jax.random.split(hidden_key, size))
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

    def totals(self, batch: EventSamples) -> int:
        """Number of micro-batches on all devices, over which the loss is a mean."""
        return batch.labels.shape[0] * batch.labels.shape[1]

    def _one(
        self,
        variables: Any,
        weights: Float[Array, "classes"],
        sample: EventSamples,
        element: Float[Array, "3 3"],
        key: PRNGKeyArray,
    ) -> tuple[tuple[Array, ...], Array | None, Any]:
        """Sums and counts of the losses of one event, its logits, and statistics."""
        config, losses = self.config, self.losses
        event, assignment, labels = sample
        labels = jnp.asarray(labels)
        positions = jnp.matmul(event.positions, element.T, precision="highest")
        groups = gather_groups(config, assignment, positions, event.energies)
        hidden_key, dropout_key = jax.random.split(key)
        hidden = random_hidden(hidden_key, groups.mask, config.masking_ratio)
        # The segmentation sees all tokens, also masked ones.
        with full_precision():
            (logits, filled), state = PointMAE(
                config, Mode(training=True, axis_name=_AXIS)
            ).apply(
                variables,
                groups,
                positions,
                event.mask,
                assignment.neighbors,
                hidden,
                mutable=["batch_stats"],
                rngs={"dropout": dropout_key},
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


def masked_task(
    model: PointMAEModel,
    samples: EventSamples,
    losses: EventLosses,
    *,
    augmentation: Augmentation = _DEFAULT,
    penalty: PenaltySection | None = None,
    freeze_encoder: bool = False,
) -> Task:
    """The task of fitting a Point-MAE to events with :class:`MaskedLoss`.

    Args:
      model: The model to start from.
      samples: Training events, from which weights of the classes may follow.
      losses: Weights of the losses.
      augmentation: How events are transformed.
      penalty: A penalty on class probabilities that depend on the orientation.
      freeze_encoder: Whether the parameters of the encoder are frozen
        (:func:`whole_parameters`).

    Returns:
      The task; its batches are :class:`EventSamples`.

    Raises:
      ArgumentError: There are no published weights for the number of classes.
      ModelError: The model has no classes, which a penalty or a segmentation loss
        needs; or it has no decoder, which is all that would be fitted.
      StructureError: A segmentation loss is given, but no point has a label, or some
        label is beyond the classes of the model.
    """
    config = model.config
    if penalty is not None and not config.num_classes:
        raise ModelError(
            "penalty",
            penalty.weight,
            f"the model {model.name!r} has no class probabilities to compare",
            "Set num_classes, or leave the penalty out",
        )
    labels = np.asarray(samples.labels)
    _check_fitted(config, labels, losses)
    weights = _weights(losses.classes, labels, max(config.num_classes, 1))
    parameters = jax.tree.map(
        lambda leaf: to_device(leaf, jnp.float32), model.parameters
    )
    fitted, frozen = dict(parameters["params"]), {}
    if freeze_encoder:
        frozen["encoder"] = fitted.pop("encoder")
    return Task(
        fitted,
        parameters.get("batch_stats", {}),
        Constants(frozen, weights),
        MaskedLoss(config, losses, augmentation, penalty),
    )


def _check_fitted(
    config: PointMAEConfig, labels: np.ndarray, losses: EventLosses
) -> None:
    if not losses.segmentation:
        if not config.decoder_depth:
            raise ModelError(
                "losses.reconstruction",
                losses.reconstruction,
                "the model has no decoder: nothing is fitted",
                "Set decoder_depth, or losses.segmentation",
            )
        return
    if not config.num_classes:
        raise ModelError(
            "losses.segmentation",
            losses.segmentation,
            "the model has no classes",
            "Set num_classes, or leave the weight out",
        )
    largest = int(labels.max())
    if not 0 <= largest < config.num_classes:
        raise StructureError(
            "data.training",
            largest,
            "is the largest label of a point (-1 is unknown), but the model has "
            f"{config.num_classes} classes, from 0",
            "Pass events with labels; drop those of low energy (low_energy='label'), "
            "or set num_classes",
        )


def whole_parameters(model: PointMAEModel, fitted: Any) -> dict[str, Any]:
    """All parameters: those that are fitted, and the frozen ones of the model."""
    return {**model.parameters["params"], **fitted}


def _weights(rule: str, labels: np.ndarray, classes: int) -> Float[Array, "classes"]:
    if rule == "published":
        return jnp.asarray(published_class_weights(classes), jnp.float32)
    if rule == "equal":
        return jnp.ones(classes, jnp.float32)
    return jnp.asarray(class_weights(labels, classes), jnp.float32)
