"""Batches in a random order that depends only on the seed, prepared ahead of time."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import grain
import jax
import numpy as np

from symjax.data.graph import GraphShape, bucket_shape
from symjax.errors import ArgumentError
from symjax.training.configuration import BatchSection

Parts = list[np.ndarray]
"""Indices of the structures in each micro-batch of each device."""
_AHEAD = 3
"""Steps that are prepared ahead."""


class BatchPlan:
    """Which structures each step sees, as a function of the seed and the step alone.

    In each epoch all structures are seen once, in a random order. Each micro-batch of
    each device takes structures until the next one would exceed its limits.

    Raises:
      ArgumentError: There is no structure, or the largest exceeds ``batch.max_atoms``.
    """

    def __init__(self, num_atoms: np.ndarray, batch: BatchSection, seed: int):
        if len(num_atoms) == 0:
            raise ArgumentError(
                "data.training", 0, "holds no structure", "Pass another file"
            )
        if num_atoms.max() > batch.max_atoms:
            raise ArgumentError(
                "batch.max_atoms",
                batch.max_atoms,
                f"the largest structure has {num_atoms.max()} atoms",
                f"Set it to {num_atoms.max()} or more",
            )
        self._num_atoms = num_atoms
        self._batch = batch
        self._seed = seed
        self._steps: list[Parts] = []
        self._order = self._indices()
        self._waiting = next(self._order)

    def _indices(self) -> Iterator[int]:
        epoch = 0
        while True:
            order = np.random.default_rng([self._seed, epoch])
            yield from order.permutation(len(self._num_atoms)).tolist()
            epoch += 1

    def _part(self, first: int) -> tuple[np.ndarray, int]:
        """A part that starts with a structure, and the next one, which did not fit."""
        chosen, atoms = [first], int(self._num_atoms[first])
        for index in self._order:
            atoms += int(self._num_atoms[index])
            full = len(chosen) == self._batch.max_structures
            if full or atoms > self._batch.max_atoms:
                return np.array(chosen), index
            chosen.append(index)
        raise AssertionError("the order never ends")

    def __getitem__(self, step: int) -> Parts:
        while len(self._steps) <= step:
            parts = []
            for _ in range(self._batch.accumulate * self._batch.devices):
                part, self._waiting = self._part(self._waiting)
                parts.append(part)
            self._steps.append(parts)
        return self._steps[step]


def batch_shape(
    parts: Parts, shapes: Sequence[GraphShape], batch: BatchSection
) -> GraphShape:
    """Sizes to which all parts of a step are padded; few, as each compiles a program.

    The largest numbers of atoms and structures that any part of data of these shapes
    can have; numbers of neighbors are rounded up from those of these parts.
    """
    sizes = np.array(shapes)
    num_atoms, widths = sizes[:, 0], sizes[:, [1, 3]]
    most = np.max([widths[part].max(axis=0) for part in parts], axis=0)
    rounded = bucket_shape(GraphShape(1, int(most[0]), 1, int(most[1])))
    limit = widths.max(axis=0)
    structures = min(batch.max_structures, batch.max_atoms // int(num_atoms.min()))
    return GraphShape(
        num_atoms=min(batch.max_atoms, structures * int(num_atoms.max())),
        num_neighbors=min(rounded.num_neighbors, int(limit[0])),
        num_structures=structures,
        num_surroundings=min(rounded.num_surroundings, int(limit[1])),
    )


def stack_parts(parts: Sequence[Any], batch: BatchSection) -> Any:
    """Stacks the parts of a step along two leading axes, micro-batches and shards."""
    lead = (batch.accumulate, batch.devices)
    return jax.tree.map(
        lambda *leaves: np.stack(leaves).reshape(*lead, *np.shape(leaves[0])), *parts
    )


def load(prepare: Callable[[int], Any], first: int, steps: int) -> Iterator[Any]:
    """Prepares the batches of steps ``first`` to ``steps - 1`` in a thread.

    Args:
      prepare: Function from the number of a step to its batch.
      first: Number of the first step.
      steps: Number of the step after the last.

    Returns:
      Iterator over the batches.

    Example:
      >>> from symjax.training.loader import load
      >>> list(load(lambda step: step**2, 2, 5))
      [4, 9, 16]
    """
    options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=_AHEAD)
    source = grain.MapDataset.range(first, steps).map(prepare)
    return iter(source.to_iter_dataset(options))
