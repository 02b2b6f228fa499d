"""Adapts a trained model to other data: targets, species and energy references.

A model predicts an energy relative to its baseline, a constant for each species. Labels
from another code, functional or convention have other constants. Without new baselines,
the network would have to learn that difference, and would forget the forces.
"""

import dataclasses
import math
import warnings
from collections.abc import Iterable
from typing import Any, NamedTuple

import flax.traverse_util
import jax
import numpy as np
from jaxtyping import Float

from symjax.data.quantities import DERIVATIVES
from symjax.data.units import conversion
from symjax.errors import ArgumentError, ModelError
from symjax.metrics.errors_on_labels import LEAST_CORRELATION, apparent_unit
from symjax.models.pet.config import PETConfig
from symjax.models.pet.model import PETModel, init_pet
from symjax.so3.irreps import Irrep
from symjax.training.baselines import (
    composition,
    fit_baselines,
    least_squares,
    loss_units,
    scales_of,
    subtract_baselines,
)
from symjax.training.batches import AtomicData
from symjax.training.configuration import AtomsRun
from symjax.training.fitted import Label
from symjax.training.validation import network_outputs

_FAR = 2.0
"""Ratio of the differences between labels and predictions to the spread of the labels
from which a run warns: a constant would predict better."""
_ALIKE = 1.25
"""Factor between labels and predictions from which a run warns."""
_FEW = 8
"""Number of values that may be proportional to others by chance."""
_RESOLVED = 0.01
"""Difference per atom, in units of the model's scale, between two calculations of the
same kind."""


def check_targets(
    model: PETModel, run: AtomsRun, species: Iterable[int] = ()
) -> PETConfig:
    """Configuration of a model to fine-tune, with the targets and species that are new.

    Raises:
      ModelError: A target of the model has other irreps, or a unit to which that of the
        run cannot be converted.
    """
    known = {target.name: target for target in model.config.targets}
    added = []
    for name, section in run.targets.items():
        target = section.target(name)
        if name not in known:
            added.append(target)
            continue
        theirs = known[name]
        mine, expected = (
            (
                [(output, b.kind, b.properties) for output, b in t.outputs],
                "per atom" * t.per_atom,
            )
            for t in (target, theirs)
        )
        if mine != expected:
            raise ModelError(
                f"targets.{name}",
                mine,
                f"but the target of this name of the initial model is {expected}",
                "Describe the same target, or choose another name",
            )
        if theirs.unit:
            # Labels are converted where they are read.
            conversion(target.unit, theirs.unit, f"targets.{name}.unit", ModelError)
    return dataclasses.replace(
        model.config,
        targets=(*model.config.targets, *added),
        species=tuple(sorted({*model.config.species, *species})),
    )


def extend_model(model: PETModel, config: PETConfig, seed: int) -> PETModel:
    """Adds targets and species to a model without changing its parameters.

    Heads of new targets and embeddings of new species are random. The scale of a new
    species is the mean over the others, and its baseline 0.
    """
    fresh = init_pet(config, jax.random.key(seed), model.name)
    # Targets without invariants have an empty part of baselines, which must stay.
    flat, own = (
        flax.traverse_util.flatten_dict(each.parameters, keep_empty_nodes=True)
        for each in (fresh, model)
    )
    rows = [config.species.index(number) for number in model.config.species]
    for path, values in own.items():
        # Only tables of species change their shape, by their first axis.
        if np.shape(values) != np.shape(flat[path]):
            if path[0] == "network":
                table = np.array(flat[path])
            else:
                new = np.mean(values, axis=0) if path[0] == "scale" else 0.0
                table = np.full_like(flat[path], new)
            table[rows] = values
            values = table
        flat[path] = values
    return dataclasses.replace(
        model, config=config, parameters=flax.traverse_util.unflatten_dict(flat)
    )


class Differences(NamedTuple):
    """Differences between labels and predictions of one invariant output.

    Root mean squares over structures (or atoms) and copies, in the unit of the label;
    per atom for outputs of structures.

    Attributes:
      reference: The part of the difference that is linear in the composition: another
        zero of energy for each species.
      rest: The remaining difference.
      spread: Residual of a fit of the labels that is linear in the composition.
    """

    reference: float
    rest: float
    spread: float


def start_from(
    initial: PETModel,
    config: PETConfig,
    labels: tuple[Label, ...],
    data: AtomicData,
    run: AtomsRun,
) -> PETModel:
    """Adds the new targets and species of a run to a model, with fitted baselines.

    Baselines of new targets are fitted to the labels by least squares. Those of new
    species, or of all species with ``refit_baselines``, are fitted to the labels minus
    the predictions of the network, with the change of minimum norm where compositions
    do not determine them. This takes one prediction for all training structures. Data
    are given with baselines, and the configuration by :func:`check_targets`.

    Raises:
      ArgumentError: Labels have another energy reference than the model, and
        ``model.refit_baselines`` is not set; or labels are the predictions in another
        unit or with another sign.

    Warns:
      UserWarning: There are new species, or labels differ from predictions by much more
        than from a fit to the composition, or by a factor.
    """
    model = extend_model(initial, config, run.seed)
    parameters: dict[str, Any] = {
        **model.parameters,
        "scale": dict(model.parameters["scale"]),
        "baseline": dict(model.parameters["baseline"]),
    }
    numbers = [z for z in config.species if z not in initial.config.species]
    if numbers:
        warnings.warn(
            f"atomic numbers {numbers} are new to the initial model {initial.name!r}: "
            "their parameters are random, and learnt from the training data alone",
            stacklevel=2,
        )
    count = len(initial.config.targets)
    known, added = config.targets[:count], config.targets[count:]
    fitted = fit_baselines(config, data)
    for target in added:
        parameters["baseline"][target.name] = fitted[target.name]
    by_name = {label.name: label for label in labels}
    pairs = [
        (target, block, by_name[name])
        for target in known
        for name, block in target.outputs
        if block.is_invariant and name in by_name
    ]
    names = {name for target in known for name, _ in target.outputs} | {*DERIVATIVES}
    chosen = tuple(label for label in labels if label.name in names)
    predicted = network_outputs(config, chosen, parameters, data, run) if chosen else {}
    for label in chosen:
        _check_factor(
            label, data.values[label.name], predicted[label.name], data, config.species
        )
    every = run.model.refit_baselines is True
    columns = np.array([every or z in numbers for z in config.species])
    for target, block, label in pairs:
        counts = composition(data.graphs, config.species, per_atom=target.per_atom)
        values, outputs = (
            np.concatenate(rows).reshape(-1, block.properties)
            for rows in (data.values[label.name], predicted[label.name])
        )
        old = parameters["baseline"][target.name][block.key]
        baseline = np.array(old, np.float64)
        apart = values - outputs - counts @ baseline
        if columns.any():
            change = least_squares(counts[:, columns], apart)
            baseline[columns] += change
            apart = apart - counts[:, columns] @ change
            parameters["baseline"][target.name] = {
                **parameters["baseline"][target.name],
                block.key: baseline.astype(np.asarray(old).dtype),
            }
        found = differences(counts, values, apart)
        scale = float(np.mean(parameters["scale"][target.name][block.key]))
        _judge(label, found, scale, run)
    left = subtract_baselines(config, data, parameters["baseline"])
    size = loss_units(labels, left)
    for target in added:
        scales = scales_of(target, size, len(config.species))
        parameters["scale"][target.name] = scales
    return dataclasses.replace(model, parameters=parameters)


def _check_factor(
    label: Label,
    values: list[Float[np.ndarray, "samples ..."]],
    predicted: list[Float[np.ndarray, "samples ..."]],
    data: AtomicData,
    species: tuple[int, ...],
) -> None:
    """Refuses labels that are the predictions in another unit or with another sign.

    Warns of those that are another multiple, by which a weak model may be wrong. Of
    scalars, fits that are linear in the composition are subtracted first.
    """
    pair, fitted = [np.concatenate(rows) for rows in (values, predicted)], 0
    if label.representation.irreps == (Irrep(0, 1),):
        counts = composition(data.graphs, species, per_atom=label.per_atom)
        pair = [rows.reshape(len(counts), -1) for rows in pair]
        pair = [rows - counts @ least_squares(counts, rows) for rows in pair]
        fitted = np.linalg.matrix_rank(counts) * pair[0].shape[1]
    known = np.isfinite(pair[0])
    rows, others = (each[known] for each in pair)
    mine, theirs, product = (
        float(np.sum(one * two))
        for one, two in ((rows, rows), (others, others), (rows, others))
    )
    size = math.sqrt(mine * theirs)
    if len(rows) - fitted < _FEW or abs(product) <= LEAST_CORRELATION * size:
        return
    factor = math.copysign(math.sqrt(mine / theirs), product)
    if 1 / _ALIKE < factor < _ALIKE:
        return
    problem = f"labels are {factor:.3g} times the predictions of the initial model"
    remedy = "check their unit (energy_unit, length_unit) and sign"
    # A unit may have been mistaken for another in either direction.
    unit = apparent_unit(mine, theirs, product) or apparent_unit(theirs, mine, product)
    if not unit:
        warnings.warn(f"targets.{label.name}: {problem}; {remedy}", stacklevel=3)
        return
    raise ArgumentError(
        f"targets.{label.name}",
        f"{factor:.3g}",
        f"{problem}, which looks like a mistake of unit or sign ({unit})",
        remedy.capitalize(),
    )


def differences(
    counts: Float[np.ndarray, "samples species"],
    values: Float[np.ndarray, "samples copies"],
    apart: Float[np.ndarray, "samples copies"],
) -> Differences:
    """Splits ``apart``, labels minus predictions; unknown labels are NaN."""
    atoms = counts.sum(axis=1, keepdims=True)
    explained = counts @ least_squares(counts, apart)
    about = values - counts @ least_squares(counts, values)

    def size(rows: np.ndarray) -> float:
        rows = rows / atoms
        rows = rows[np.isfinite(values)]
        return float(np.sqrt(np.mean(rows**2))) if rows.size else 0.0

    return Differences(size(explained), size(apart - explained), size(about))


def _judge(label: Label, found: Differences, scale: float, run: AtomsRun) -> None:
    """Refuses labels with another energy reference; warns of those that are far off."""
    unit = f" {label.unit}".rstrip() + ("/atom" if not label.per_atom else "")
    limit = _FAR * max(found.spread, _RESOLVED * scale)
    if run.model.refit_baselines is None and found.reference > max(
        limit, _FAR * found.rest
    ):
        raise ArgumentError(
            f"targets.{label.name}",
            f"{found.reference:.3g}{unit}",
            "labels have another reference than the predictions of model.initial by "
            f"this much, and a spread of only {found.spread:.3g}{unit}; the network "
            "would forget forces and all else to learn it",
            "Set model.refit_baselines = true to fit the baselines again, or false "
            "if the network has to learn the difference; check energy_unit too",
        )
    far = float(np.hypot(found.reference, found.rest))
    if far > limit:
        warnings.warn(
            f"targets.{label.name}: labels differ by {far:.3g}{unit} from the "
            "predictions of the initial model, but by only "
            f"{found.spread:.3g}{unit} from a fit to the composition alone; check "
            "units, method and charges, and model.refit_baselines",
            stacklevel=3,
        )
