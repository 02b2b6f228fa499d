"""From a measurement to what a report stores of it."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import ase
import numpy as np
from ase.data import chemical_symbols

from symjax.data import periodic_cell
from symjax.data.digests import event_digest, structure_digest
from symjax.data.point_clouds import CLASSES, PARTICLES, PointCloud
from symjax.metrics import (
    Convergence,
    LabelErrors,
    LeafMeasurement,
    Measurement,
    Output,
    Problem,
    label_errors,
)
from symjax.report import schema
from symjax.report.event_schema import Breaking, EventPoints
from symjax.report.leaves import Leaf
from symjax.report.scales import (
    energy_unit,
    forbidden_samples,
    spread_of,
    usable_symmetry,
)
from symjax.so3.representations import SCALAR


def heading(item: ase.Atoms | PointCloud | None) -> dict[str, Any]:
    """The fields ``formula``, ``num_atoms`` and ``digest`` of an item in a report.

    The item is a structure, a prepared event, or None if it could not be read.
    """
    if item is None:
        return {"formula": "", "num_atoms": 0, "digest": ""}
    if isinstance(item, PointCloud):
        size, digest = item.num_points, event_digest(item)
        return {"formula": "event", "num_atoms": size, "digest": digest}
    return {
        "formula": _structure(item).get_chemical_formula(),
        "num_atoms": len(item),
        "digest": structure_digest(item),
    }


def _structure(item: ase.Atoms) -> ase.Atoms:
    if not isinstance(item, ase.Atoms):
        raise TypeError(f"{type(item).__name__} is neither a structure nor an event")
    return item


def numbers(
    item: ase.Atoms | PointCloud,
    measurement: Measurement,
    problem: Problem,
    breaking: tuple[Breaking, ...] = (),
) -> dict[str, Any]:
    """The fields ``leaves``, and ``atoms`` or ``points``, of a measured item."""
    if isinstance(item, PointCloud):
        leaves = leaves_of(measurement, problem.outputs, CLASSES)
        return {
            "leaves": _with_particles(leaves, measurement, item),
            "points": _points(item, measurement, problem, breaking),
            "breaking": breaking,
        }
    atoms, outputs = _structure(item), problem.outputs
    return {
        "leaves": leaves_of(measurement, outputs, chemical_symbols, atoms),
        "atoms": _atom_errors(measurement, outputs, atoms),
    }


def leaves_of(
    measurement: Measurement,
    outputs: Mapping[str, Output],
    names: Sequence[str],
    atoms: ase.Atoms | None = None,
) -> tuple[Leaf, ...]:
    """Leaves with additive totals, in the order of ``outputs``.

    JAX sorts the outputs of a function by name; a report keeps the network's order.

    Args:
      measurement: The measurement.
      outputs: Description of each output, by name.
      names: Names of the species that the numbers in ``Output.samples`` stand for:
        elements, or classes of points.
      atoms: The structure; None for events.

    Returns:
      The leaves of the outputs that were measured.
    """
    symmetry = None if atoms is None else usable_symmetry(atoms)
    return tuple(
        Leaf(
            name=name,
            kind=output.kind,
            unit=output.unit,
            representation=str(leaf.representation),
            irreps=tuple(str(irrep) for irrep in leaf.representation.irreps),
            channels=leaf.channels,
            totals=leaf.totals(),
            species=(
                {} if output.kind == "edge" else _by_sample(leaf, output.samples, names)
            ),
            convergence=_verdict(leaf),
            coarser=leaf.coarser,
            certificate=leaf.certificate,
            spread=(
                spread_of(leaf, output.unit, 0 if atoms is None else len(atoms))
                if output.kind == "output"
                else None
            ),
            forbidden=(
                ()
                if atoms is None or symmetry is None
                else forbidden_samples(leaf, output, symmetry, atoms.numbers)
            ),
            response=leaf.response,
            labels=_labels_of(leaf, output, measurement, atoms),
            reads=output.reads,
            beside=output.beside,
            epsilon=leaf.epsilon,
        )
        for name, output in outputs.items()
        if (leaf := measurement.get(name)) is not None
    )


def _labels_of(
    leaf: LeafMeasurement,
    output: Output,
    measurement: Measurement,
    atoms: ase.Atoms | None,
) -> LabelErrors | None:
    """Errors on labels; those of total energies are divided by the number of atoms."""
    if output.labels is None:
        return None
    numbers = np.zeros(0, int)
    if (
        atoms is not None
        and output.samples is None
        and output.representation == SCALAR
        and energy_unit(output.unit) is not None
    ):
        numbers = atoms.numbers
    own = measurement.get(output.uncertainty)
    return label_errors(leaf, output.labels, numbers, own)


def _verdict(leaf: LeafMeasurement) -> Convergence | None:
    """The verdict; of an adaptive grid, whether its result is certified."""
    certificate, verdict = leaf.certificate, leaf.convergence
    if certificate is None or verdict is None:
        return verdict
    return dataclasses.replace(
        verdict,
        resolved=certificate.certified,
        degree_to_try=certificate.degree_to_try,
        reason=certificate.reason,
    )


def _atom_errors(
    measurement: Measurement, outputs: Mapping[str, Output], atoms: ase.Atoms
) -> schema.AtomErrors:
    """The equivariance error of every atom, A_i = sqrt(V_i / number of components).

    Atoms are the first samples of the structure.
    """
    errors = {}
    for name, output in outputs.items():
        if output.kind != "output" or output.samples is None or name not in measurement:
            continue
        errors[name] = _errors(measurement[name])[: len(atoms)]
    return schema.AtomErrors(
        tuple(atoms.numbers.tolist()),
        atoms.positions.astype(float),
        periodic_cell(atoms),
        errors,
    )


def _by_sample(
    leaf: LeafMeasurement, samples: np.ndarray | None, names: Sequence[str]
) -> dict[str, Any]:
    """Totals of the samples of each kind; negative numbers stand for none."""
    if samples is None:
        return {}
    samples = np.broadcast_to(samples, leaf.mask.shape)
    present = [number for number in np.unique(samples[leaf.mask]) if number >= 0]
    return {names[number]: leaf.totals(samples == number) for number in present}


def _with_particles(
    leaves: tuple[Leaf, ...], measurement: Measurement, cloud: PointCloud
) -> tuple[Leaf, ...]:
    """Adds the totals of each particle where samples are points."""
    particle = np.asarray(cloud.particle)
    present = np.unique(particle[particle >= 0]).tolist()
    return tuple(
        dataclasses.replace(
            leaf,
            particles={
                _particle_name(number): measurement[leaf.name].totals(
                    particle == number
                )
                for number in present
            },
        )
        if leaf.species
        else leaf
        for leaf in leaves
    )


def _particle_name(number: int) -> str:
    """Name of a particle by its number in PILArNet-M, or that number."""
    return PARTICLES[number] if number < len(PARTICLES) else f"particle {number}"


def _points(
    cloud: PointCloud,
    measurement: Measurement,
    problem: Problem,
    breaking: tuple[Breaking, ...],
) -> EventPoints:
    real = np.asarray(cloud.mask)
    errors = {}
    for name, output in problem.outputs.items():
        if output.kind == "output" and output.samples is not None:
            errors[name] = _errors(measurement[name])[real]
    labels, changes = np.zeros(0, int), np.zeros(0)
    if breaking:
        shares = breaking[-1].labels.frequencies
        labels, changes = shares.argmax(axis=1), 1 - shares.max(axis=1)
    return EventPoints(
        np.asarray(cloud.positions, float)[real],
        np.asarray(cloud.energies, float)[real],
        np.asarray(cloud.semantic)[real],
        errors,
        labels,
        changes,
    )


def _errors(leaf: LeafMeasurement) -> np.ndarray:
    """A of every sample, sqrt(V_i / number of components)."""
    count = leaf.representation.dimension * leaf.channels
    return np.sqrt(np.maximum(leaf.variance.sum(axis=-1), 0) / count)
