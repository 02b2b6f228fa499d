"""Predictions of PET for many structures, and their errors."""

import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from symjax.data.graph import graph_shape
from symjax.models.pet.config import PETConfig
from symjax.training.atomistic import divided_by_atoms, predict_labels, real_type
from symjax.training.batches import AtomicBatch, AtomicData, collate
from symjax.training.configuration import AtomsRun
from symjax.training.fitted import Label
from symjax.training.loader import batch_shape

_predict = jax.jit(predict_labels, static_argnums=(0, 1))


@functools.partial(jax.jit, static_argnums=(0, 1))
def _sums(
    config: PETConfig, labels: tuple[Label, ...], parameters: Any, batch: AtomicBatch
) -> dict[str, tuple[Array, Array, Array]]:
    """Sums of squared and absolute errors and their number, by label and copy."""
    graph = batch.graph
    predictions, _ = predict_labels(config, labels, parameters, graph)
    sums = {}
    for label in labels:
        error = predictions[label.name] - batch.values[label.name]
        error = divided_by_atoms(label, error, graph)
        known = batch.known[label.name]
        error = jnp.where(known, error, 0)
        axes = tuple(range(error.ndim - 1))
        sums[label.name] = (
            jnp.sum(error**2, axes),
            jnp.sum(jnp.abs(error), axes),
            jnp.asarray(batch.counts[label.name]),
        )
    return sums


def validation_errors(
    config: PETConfig,
    labels: tuple[Label, ...],
    parameters: Any,
    data: AtomicData,
    size: dict[str, np.ndarray],
    run: AtomsRun,
) -> dict[str, float]:
    """Errors of a model on structures in their given orientation.

    Args:
      config: Hyperparameters and targets.
      labels: The labels.
      parameters: As in :class:`~symjax.models.pet.PETModel`.
      data: Structures with labels, without the baselines.
      size: Units of errors for the score, by label.
      run: Configuration with the limits of a batch and the precision.

    Returns:
      ``NAME_rmse`` and ``NAME_mae`` in the unit of the label, per atom if its errors
      are divided by the number of atoms, and ``score``: the sum over labels of their
      weight times the mean square of their errors in units of ``size``. Labels that no
      structure has are left out; empty if that is all of them.
    """
    totals: dict[str, list[Any]] = {}
    for _, collated in _batches(labels, data, run):
        sums = jax.device_get(_sums(config, labels, parameters, collated))
        for name, values in sums.items():
            old = totals.get(name, [0.0, 0.0, 0.0])
            totals[name] = [
                a + np.asarray(b, float) for a, b in zip(old, values, strict=True)
            ]
    errors, score = {}, 0.0
    for label in labels:
        square, absolute, count = totals[label.name]
        number = float(count.sum())
        if not number:
            continue
        errors[f"{label.name}_rmse"] = float(np.sqrt(square.sum() / number))
        errors[f"{label.name}_mae"] = float(absolute.sum() / number)
        relative = square / size[label.name] ** 2
        score += label.weight * float(relative.sum()) / number
    return {**errors, "score": score} if errors else {}


def network_outputs(
    config: PETConfig,
    labels: tuple[Label, ...],
    parameters: Any,
    data: AtomicData,
    run: AtomsRun,
) -> dict[str, list[Float[np.ndarray, "samples ..."]]]:
    """Predictions of a network for structures, without baselines.

    Arguments are those of :func:`validation_errors`.

    Returns:
      For each label and structure an array of the shape of its values, in float64.
    """
    predictions: dict[str, list[np.ndarray]] = {label.name: [] for label in labels}
    for part, batch in _batches(labels, data, run):
        outputs, _ = jax.device_get(_predict(config, labels, parameters, batch.graph))
        sizes = [len(data.graphs[index].species) for index in part]
        for label in labels:
            rows = np.asarray(outputs[label.name], np.float64)
            ends = np.cumsum(sizes if label.per_atom else [1] * len(part))
            predictions[label.name] += np.split(rows[: ends[-1]], ends[:-1])
    return predictions


def _batches(
    labels: tuple[Label, ...], data: AtomicData, run: AtomsRun
) -> Iterator[tuple[np.ndarray, AtomicBatch]]:
    """Batches of all structures in order, padded to one shape."""
    shapes, batch = [graph_shape(graph) for graph in data.graphs], run.batch
    num_atoms = np.array([shape.num_atoms for shape in shapes])
    most = batch.model_copy(update={"max_atoms": max(batch.max_atoms, num_atoms.max())})
    shape = batch_shape([np.arange(len(data))], shapes, most)
    dtype = real_type(run.precision)
    for part in _packed(num_atoms, most.max_atoms, most.max_structures):
        yield part, collate(labels, data, part, shape, dtype)


def _packed(num_atoms: np.ndarray, atoms: int, structures: int) -> list[np.ndarray]:
    """Indices of structures in order, in parts within limits."""
    parts: list[list[int]] = [[]]
    for index, size in enumerate(num_atoms):
        held = int(num_atoms[parts[-1]].sum())
        if parts[-1] and (held + size > atoms or len(parts[-1]) == structures):
            parts.append([])
        parts[-1].append(index)
    return [np.array(part) for part in parts]
