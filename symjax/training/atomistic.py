"""The loss of PET: labels turned together with their structures."""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

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
from symjax.training.partial import choose_parameters, whole_network


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
Terms = Callable[
    [Any, AtomicBatch, "Float[Array, 'structures 3 3'] | None", Any], dict[str, Array]
]


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


def turned_loss(
    model: PETModel,
    labels: tuple[Label, ...],
    size: Mapping[str, np.ndarray],
    precision: str = "float32",
) -> Terms:
    """The loss at given group elements.

    Returns:
      A function of network parameters, batch, one element of O(3) for each structure
      (None to leave all as they are) and, by label, what to divide by. It returns the
      contribution of each label: weight times the sum over known components of a
      function of the error in units of ``size``, divided.
    """
    errors = _turned_errors(model, labels, size, precision)

    def terms(
        params: Any, batch: AtomicBatch, elements: Any, totals: Any
    ) -> dict[str, Array]:
        found, _ = errors(params, batch, elements)
        return {
            label.name: _contribution(label, found[label.name], batch.known[label.name])
            / totals[label.name]
            for label in labels
        }

    return terms


def _turned_errors(
    model: PETModel,
    labels: tuple[Label, ...],
    size: Mapping[str, np.ndarray],
    precision: str,
    layers: tuple[str, ...] = (),
) -> Callable[[Any, AtomicBatch, Any], tuple[dict[str, Array], dict[str, Array]]]:
    """Errors of all labels in units of ``size``, at one element for each structure.

    And features of layers.
    """
    config = model.config
    dtype = real_type(precision)
    # What is not trained; of the rest only the names are read.
    network = jax.tree.map(
        lambda leaf: np.asarray(leaf, dtype), model.parameters["network"]
    )
    network_dtype = jnp.bfloat16 if precision == "bfloat16" else None
    fixed = {
        part: jax.tree.map(
            lambda leaf: jnp.asarray(leaf, dtype), model.parameters[part]
        )
        for part in ("scale", "baseline")
    }
    units = {name: jnp.asarray(value, dtype) for name, value in size.items()}

    def errors(
        params: Any, batch: AtomicBatch, elements: Any
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        graph = jax.tree.map(jnp.asarray, batch.graph)
        if elements is not None:
            graph = rotate_graph(graph, elements)
        predictions, features = predict_labels(
            config,
            labels,
            {**fixed, "network": whole_network(network, params)},
            graph,
            layers=layers,
            network_dtype=network_dtype,
        )
        found = {}
        for label in labels:
            reference = jnp.asarray(batch.values[label.name], dtype)
            if elements is not None:
                own = elements[graph.structure] if label.per_atom else elements
                reference = act_on_samples(label.representation, own, reference)
            error = (predictions[label.name] - reference) / units[label.name]
            found[label.name] = divided_by_atoms(label, error, graph)
        return found, features

    return errors


def penalized_loss(
    model: PETModel,
    labels: tuple[Label, ...],
    size: Mapping[str, np.ndarray],
    penalty: PenaltySection,
    precision: str = "float32",
) -> Terms:
    """The loss at several elements for each structure, and what they disagree by.

    With y_k = rho(g_k)^-1 f(g_k x), the penalty of a label is its weight times that of
    the penalty times ``sum_k |y_k - mean(y)|^2 / (K - 1)`` in units of ``size``, which
    estimates A^2 without bias (Domina et al., arXiv:2603.24638); the other
    contributions are means over the elements. A penalty on layers is instead its
    weight times the mean over layers and structures of the content that is not
    invariant, or of the sectors that it names (:func:`content_penalty`).

    Args:
      model: As in :func:`turned_loss`.
      labels: What is fitted.
      size: As in :func:`turned_loss`.
      penalty: Weight, and number K of elements.
      precision: As in :func:`turned_loss`.

    Returns:
      A function as that of :func:`turned_loss`, of elements of shape ``(structures, K,
      3, 3)``; its contributions hold ``"penalty"`` too.
    """
    layers = _penalised(model.config, penalty)
    sectors = tuple(Irrep.parse(label) for label in penalty.sectors)
    errors = _turned_errors(model, labels, size, precision, layers)

    def terms(
        params: Any, batch: AtomicBatch, elements: Any, totals: Any
    ) -> dict[str, Array]:
        every, features = jax.vmap(
            lambda one: errors(params, batch, one), in_axes=1, out_axes=0
        )(elements)
        found, spread = {}, jnp.zeros((), elements.dtype)
        structure = jnp.asarray(batch.graph.structure)
        for label in labels:
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
        if layers:
            spread = sum(
                content_penalty(rows, batch.graph, elements, sectors)
                for rows in features.values()
            ) / (len(layers) * totals[STRUCTURES])
        return {**found, "penalty": penalty.weight * spread}

    return terms


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
    number: tuple[int, ...] = ()
    if penalty is None:
        terms = turned_loss(model, labels, size, precision)
    else:
        terms = penalized_loss(model, labels, size, penalty, precision)
        number = (penalty.elements,)

    def totals(batch: AtomicBatch) -> dict[str, Array]:
        num = jnp.sum(jnp.asarray(batch.graph.structure_mask))
        counts = {label.name: jnp.sum(batch.counts[label.name]) for label in labels}
        return {
            name: jnp.maximum(count, 1).astype(dtype)
            for name, count in {**counts, STRUCTURES: num}.items()
        }

    def loss(
        params: Any, statistics: Any, batch: Any, key: PRNGKeyArray, totals: Any
    ) -> tuple[Array, tuple[Any, dict[str, Array]]]:
        elements = None
        if augmentation != "none":
            shape = (len(batch.graph.cells), *number)
            elements = random_elements(
                key, math.prod(shape), inversion=augmentation == "O(3)"
            )
            elements = elements.astype(dtype).reshape(*shape, 3, 3)
        found = terms(params, batch, elements, totals)
        return sum(found.values(), jnp.zeros((), dtype)), (statistics, found)

    fitted = choose_parameters(model.config, model.parameters["network"], trainable)
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), fitted)
    return Task(params, {}, loss, totals)
