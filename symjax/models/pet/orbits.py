"""Problems for ``symjax.metrics``: a PET on the orbit of a structure."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import ase
import numpy as np
from jaxtyping import Array

from symjax.data.cells import NO_STRESS, stress_volume
from symjax.data.graph import Graph, GraphShape
from symjax.data.quantities import Target
from symjax.data.symmetry import Symmetry, edge_permutations, find_symmetry
from symjax.data.units import derivative_unit
from symjax.errors import ArgumentError, ModelError
from symjax.metrics.problem import Output, Problem
from symjax.models._layers import match_layers
from symjax.models.pet.config import PETConfig
from symjax.models.pet.derivatives import evaluate
from symjax.models.pet.energies import choose_energy
from symjax.models.pet.evaluation import Evaluation, output_names
from symjax.models.pet.graphs import pet_graph
from symjax.models.pet.layers import describe_layers, distinct_layers, layer_names
from symjax.models.pet.model import PETModel
from symjax.models.pet.uncertainty import (
    ensemble_name,
    uncertain_outputs,
    uncertainty_name,
)
from symjax.models.precision import cast_parameters
from symjax.so3.representations import FEATURE, MATRIX, SCALAR, VECTOR, Representation
from symjax.so3.sample_symmetry import SampleSymmetry


def select_layers(config: PETConfig, layers: str | Sequence[str]) -> tuple[str, ...]:
    """Selects layers by name.

    Args:
      config: Hyperparameters and targets.
      layers: ``"none"``; ``"all"`` for every layer with orientation-dependent features,
        without repeats; or names or regular expressions, as a sequence or separated by
        commas, each of which must match a full name.

    Returns:
      Names in network order.

    Raises:
      ModelError: A pattern matches no layer, or is not a regular expression.

    Example:
      >>> from symjax.models.pet import PETConfig, select_layers
      >>> select_layers(PETConfig(species=(1,)), "node_heads.*")
      ('node_heads.energy.0',)
    """
    known = layer_names(config)
    if layers == "none":
        return ()
    if layers == "all":
        return distinct_layers(config)
    return match_layers(layers, known)


@functools.lru_cache(maxsize=64)
def _function(evaluation: Evaluation) -> Callable[..., dict[str, Array]]:
    """The function on the orbit; cached, so that its compiled code is reused."""

    def function(x: Any, parameters: Any, graph: Graph) -> dict[str, Array]:
        return evaluate(evaluation, parameters, moved(graph, x))

    return function


def _rotating(graph: Graph, forces: bool, stress: bool) -> Any:
    """Everything that rotates and that the outputs depend on."""
    rows = np.asarray(graph.vectors)
    if (forces or stress) and graph.surroundings is not None:
        rows = np.concatenate([rows, graph.surroundings.vectors], axis=1)
    if graph.mesh is not None:
        mesh = graph.mesh
        return {"edges": rows, "positions": mesh.positions, "cells": mesh.cells}
    # The stress of a slab depends on its plane; that of a crystal only on its volume.
    if stress and not np.all(np.any(graph.cells != 0, axis=-1)):
        return {"edges": rows, "cells": np.asarray(graph.cells)}
    return rows


def moved(graph: Graph, x: Any) -> Graph:
    """The graph in the orientation of ``x``, the input of :func:`orbit_problem`."""
    rows = x
    if isinstance(x, dict):
        rows = x["edges"]
        graph = graph.replace(cells=x["cells"])
    if graph.mesh is not None:
        mesh = graph.mesh.replace(positions=x["positions"], cells=x["cells"])
        graph = graph.replace(mesh=mesh)
    width, around = graph.neighbors.shape[1], graph.surroundings
    if around is not None and rows.shape[1] > width:
        around = around.replace(vectors=rows[:, width:])
    return graph.replace(vectors=rows[:, :width], surroundings=around)


def orbit_problem(
    model: PETModel,
    atoms: ase.Atoms,
    *,
    layers: str | Sequence[str] = "all",
    outputs: Sequence[str] | None = None,
    energy: str | None = None,
    dtype: Any = "float32",
    shape: GraphShape | None = None,
    symmetry: str | Symmetry | None = None,
) -> Problem:
    """Prepares a model and a structure for :func:`symjax.metrics.measure`.

    The group acts on the edge vectors and, with long-range features, on positions and
    cells. Lengths, cutoffs and neighbors are invariant and computed once. For
    derivatives with an adaptive cutoff, ``x`` also holds the vectors of all pairs,
    since the radii depend on atoms beyond the edges. The baseline of each species is
    left out: it is invariant, and so large that it would hide the symmetry content of
    the rest.

    Args:
      model: The model.
      atoms: The structure.
      layers: Layers to measure, see :func:`select_layers`.
      outputs: Names of targets, uncertainties and ensembles, ``"forces"`` and
        ``"stress"``; by default everything that the model has, with forces if it has an
        energy, and stress if in addition the structure has a periodic direction and its
        cell a volume.
      energy: Name of the target that forces and stress are derivatives of, see
        :func:`~symjax.models.pet.choose_energy`.
      dtype: ``"float32"`` or ``"float64"``.
      shape: Sizes to pad the graph to; by default the smallest possible.
      symmetry: Point group, with which :func:`symjax.metrics.measure` saves
        evaluations: ``"auto"`` to find it (within 1e-5 angstrom), a symmetry from
        :func:`symjax.data.find_symmetry`, or None. Elements that do not map the graph
        onto itself, because a neighbor is at the cutoff, are not used. None are used
        for periodic structures with long-range features, whose mesh does not have the
        symmetry of the crystal.

    Returns:
      The problem.

    Raises:
      ModelError: The model has no such layer, output or energy; it has several energies
        and none was named; it does not know the total charge or multiplicity; the
        stress is requested of a structure without one; or ``dtype`` is float64 while
        JAX has it disabled.
      StructureError: The structure cannot be used, or has unknown species.
      ArgumentError: A size in ``shape`` is too small, or ``symmetry`` is not a symmetry
        of the structure.

    Example:
      >>> import ase.build
      >>> from symjax.metrics import measure
      >>> from symjax.models import load_model
      >>> from symjax.models.pet import orbit_problem
      >>> problem = orbit_problem(
      ...     load_model("pet-ethanol"), ase.build.molecule("CH3CH2OH"), layers="none"
      ... )
      >>> {name: output.unit for name, output in problem.outputs.items()}
      {'energy': 'eV', 'forces': 'eV/angstrom'}
    """
    config = model.config
    has_stress = isinstance(atoms, ase.Atoms) and stress_volume(atoms) > 0
    evaluation = choose_outputs(config, layers, outputs, energy, has_stress)
    graph = pet_graph(config, atoms, shape=shape, dtype=dtype)
    parameters = cast_parameters(model.parameters, dtype)
    found, per = describe_outputs(config, evaluation, graph)
    found |= _with_offsets(model, found, evaluation, atoms)
    group = _point_group(atoms, graph, symmetry)
    return Problem(
        _function(evaluation),
        _rotating(graph, evaluation.forces, evaluation.stress),
        found,
        args=(parameters, graph),
        symmetry=None if group is None else _sample_symmetry(per, graph, group),
    )


def choose_outputs(
    config: PETConfig,
    layers: str | Sequence[str],
    outputs: Sequence[str] | None,
    energy: str | None,
    has_stress: bool,
) -> Evaluation:
    """The evaluation, without baselines, of what a user names in :func:`orbit_problem`.

    ``has_stress`` says whether the structures have a stress
    (:func:`symjax.data.cells.stress_volume`).

    Raises:
      ModelError: The model has no such layer, output or energy; it has several energies
        and none was named; or the stress of structures without one is requested.
    """
    names = output_names(config)
    if outputs is None:
        derived = ("forces", "stress") if has_stress else ("forces",)
        outputs = names + (derived if choose_energy(config, energy) else ())
    for name in outputs:
        if name not in (*names, "forces", "stress"):
            raise ModelError(
                "outputs",
                name,
                "the model has no such output",
                f"Use {', '.join(names)}, forces or stress",
            )
    if "stress" in outputs and not has_stress:
        raise ModelError("outputs", "stress", *NO_STRESS)
    targets = tuple(name for name in names if name in outputs)
    return Evaluation(
        config,
        targets,
        select_layers(config, layers),
        energy=energy,
        forces="forces" in outputs,
        stress="stress" in outputs,
        baseline=False,
    )


def describe_outputs(
    config: PETConfig, evaluation: Evaluation, graph: Graph
) -> tuple[dict[str, Output], dict[str, str]]:
    """Describes the outputs and features of an evaluation on a graph.

    Returns:
      Descriptions by name; and by name whether there is one sample for each ``"atom"``,
      ``"edge"`` or ``"structure"``.
    """
    uncertain = uncertain_outputs(config)
    found: dict[str, Output] = {}
    per: dict[str, str] = {}
    chosen = [one for one in describe_layers(config) if one.name in evaluation.layers]

    def add(
        name: str, sample: str, representation: Representation, **known: Any
    ) -> None:
        mask, species = _samples(graph, sample)
        found[name] = Output(representation, mask=mask, samples=species, **known)
        per[name] = sample

    def add_target(name: str, target: Target, representation: Representation) -> None:
        sample = "atom" if target.per_atom else "structure"
        reads = tuple(layer.name for layer in chosen if layer.target == target.name)
        add(name, sample, representation, unit=target.unit, reads=reads)

    for name, target, block in config.outputs:
        if target.name in evaluation.chosen:
            add_target(name, target, block.representation)
    for name in (name for name in uncertain if name in evaluation.chosen):
        target = config.target(uncertain[name].target)
        is_ensemble = name == ensemble_name(target.name)
        kind = target.blocks[0].with_channels if is_ensemble else SCALAR
        add_target(name, target, kind)
    if evaluation.differentiated is not None:
        unit = config.target(evaluation.differentiated).unit
        if evaluation.forces:
            add("forces", "atom", VECTOR, unit=derivative_unit("forces", unit))
        if evaluation.stress:
            add("stress", "structure", MATRIX, unit=derivative_unit("stress", unit))
    for layer in chosen:
        sample = "edge" if layer.kind == "edge" else "atom"
        # Information that a head of another target lacks is not lost either.
        beside = layer.beside or layer.target not in ("", *evaluation.chosen)
        add(layer.name, sample, FEATURE, kind=layer.kind, beside=beside)
    return found, per


def _with_offsets(
    model: PETModel,
    outputs: dict[str, Output],
    evaluation: Evaluation,
    atoms: ase.Atoms,
) -> dict[str, Output]:
    """Sets the offset and the uncertainty of invariant targets."""
    config = model.config
    species = np.searchsorted(config.species, atoms.numbers)
    found = {}
    for name, target, block in config.outputs:
        if name not in outputs or not block.is_invariant:
            continue
        baseline = model.parameters["baseline"][target.name][block.key]
        each = np.asarray(baseline, np.float64)[species]
        offset = each if target.per_atom else each.sum(axis=0)
        if not block.representation.has_channels:
            offset = offset[..., 0]
        uncertainty = uncertainty_name(target.name)
        found[name] = dataclasses.replace(
            outputs[name],
            offset=offset,
            uncertainty=uncertainty if uncertainty in evaluation.chosen else "",
        )
    return found


def _samples(graph: Graph, sample: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Mask of the real samples of a kind, and the atomic number of each."""
    species = np.asarray(graph.species)
    if sample == "atom":
        return np.asarray(graph.atom_mask), species
    if sample == "edge":
        mask = np.asarray(graph.edge_mask)
        return mask, np.broadcast_to(species[:, None], mask.shape)
    return np.asarray(graph.structure_mask), None


def _point_group(
    atoms: ase.Atoms, graph: Graph, symmetry: str | Symmetry | None
) -> Symmetry | None:
    """Point group elements that map the graph onto itself; None if only identity."""
    if symmetry is None:
        return None
    if isinstance(symmetry, str) and symmetry == "auto":
        symmetry = find_symmetry(atoms)
    if not isinstance(symmetry, Symmetry):
        raise ArgumentError(
            "symmetry",
            symmetry,
            "is not a symmetry",
            "Use 'auto', None, or the result of symjax.data.find_symmetry",
        )
    if symmetry.permutations.shape[1] != len(atoms):
        raise ArgumentError(
            "symmetry",
            symmetry.permutations.shape,
            f"is not a symmetry of {len(atoms)} atoms",
            "Use 'auto', or pass the symmetry of this structure",
        )
    keep, _ = edge_permutations(graph, symmetry)
    symmetry = symmetry.subset(keep)
    if graph.mesh is not None and np.any(graph.mesh.sizes):
        return None
    return symmetry if symmetry.order > 1 else None


def _sample_symmetry(
    per: dict[str, str], graph: Graph, group: Symmetry
) -> SampleSymmetry:
    """Permutations of the samples of every output; padding is mapped to itself."""
    _, edges = edge_permutations(graph, group)
    atoms = np.tile(np.arange(len(graph.species)), (group.order, 1))
    atoms[:, : group.permutations.shape[1]] = group.permutations
    structures = np.tile(np.arange(len(graph.structure_mask)), (group.order, 1))
    of_kind = {"atom": atoms, "edge": edges, "structure": structures}
    permutations = {name: of_kind[sample] for name, sample in per.items()}
    return SampleSymmetry(group.elements, permutations, name=group.name)
