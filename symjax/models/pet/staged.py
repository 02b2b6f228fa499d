"""A PET on the orbit, with access to the features that its GNN layers pass on."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ase
import numpy as np
from jaxtyping import Array

from symjax.data.graph import Graph
from symjax.data.label_fields import LabelFields
from symjax.data.units import derivative_unit
from symjax.errors import ArgumentError, ModelError
from symjax.metrics.problem import Problem
from symjax.metrics.staged_forces import with_forces
from symjax.metrics.stages import StagedProblem
from symjax.models.labelled import with_labels
from symjax.models.pet.derivatives import evaluate
from symjax.models.pet.energies import choose_energy, energy_of_forces
from symjax.models.pet.evaluation import Evaluation
from symjax.models.pet.graphs import pet_graph
from symjax.models.pet.layers import stage_names
from symjax.models.pet.model import PETModel
from symjax.models.pet.orbits import moved, orbit_problem

# How many arrays of the size of all features are held at once.
_COPIES = 4


@functools.lru_cache(maxsize=16)
def _function(evaluation: Evaluation, displaced: bool) -> Callable[..., Any]:
    stages = stage_names(evaluation.config)

    def function(
        x: Any, shifts: Mapping[str, Array], parameters: Any, graph: Any
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        if displaced:
            graph = _with_lengths(moved(graph, x["vectors"]), *x["lengths"])
        else:
            graph = moved(graph, x)
        outputs = evaluate(evaluation, parameters, graph, shifts)
        return outputs, {name: outputs.pop(name) for name in stages}

    return function


def staged_problem(
    model: PETModel,
    atoms: ase.Atoms,
    *,
    dtype: Any = "float32",
    energy: str | None = None,
    forces_of: Sequence[int] = (),
    labels: LabelFields | None = None,
) -> StagedProblem:
    """Prepares a model and a structure for :func:`symjax.metrics.trace`.

    A stage is the output of one GNN layer: node features and edge features. The outputs
    are the targets of the model and, if asked for, forces on some atoms. Forces are
    forward derivatives through everything that is replaced, three for each atom, so
    the cost grows with their number.

    Args:
      model: The model.
      atoms: The structure.
      dtype: ``"float32"`` or ``"float64"``.
      energy: Name of the target whose derivatives are forces, see
        :func:`~symjax.models.pet.choose_energy`.
      forces_of: Indices of the atoms whose forces are outputs.
      labels: Where the structure has reference labels, if errors are wanted.

    Returns:
      The problem with its stages.

    Raises:
      ArgumentError: ``forces_of`` holds something other than an index of an atom.
      ModelError: The model rotates its input itself (averages, canonical frames), so
        that its layers do not see the requested orientation; or forces are requested,
        and it has no energy, or has long-range features.
      StructureError: The structure cannot be used, or has unknown species.

    Example:
      >>> import ase.build
      >>> from symjax.models import load_model
      >>> from symjax.models.pet import staged_problem
      >>> model = load_model("pet-ethanol")
      >>> staged_problem(model, ase.build.molecule("H2O")).stages
      (('node_0', 'edge_0'), ('node_1', 'edge_1'))
    """
    config, biases = model.config, model.config.biases
    for name in ("canonical_frame", "symmetrized_layers", "output_average"):
        if getattr(biases, name):
            raise ModelError(
                "model",
                model.name,
                f"has the bias {name}, and moves its input itself",
                "Trace the model without it",
            )
    names = tuple(target.name for target in config.targets)
    evaluation = Evaluation(config, names, baseline=False)
    problem = orbit_problem(model, atoms, layers="none", outputs=names, dtype=dtype)
    if labels is not None:
        problem = with_labels(atoms, problem, labels)
    stages = stage_names(config)
    pairs = tuple(zip(stages[::2], stages[1::2], strict=True))
    if not forces_of:
        return StagedProblem(problem, pairs, _function(evaluation, False))
    energy = energy_of_forces(config, energy)
    _, graph = problem.args
    if graph.mesh is not None:
        raise ModelError(
            "model",
            model.name,
            "has long-range features, whose derivatives are not traced",
            "Trace its energy alone",
        )
    # Any other number would be the index of no edge, and its forces 0.
    if any(index not in range(len(atoms)) for index in forces_of):
        raise ArgumentError(
            "forces_of",
            tuple(forces_of),
            f"holds something other than indices of the {len(atoms)} atoms",
            f"Use numbers from 0 to {len(atoms) - 1}",
        )
    x, moves = _displaced(graph, forces_of)
    function = _function(evaluation, True)
    displaced = Problem(
        _outputs_of(function), x, problem.outputs, _rotated, problem.args
    )
    staged = StagedProblem(displaced, pairs, function)
    unit = derivative_unit("forces", config.target(energy).unit)
    reference = None
    if labels is not None:
        reference = labels.read(atoms, "forces", unit, (3,), True)
    if reference is not None:
        reference = reference[list(forces_of)]
    return with_forces(staged, energy, moves, unit=unit, labels=reference)


def traceable_atoms(
    model: PETModel, atoms: ase.Atoms, num_elements: int, memory: int
) -> tuple[int, ...]:
    """Indices of atoms whose forces can be traced within a memory budget.

    They are evenly spaced; none if the model has no energy or has long-range features.
    The budget in bytes is for the features and their derivatives at all group elements.

    Raises:
      StructureError: The structure cannot be used.
    """
    config = model.config
    graph = pet_graph(config, atoms)
    if choose_energy(config) is None or graph.mesh is not None:
        return ()
    edges = graph.neighbors.shape[1] * config.d_pet
    features = len(graph.species) * (edges + config.d_node) * config.num_gnn_layers
    # Before and after replacement, and the shifts of both.
    each = _COPIES * 3 * features * num_elements * np.dtype(np.float32).itemsize
    num = min(len(atoms), int(memory // each))
    return tuple(np.linspace(0, len(atoms) - 1, num).round().astype(int).tolist())


@functools.lru_cache(maxsize=16)
def _outputs_of(function: Callable[..., Any]) -> Callable[..., Any]:
    def outputs(x: Any, *args: Any) -> Any:
        return function(x, {}, *args)[0]

    return outputs


def _rotated(rotation: Array, x: Any) -> Any:
    """Rotates the vectors; lengths are invariant."""
    return {**x, "vectors": x["vectors"] @ rotation.T}


def _with_lengths(graph: Graph, edges: Array, pairs: Array | None = None) -> Graph:
    graph = graph.replace(lengths=edges)
    if pairs is not None:
        assert graph.surroundings is not None
        graph = graph.replace(surroundings=graph.surroundings.replace(lengths=pairs))
    return graph


def _displaced(graph: Graph, atoms: Sequence[int]) -> tuple[Any, Any]:
    """What a PET reads, and its derivatives as some atoms move along x, y and z."""
    tables = [graph] + ([graph.surroundings] if graph.surroundings else [])
    vectors, lengths, vector_moves, length_moves = [], [], [], []
    for table in tables:
        rows, size = np.asarray(table.vectors), np.asarray(table.lengths)
        mask, neighbors = np.asarray(table.edge_mask), np.asarray(table.neighbors)
        own = np.arange(len(neighbors))[:, None]
        chosen = np.asarray(atoms)[:, None, None]
        # A vector follows the neighbor at its end, and opposes the atom at its start.
        sign = (neighbors == chosen).astype(rows.dtype) - (own == chosen)
        sign = np.where(mask, sign, 0)[:, None, ..., None]
        moves = sign * np.eye(3, dtype=rows.dtype)[:, None, None]
        moves = moves.reshape(-1, *rows.shape)
        vectors.append(rows)
        lengths.append(size)
        vector_moves.append(moves)
        length_moves.append((moves * rows).sum(axis=-1) / size)
    x = {"vectors": np.concatenate(vectors, axis=1), "lengths": tuple(lengths)}
    return x, {
        "vectors": np.concatenate(vector_moves, axis=2),
        "lengths": tuple(length_moves),
    }
