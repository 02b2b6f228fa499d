"""The loss of PET: labels turned together with their structures."""

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
    """What a model predicts of all labels, without baselines.

    Args:
      config: Hyperparameters and targets.
      labels: What is fitted.
      parameters: As in :class:`~symjax.models.pet.PETModel`.
      graph: The structures, possibly rotated.
      layers: Names of layers whose features are returned as well.
      network_dtype: Type in which the network computes.
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


# Beside the labels, in the totals that losses are divided by.
STRUCTURES = "=structures"
_LOSSES = {
    "huber": optax.huber_loss,
    "squared": lambda error: error**2,
    "absolute": jnp.abs,
}


def real_type(precision: str) -> type[np.floating]:
    """Type of parameters and labels where the network computes in some precision."""
    return np.float64 if precision == "float64" else np.float32


def divided_by_atoms(
    label: Label, error: Float[Array, "samples ..."], graph: Graph
) -> Float[Array, "samples ..."]:
    """Errors of a label, over the number of atoms where the label asks for it."""
    if not label.divide_by_atoms:
        return error
    mask = jnp.asarray(graph.atom_mask, error.dtype)
    counts = jax.ops.segment_sum(mask, graph.structure, len(graph.cells))
    return error / jnp.maximum(counts, 1).reshape(-1, *(1,) * (error.ndim - 1))


class Constants(NamedTuple):
    """What the loss of PET reads and nothing trains.

    Attributes:
      network: Parameters of the network that are not fitted.
      scale: Scales by target and block.
      baseline: Baselines by target and block.
      units: By label what its errors are divided by.
    """

    network: Any
    scale: Any
    baseline: Any
    units: dict[str, Array]


@dataclasses.dataclass(frozen=True)
class AtomsLoss:
    """The weighted sum over labels of mean errors, of structures that are turned.

    Without a penalty, each structure is turned by an element of its own, and its labels
    with it. The contribution of a label is its weight times the sum over known
    components of a function of the error in units of the loss, divided by their number.

    With one, each is turned by K elements, and these contributions are means over them.
    With y_k = rho(g_k)^-1 f(g_k x), the penalty is its weight times the sum over labels
    of their weight times ``sum_k |y_k - mean(y)|^2 / (K - 1)`` in the same units, which
    estimates A^2 without bias (Domina et al., arXiv:2603.24638). A penalty on layers is
    instead its weight times the mean over layers and structures of the content that is
    not invariant, or of the sectors that it names (:func:`content_penalty`).

    Attributes:
      config: Hyperparameters and targets.
      labels: What is fitted.
      augmentation: ``"O(3)"``, ``"SO(3)"`` or ``"none"``.
      precision: ``"float32"``, ``"bfloat16"`` or ``"float64"``.
      penalty: Weight, and number K of elements.
      layers: Names of the layers whose content is penalised.
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
        """The loss, statistics as they are, and named contributions."""
        dtype, elements = real_type(self.precision), None
        if self.augmentation != "none":
            number = () if self.penalty is None else (self.penalty.elements,)
            shape = (len(batch.graph.cells), *number)
            elements = random_elements(
                key, math.prod(shape), inversion=self.augmentation == "O(3)"
            )
            elements = elements.astype(dtype).reshape(*shape, 3, 3)
        found = self.terms(params, constants, batch, elements, totals)
        return sum(found.values(), jnp.zeros((), dtype)), (statistics, found)

    def totals(self, batch: AtomicBatch) -> dict[str, Array]:
        """Numbers of known components by label, and of structures; 1 at least."""
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
        """Contributions at given elements; None to leave all as they are."""
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
        every, features = jax.vmap(
            lambda one: self._errors(params, constants, batch, one),
            in_axes=1,
            out_axes=0,
        )(elements)
        found, spread = {}, jnp.zeros((), elements.dtype)
        structure = jnp.asarray(batch.graph.structure)
        for label in self.labels:
            # Elements do not change a norm: errors may be compared turned back.
            own = elements[structure] if label.per_atom else elements
            back = jax.vmap(
                functools.partial(act_on_samples, label.representation),
                in_axes=(1, 0),
            )(jnp.swapaxes(own, -1, -2), every[label.name])
            apart = back - jnp.mean(back, axis=0)
            known = batch.known[label.name]
            apart = jnp.sum(jnp.where(known, apart**2, 0)) / (len(back) - 1)
            spread += label.weight * apart / totals[label.name]
            found[label.name] = (
                _contribution(label, every[label.name], known) / totals[label.name]
            ) / len(back)
        if self.layers:
            sectors = tuple(Irrep.parse(label) for label in self.penalty.sectors)
            spread = sum(
                content_penalty(rows, batch.graph, elements, sectors)
                for rows in features.values()
            ) / (len(self.layers) * totals[STRUCTURES])
        return {**found, "penalty": self.penalty.weight * spread}

    def _errors(
        self, params: Any, constants: Constants, batch: AtomicBatch, elements: Any
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """Errors of all labels in units of the loss, at one element per structure.

        And features of layers.
        """
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
        found = {}
        for label in self.labels:
            reference = jnp.asarray(batch.values[label.name], dtype)
            if elements is not None:
                own = elements[graph.structure] if label.per_atom else elements
                reference = act_on_samples(label.representation, own, reference)
            error = (predictions[label.name] - reference) / constants.units[label.name]
            found[label.name] = divided_by_atoms(label, error, graph)
        return found, features


def _penalised(config: PETConfig, penalty: PenaltySection) -> tuple[str, ...]:
    """Names of the layers whose content is penalised; none for predictions."""
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
    part = jnp.where(known, _LOSSES[label.loss](jnp.where(known, error, 0)), 0)
    return label.weight * jnp.sum(part)


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
    """PET and its loss: the weighted sum over labels of mean errors.

    Every structure is turned by a random element of its own, and its labels with it.

    Args:
      model: Where to start; scales and baselines stay as they are.
      labels: What is fitted.
      size: From :func:`~symjax.training.baselines.loss_units`.
      augmentation: ``"O(3)"``, ``"SO(3)"`` or ``"none"``.
      precision: ``"float32"``, ``"bfloat16"`` or ``"float64"``.
      penalty: Several elements for each structure, and a penalty on their spread.
      trainable: What is trained, see
        :func:`~symjax.training.partial.choose_parameters`; None for everything.

    Returns:
      The task; batches are :class:`~symjax.training.batches.AtomicBatch`.
    """
    dtype = real_type(precision)

    def cast(tree: Any) -> Any:
        return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), tree)

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
