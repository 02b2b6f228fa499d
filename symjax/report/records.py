"""What a report stores of a measurement."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import ase
import numpy as np

from symjax.data import periodic_cell
from symjax.metrics import Convergence, LeafMeasurement, Measurement, Output
from symjax.report import schema
from symjax.report.scales import forbidden_samples, spread_of, usable_symmetry


def leaves_of(
    measurement: Measurement,
    outputs: Mapping[str, Output],
    names: Sequence[str],
    atoms: ase.Atoms | None = None,
) -> tuple[schema.Leaf, ...]:
    """What a report stores of a measurement.

    Args:
      measurement: The measurement.
      outputs: What is known about each output.
      names: Names of what ``samples`` number: elements, or classes of points.
      atoms: The structure; None for events.

    Returns:
      The leaves with additive totals, in the order of ``outputs``: JAX sorts the
      outputs of a function by name, a report keeps the order of the network.

    Example:
      >>> import jax.numpy as jnp, numpy as np
      >>> from ase.data import chemical_symbols
      >>> from symjax.metrics import Grid, Output, Problem, measure
      >>> from symjax.report.records import leaves_of
      >>> from symjax.so3 import VECTOR
      >>> outputs = {"output": Output(VECTOR, "eV/A", samples=np.array([8, 1, 1]))}
      >>> problem = Problem(lambda x: x, jnp.eye(3), outputs)
      >>> result = measure(problem, over=Grid(3), max_degree=1)
      >>> leaf, = leaves_of(result, outputs, chemical_symbols)
      >>> leaf.unit, {symbol: float(t.count[0]) for symbol, t in leaf.species.items()}
      ('eV/A', {'H': 6.0, 'O': 3.0})
    """
    symmetry = None if atoms is None else usable_symmetry(atoms)
    return tuple(
        schema.Leaf(
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
        )
        for name, output in outputs.items()
        if (leaf := measurement.get(name)) is not None
    )


def _verdict(leaf: LeafMeasurement) -> Convergence | None:
    """The verdict; of a climb, whether its result is certified."""
    certificate, verdict = leaf.certificate, leaf.convergence
    if certificate is None or verdict is None:
        return verdict
    return dataclasses.replace(
        verdict,
        resolved=certificate.certified,
        degree_to_try=certificate.degree_to_try,
        reason=certificate.reason,
    )


def atom_errors(
    measurement: Measurement, outputs: Mapping[str, Output], atoms: ase.Atoms
) -> schema.AtomErrors:
    """The equivariance error of every atom, A_i = sqrt(V_i / number of components).

    Args:
      measurement: The measurement.
      outputs: What is known about each output.
      atoms: The structure; its atoms are the first samples.

    Returns:
      Errors of the outputs of atoms, with the positions of the atoms.

    Example:
      >>> import ase.build
      >>> from symjax.metrics import Grid, Output, Problem, measure
      >>> from symjax.report.records import atom_errors
      >>> from symjax.so3 import VECTOR
      >>> water = ase.build.molecule("H2O")
      >>> outputs = {"output": Output(VECTOR, samples=water.numbers)}
      >>> problem = Problem(lambda x: x, water.positions, outputs)
      >>> result = measure(problem, over=Grid(3), max_degree=1)
      >>> bool((atom_errors(result, outputs, water).errors["output"] < 1e-6).all())
      True
    """
    errors = {}
    for name, output in outputs.items():
        if output.kind != "output" or output.samples is None or name not in measurement:
            continue
        leaf = measurement[name]
        count = leaf.representation.dimension * leaf.channels
        variance = leaf.variance[: len(atoms)].sum(axis=-1)
        errors[name] = np.sqrt(np.maximum(variance, 0) / count)
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
