"""The training loss of PET, with augmentation by random elements of O(3)."""

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from symjax._arrays import to_device
from symjax.data.graph import Graph
from symjax.data.transform import rotate_graph
from symjax.errors import ModelError
from symjax.models._layers import match_layers
from symjax.models.pet.config import PETConfig
from symjax.models.pet.derivatives import evaluate
from symjax.models.pet.evaluation import Evaluation
from symjax.models.pet.layers import layer_names
from symjax.models.pet.model import PETModel
from symjax.so3.action import act_on_samples
from symjax.so3.irreps import Irrep
from symjax.training.augmentation import random_elements
from symjax.training.baselines import energy_of
from symjax.training.batches import AtomicBatch
from symjax.training.configuration import PenaltySection
from symjax.training.content_penalty import content_penalty
from symjax.training.fitted import STRESS, Label
from symjax.training.optimisation import Task
from symjax.training.partial import (
    choose_parameters,
    remaining_network,
    whole_network,
)


def predict_labels(
    config: PETConfig,
    labels: tuple[Label, ...],
    parameters: Any,
    graph: Graph,
    *,
    layers: tuple[str, ...] = (),
    network_dtype: Any = None,
) -> tuple[dict[str, Float[Array, "samples *shape"]], dict[str, Array]]:
    """Predicts all labels, without baselines.

    Args:
      config: Hyperparameters and targets.
      labels: The labels.
      parameters: As in :class:`~symjax.models.pet.PETModel`.
      graph: The structures.
      layers: Names of layers whose features are returned as well.
      network_dtype: Type in which the network computes; that of the parameters if None.

    Returns:
      Predictions by label, with a last axis of copies, and features by layer.
    """
    names = {label.name for label in labels}
    targets = tuple(
        target.name for target in config.targets if names & dict(target.outputs).keys()
    )
    energy = energy_of(labels)
    evaluation = Evaluation(
        config,
        targets,
        layers,
        energy=energy,
        forces=energy is not None,
        stress=STRESS in names,
        baseline=False,
        network_dtype=network_dtype,
    )
    outputs = evaluate(evaluation, parameters, graph)
    predictions = {}
    for label in labels:
        values = outputs[label.name]
        rank = 2 + len(label.representation.shape)
        predictions[label.name] = values if values.ndim == rank else values[..., None]
    return predictions, {name: outputs[name] for name in layers}


# Key of the number of structures in the totals, which are otherwise those of labels.
STRUCTURES = "=structures"
_LOSSES = {
    "huber": optax.huber_loss,
    "squared": lambda error: error**2,
    "absolute": jnp.abs,
}


def real_type(precision: str) -> type[np.floating]:
    """Type of parameters and labels for a precision of the network."""
    return np.float64 if precision == "float64" else np.float32


def divided_by_atoms(
    label: Label, error: Float[Array, "samples ..."], graph: Graph
) -> Float[Array, "samples ..."]:
    """Errors of a label, per atom if ``label.divide_by_atoms``."""
    if not label.divide_by_atoms:
        return error
    mask = jnp.asarray(graph.atom_mask, error.dtype)
    counts = jax.ops.segment_sum(mask, graph.structure, len(graph.cells))
    return error / jnp.maximum(counts, 1).reshape(-1, *(1,) * (error.ndim - 1))


class Constants(NamedTuple):
    """Arrays of the loss of PET that are not trained.

    Attributes:
      network: Parameters of the network that are frozen.
      scale: Scales by target and block.
      baseline: Baselines by target and block.
      units: Units in which the loss measures errors, by label.
    """

    network: Any
    scale: Any
    baseline: Any
    units: dict[str, Array]


@dataclasses.dataclass(frozen=True)
class AtomsLoss:
    """Weighted sum over labels of their mean errors, at random orientations.

    Each structure and its labels are transformed by a random group element g. A label
    with weight w, unit u, loss function L and n known components contributes

        w / n sum L((prediction - label) / u),

    the sum over its known components.

    With a penalty, each structure is transformed by K elements, and the contributions
    are means over them. With y_k = rho(g_k)^-1 f(g_k x), a label adds

        penalty weight * w / n sum_k |y_k - mean(y)|^2 / (K - 1) / u^2,

    an unbiased estimate of A^2 in these units (Domina et al., arXiv:2603.24638). A
    penalty on layers replaces that by its weight times the mean over layers and
    structures of the content in its sectors (:func:`content_penalty`).

    Attributes:
      config: Hyperparameters and targets.
      labels: The labels that are fitted.
      augmentation: ``"O(3)"``, ``"SO(3)"`` or ``"none"``.
      precision: ``"float32"``, ``"bfloat16"`` or ``"float64"``.
      penalty: The penalty, with its weight and number K of elements; None for none.
      layers: Names of the layers whose content is penalised instead of predictions.
    """

    config: PETConfig
    labels: tuple[Label, ...]
    augmentation: str = "O(3)"
    precision: str = "float32"
    penalty: PenaltySection | None = None
    layers: tuple[str, ...] = ()

    def __call__(
        self,
        params: Any,
        statistics: Any,
        constants: Constants,
        batch: AtomicBatch,
        key: PRNGKeyArray,
        totals: Any,
    ) -> tuple[Array, tuple[Any, dict[str, Array]]]:
        """The loss, the unchanged statistics, and its contributions by name."""
        dtype, elements = real_type(self.precision), None
        if self.augmentation != "none":
            number = () if self.penalty is None else (self.penalty.elements,)
            shape = (len(batch.graph.cells), *number)
            elements = random_elements(
                key, math.prod(shape), inversion=self.augmentation == "O(3)"
            )
            elements = elements.astype(dtype).reshape(*shape, 3, 3)
        terms = self.terms(params, constants, batch, elements, totals)
        return sum(terms.values(), jnp.zeros((), dtype)), (statistics, terms)

    def totals(self, batch: AtomicBatch) -> dict[str, Array]:
        """Numbers of known components by label, and of structures; at least 1."""
        num = jnp.sum(jnp.asarray(batch.graph.structure_mask))
        counts = {
            label.name: jnp.sum(batch.counts[label.name]) for label in self.labels
        }
        return {
            name: jnp.maximum(count, 1).astype(real_type(self.precision))
            for name, count in {**counts, STRUCTURES: num}.items()
        }

    def terms(
        self,
        params: Any,
        constants: Constants,
        batch: AtomicBatch,
        elements: Float[Array, "structures *K 3 3"] | None,
        totals: Any,
    ) -> dict[str, Array]:
        """Contributions at given elements; None to leave structures as they are."""
        if self.penalty is None:
            errors, _ = self._errors(params, constants, batch, elements)
            return {
                label.name: _contribution(
                    label, errors[label.name], batch.known[label.name]
                )
                / totals[label.name]
                for label in self.labels
            }
        assert elements is not None  # a penalty without augmentation is refused
        errors, features = jax.vmap(
            lambda element: self._errors(params, constants, batch, element),
            in_axes=1,
            out_axes=0,
        )(elements)
        terms, spread = {}, jnp.zeros((), elements.dtype)
        structure = jnp.asarray(batch.graph.structure)
        for label in self.labels:
            # y_k less the label, which deviates from its mean as y_k does.
            own = elements[structure] if label.per_atom else elements
            aligned = jax.vmap(
                functools.partial(act_on_samples, label.representation),
                in_axes=(1, 0),
            )(jnp.swapaxes(own, -1, -2), errors[label.name])
            deviation = aligned - jnp.mean(aligned, axis=0)
            known = batch.known[label.name]
            variance = jnp.sum(jnp.where(known, deviation**2, 0)) / (len(aligned) - 1)
            spread += label.weight * variance / totals[label.name]
            terms[label.name] = (
                _contribution(label, errors[label.name], known) / totals[label.name]
            ) / len(aligned)
        if self.layers:
            sectors = tuple(Irrep.parse(label) for label in self.penalty.sectors)
            spread = sum(
                content_penalty(rows, batch.graph, elements, sectors)
                for rows in features.values()
            ) / (len(self.layers) * totals[STRUCTURES])
        return {**terms, "penalty": self.penalty.weight * spread}

    def _errors(
        self, params: Any, constants: Constants, batch: AtomicBatch, elements: Any
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """Errors of labels in units of the loss, and features, at given elements."""
        dtype = real_type(self.precision)
        graph = jax.tree.map(jnp.asarray, batch.graph)
        if elements is not None:
            graph = rotate_graph(graph, elements)
        predictions, features = predict_labels(
            self.config,
            self.labels,
            {
                "scale": constants.scale,
                "baseline": constants.baseline,
                "network": whole_network(constants.network, params),
            },
            graph,
            layers=self.layers,
            network_dtype=jnp.bfloat16 if self.precision == "bfloat16" else None,
        )
        errors = {}
        for label in self.labels:
            reference = jnp.asarray(batch.values[label.name], dtype)
            if elements is not None:
                own = elements[graph.structure] if label.per_atom else elements
                reference = act_on_samples(label.representation, own, reference)
            error = (predictions[label.name] - reference) / constants.units[label.name]
            errors[label.name] = divided_by_atoms(label, error, graph)
        return errors, features


def _penalised(config: PETConfig, penalty: PenaltySection) -> tuple[str, ...]:
    """Names of the layers whose content is penalised; empty for predictions."""
    if not penalty.layers:
        return ()
    try:
        return match_layers(penalty.layers, layer_names(config))
    except ModelError as error:
        raise ModelError(
            "penalty.layers", error.value, error.problem, error.remedy
        ) from error


def _contribution(label: Label, error: Array, known: Any) -> Array:
    # Padding may predict anything: its error must not reach the gradient.
    losses = jnp.where(known, _LOSSES[label.loss](jnp.where(known, error, 0)), 0)
    return label.weight * jnp.sum(losses)


def atomistic_task(
    model: PETModel,
    labels: tuple[Label, ...],
    size: Mapping[str, np.ndarray],
    *,
    augmentation: str = "O(3)",
    precision: str = "float32",
    penalty: PenaltySection | None = None,
    trainable: Sequence[str] | None = None,
) -> Task:
    """The task of fitting a PET to labels with :class:`AtomsLoss`.

    Args:
      model: The model to start from; its scales and baselines are not trained.
      labels: The labels to fit.
      size: Units of the loss by label, from
        :func:`~symjax.training.baselines.loss_units`.
      augmentation: ``"O(3)"``, ``"SO(3)"`` or ``"none"``.
      precision: ``"float32"``, ``"bfloat16"`` or ``"float64"``.
      penalty: A penalty on predictions or features that depend on the orientation.
      trainable: Patterns of the modules to train, see
        :func:`~symjax.training.partial.choose_parameters`; None for all.

    Returns:
      The task; its batches are :class:`~symjax.training.batches.AtomicBatch`.

    Raises:
      ModelError: A pattern of ``trainable`` or of ``penalty.layers`` matches nothing.
    """
    dtype = real_type(precision)

    def cast(tree: Any) -> Any:
        return jax.tree.map(lambda leaf: to_device(leaf, dtype), tree)

    network = model.parameters["network"]
    fitted = choose_parameters(model.config, network, trainable)
    constants = Constants(
        cast(remaining_network(network, fitted)),
        cast(model.parameters["scale"]),
        cast(model.parameters["baseline"]),
        cast(dict(size)),
    )
    layers = () if penalty is None else _penalised(model.config, penalty)
    loss = AtomsLoss(model.config, labels, augmentation, precision, penalty, layers)
    return Task(cast(fitted), {}, constants, loss)
