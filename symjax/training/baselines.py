"""Baselines and scales of data, and fresh models with these."""

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from symjax.data.graph import Graph
from symjax.data.quantities import Block, Target
from symjax.models.pet.config import PETConfig
from symjax.models.pet.model import PETModel, init_pet
from symjax.training.batches import AtomicData, count_known
from symjax.training.fitted import FORCES, Label

# Ratio of residuals from which labels count as energies per atom.
_INTENSIVE = 10.0
# Structures in excess of the fitted constants, from which that is judged.
_MORE_THAN_FITTED = 3


def composition(
    graphs: Sequence[Graph], species: tuple[int, ...], *, per_atom: bool = False
) -> Float[np.ndarray, "samples species"]:
    """Number of atoms of each species in each structure, or one-hot for each atom."""
    rows = [np.asarray(graph.species)[:, None] == species for graph in graphs]
    if per_atom:
        return np.concatenate(rows).astype(float)
    return np.array([row.sum(axis=0) for row in rows], float)


def fit_baselines(
    config: PETConfig, data: AtomicData
) -> dict[str, dict[str, Float[np.ndarray, "species copies"]]]:
    """Fits one constant per species to each invariant target, by least squares.

    Returns:
      Baselines by target and block, in float64; 0 for targets without labels. Where
      compositions do not determine them, those of minimum norm.
    """

    def fitted(target: Target, block: Block) -> np.ndarray:
        rows = data.values.get(target.output(block), [])
        if not rows:
            return np.zeros((len(config.species), block.properties))
        counts = composition(data.graphs, config.species, per_atom=target.per_atom)
        return least_squares(counts, np.concatenate(rows).reshape(-1, block.properties))

    return config.by_block(fitted, invariant=True)


def least_squares(
    counts: Float[np.ndarray, "samples species"],
    values: Float[np.ndarray, "samples copies"],
) -> Float[np.ndarray, "species copies"]:
    """Fits one constant per species to values, for each copy on its own.

    Args:
      counts: Number of atoms of each species.
      values: Values to fit; NaN where they are not known.

    Returns:
      The constants, those of minimum norm where compositions do not determine them.

    Example:
      >>> import numpy as np
      >>> from symjax.training.baselines import least_squares
      >>> counts = np.array([[2.0, 1.0], [2.0, 0.0], [1.0, 1.0]])
      >>> values = np.array([[-5.0], [-2.0], [np.nan]])
      >>> least_squares(counts, values).round(9).ravel().tolist()
      [-1.0, -3.0]
    """
    solution = np.zeros((counts.shape[1], values.shape[1]))
    for column, rows in enumerate(values.T):
        known = np.isfinite(rows)
        solution[:, column] = np.linalg.lstsq(counts[known], rows[known], rcond=None)[0]
    return solution


def subtract_baselines(
    config: PETConfig, data: AtomicData, baselines: Mapping[str, Mapping[str, Any]]
) -> AtomicData:
    """Subtracts baselines from all invariant labels.

    In float64, as float32 leaves few digits of a total energy of thousands of eV.
    """
    values = dict(data.values)
    for name, target, block in config.outputs:
        if name not in values or not block.is_invariant:
            continue
        weights = np.asarray(baselines[target.name][block.key], np.float64)
        values[name] = [
            rows
            - (
                composition([graph], config.species, per_atom=target.per_atom) @ weights
            ).reshape(rows.shape)
            for graph, rows in zip(data.graphs, values[name], strict=True)
        ]
    return dataclasses.replace(data, values=values)


def warn_of_intensive(config: PETConfig, data: AtomicData) -> None:
    """Warns of energies whose values look like energies per atom.

    A linear fit to the fractions of species leaves a residual ten times smaller than
    one to the numbers of their atoms.
    """
    for target in config.targets:
        if not target.is_energy or target.name not in data.values:
            continue
        values = np.concatenate(data.values[target.name]).reshape(-1, 1)
        counts = composition(data.graphs, config.species)
        known = np.isfinite(values[:, 0])
        values, counts = values[known], counts[known]
        atoms = counts.sum(axis=1, keepdims=True)
        enough = len(values) >= np.linalg.matrix_rank(counts) + _MORE_THAN_FITTED
        if not enough or len(np.unique(atoms)) < 2:
            continue
        of_numbers, of_shares = (
            np.linalg.norm(values - columns @ least_squares(columns, values))
            for columns in (counts, counts / atoms)
        )
        if of_shares < of_numbers / _INTENSIVE:
            warnings.warn(
                f"targets.{target.name}: values do not grow with the number of atoms, "
                "but a model sums over atoms: are they energies per atom?",
                stacklevel=2,
            )


def loss_units(
    labels: tuple[Label, ...], data: AtomicData
) -> dict[str, Float[np.ndarray, "copies"]]:
    """Units in which the loss measures errors: the root mean square of each label.

    Over its known components, of the values per atom if its errors are divided by the
    number of atoms; 1 where all values are 0. Except for an energy with forces, whose
    errors are measured in the root mean square of the forces times one angstrom:
    energies vary so little that their own unit would let them dominate the forces.
    """
    sizes = {}
    for label in labels:
        rows = data.values[label.name]
        if label.divide_by_atoms:
            rows = [
                row / len(graph.species)
                for row, graph in zip(rows, data.graphs, strict=True)
            ]
        values = np.concatenate(rows)
        known = np.isfinite(values)
        axes = tuple(range(values.ndim - 1))
        count = np.maximum(count_known(label, rows, data.graphs), 1)
        square = np.where(known, values, 0) ** 2
        size = np.sqrt(square.sum(axis=axes) / count)
        sizes[label.name] = np.where(size > 0, size, 1.0)
    energy = energy_of(labels)
    if energy is not None and FORCES in sizes:
        sizes[energy] = sizes[FORCES]
    return sizes


def fresh_model(
    config: PETConfig,
    labels: tuple[Label, ...],
    data: AtomicData,
    seed: int,
    name: str,
) -> PETModel:
    """A model with random parameters, and with baselines and scales of the data.

    The scales are :func:`loss_units` of data from which the baselines are subtracted.
    """
    model = init_pet(config, jax.random.key(seed), name)
    baselines = fit_baselines(config, data)
    size = loss_units(labels, subtract_baselines(config, data, baselines))
    parameters = {
        **model.parameters,
        "scale": {
            target.name: scales_of(target, size, len(config.species))
            for target in config.targets
        },
        "baseline": jax.tree.map(np.float32, baselines),
    }
    return dataclasses.replace(model, parameters=parameters)


def scales_of(
    target: Target, size: Mapping[str, np.ndarray], num_species: int
) -> dict[str, Float[np.ndarray, "species copies"]]:
    """Scales of a target, the same for all species; 1 for outputs without a size."""
    scales = {}
    for name, block in target.outputs:
        chosen = size.get(name, np.ones(block.properties))
        scales[block.key] = np.tile(chosen.astype(np.float32), (num_species, 1))
    return scales


def energy_of(labels: tuple[Label, ...]) -> str | None:
    """Name of the energy whose derivatives are fitted, or None."""
    return next(
        (label.differentiated for label in labels if label.differentiated), None
    )
