"""Structures with labels, and their batches."""

import dataclasses
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import ase
import numpy as np
from jaxtyping import Array, Bool, Float

from symjax.data.conditions import ATOM_ARRAYS, conditions_of
from symjax.data.graph import Graph, GraphShape, join_graphs
from symjax.data.stress import read_stress
from symjax.data.targets import check_name, read_values
from symjax.data.transform import cast_graph
from symjax.data.units import conversion
from symjax.errors import StructureError
from symjax.models.pet.config import PETConfig
from symjax.models.pet.graphs import pet_graph
from symjax.training.fitted import FORCES, STRESS, Label, fitted_unit
from symjax.training.sections import TargetSection


@dataclasses.dataclass(frozen=True, eq=False)
class AtomicData:
    """Structures with their labels, ready to be batched.

    Attributes:
      graphs: One graph for each structure, without padding.
      values: For each label and structure an array ``(structures or atoms, *shape,
        copies)`` in the unit of the label; NaN where it is not known.
      origins: Where each structure comes from, for messages.
    """

    graphs: tuple[Graph, ...]
    values: dict[str, list[np.ndarray]]
    origins: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.graphs)


class AtomicBatch(NamedTuple):
    """A batch of structures with their labels.

    Attributes:
      graph: The structures, joined and padded.
      values: Labels; 0 where they are unknown, and in the padding.
      known: Where labels are known.
      counts: Number of known components of each copy. The stress of a slab or wire
        counts within its periodic directions only: 4 or 1 components of 9.
    """

    graph: Graph
    values: dict[str, Float[Array | np.ndarray, "samples ..."]]
    known: dict[str, Bool[Array | np.ndarray, "samples ..."]]
    counts: dict[str, Float[Array | np.ndarray, "copies"]]


def count_known(
    label: Label, rows: Sequence[np.ndarray], graphs: Sequence[Graph]
) -> Float[np.ndarray, "copies"]:
    """Number of known components of each copy of a label.

    The stress of a slab or wire counts within its periodic directions only.
    """
    total = np.zeros(rows[0].shape[-1])
    for row, graph in zip(rows, graphs, strict=True):
        number = np.isfinite(row).sum(axis=tuple(range(row.ndim - 1)))
        share = 1.0
        if label.name == STRESS:
            share = (np.any(graph.cells[0] != 0, axis=-1).sum() / 3) ** 2
        total += share * number
    return total


def prepare_data(
    frames: Sequence[ase.Atoms],
    targets: Mapping[str, TargetSection],
    config: PETConfig,
    *,
    source: str = "frames",
) -> AtomicData:
    """Builds graphs and reads labels, in the units of the model.

    Args:
      frames: Structures with their labels.
      targets: What is learnt, by name.
      config: Hyperparameters and targets of the model.
      source: Where the structures come from, for messages.

    Raises:
      ArgumentError: A structure lacks a label, or the name of a field contradicts its
        use or unit.
      StructureError: A structure or a label cannot be used, or some components of a
        tensor are NaN and others not.
    """
    values: dict[str, list[np.ndarray]] = {}
    for name, section in targets.items():
        target, fields = section.target(name), section.fields(name)
        own = section.energy_unit or target.unit
        size = conversion(own, fitted_unit(target, config))
        length = conversion(section.length_unit, "angstrom")

        def read(
            field: str,
            shape: tuple[int, ...],
            per_atom: bool,
            section: TargetSection = section,
        ) -> list[np.ndarray]:
            rows = read_values(
                frames,
                field,
                shape,
                per_atom=per_atom,
                allow_missing=section.allow_missing,
            )
            return rows if per_atom else [row[None] for row in rows]

        for field in fields.values():
            if section.energy_unit is not None or not target.per_atom:
                check_name(f"targets.{name}.field", field, own)
        for output, block in target.outputs:
            rows = read(fields[block.key], block.shape, target.per_atom)
            values[output] = [size * row for row in rows]
        if section.forces is not None:
            argument = f"targets.{name}.forces"
            check_name(argument, section.forces, own, section.length_unit)
            rows = read(section.forces, (3, 1), True)
            values[FORCES] = [size / length * row for row in rows]
        if section.stress is not None:
            values[STRESS] = read_stress(
                frames,
                section.stress,
                size / length**3,
                allow_missing=section.allow_missing,
            )
    for name, each in values.items():
        _check_whole(name, each)
    bare = [without_labels(atoms) for atoms in frames]
    graphs = tuple(pet_graph(config, atoms) for atoms in bare)
    origins = tuple(f"{source}[{index}]" for index in range(len(frames)))
    return AtomicData(graphs, values, origins)


def check_labelled(
    labels: Sequence[Label], data: AtomicData, species: Iterable[int]
) -> None:
    """Checks that training data have labels of every kind, and for species to learn.

    Raises:
      StructureError: No structure has one of the labels.

    Warns:
      UserWarning: A species occurs in no structure (or atom) with a label.
    """
    for label in labels:
        learnt: set[int] = set()
        for graph, rows in zip(data.graphs, data.values[label.name], strict=True):
            known = np.isfinite(rows).reshape(len(rows), -1).any(axis=1)
            numbers = np.asarray(graph.species)
            learnt.update(numbers[np.broadcast_to(known, len(numbers))].tolist())
        if not learnt:
            raise StructureError(
                f"targets.{label.name}",
                f"{len(data)} structures",
                "none of those for training has a value of it",
                "Leave this target out, or give it values",
            )
        if missing := sorted({*species} - learnt):
            warnings.warn(
                f"targets.{label.name}: no training label involves the atomic numbers "
                f"{missing}, of which nothing is learnt",
                stacklevel=2,
            )


def _check_whole(name: str, values: Sequence[np.ndarray]) -> None:
    """Raises if a tensor is partly NaN: rotations mix its components."""
    for index, rows in enumerate(values):
        known = np.isfinite(rows)
        components = tuple(range(1, rows.ndim - 1))
        if np.any(known.any(axis=components) & ~known.all(axis=components)):
            raise StructureError(
                f"structures[{index}][{name!r}]",
                rows.tolist(),
                "is a tensor with some components NaN and others not",
                "Give all of its components, or make all of them NaN",
            )


def without_labels(atoms: ase.Atoms) -> ase.Atoms:
    """A copy of a structure with only what a model reads."""
    kept = conditions_of(atoms)
    bare = ase.Atoms(
        atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc, info=kept
    )
    for name in ATOM_ARRAYS:
        if atoms.has(name):
            bare.set_array(name, atoms.arrays[name])
    return bare


def collate(
    labels: tuple[Label, ...],
    data: AtomicData,
    indices: Sequence[int] | np.ndarray,
    shape: GraphShape,
    dtype: Any = np.float32,
) -> AtomicBatch:
    """Joins some structures and their labels into a padded batch of NumPy arrays."""
    values: dict[str, Any] = {}
    known: dict[str, Any] = {}
    counts: dict[str, Any] = {}
    chosen = [data.graphs[i] for i in indices]
    for label in labels:
        own = [data.values[label.name][i] for i in indices]
        counts[label.name] = count_known(label, own, chosen).astype(dtype)
        rows = np.concatenate(own)
        size = shape.num_atoms if label.per_atom else shape.num_structures
        padding = [(0, size - len(rows)), *[(0, 0)] * (rows.ndim - 1)]
        rows = np.pad(rows, padding, constant_values=np.nan)
        known[label.name] = np.isfinite(rows)
        values[label.name] = np.where(known[label.name], rows, 0).astype(dtype)
    graph = join_graphs(chosen, shape)
    return AtomicBatch(cast_graph(graph, dtype), values, known, counts)
