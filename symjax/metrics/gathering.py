"""Collects the sums of the structures of a survey on disk, one row per structure.

Memory therefore does not grow with the number of structures. A pool reads the rows
through a memory map of the file.
"""

import collections
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from symjax.errors import ArgumentError
from symjax.metrics.arguments import check_type
from symjax.metrics.groups import Groups
from symjax.metrics.pooling import Key, Pool, Sampled, Sums, place_of

# Bytes that are kept in memory before a file is used.
_HELD = 2**20


class Gathered:
    """Sums of structures on disk; several rounds of a structure are averaged.

    Args:
      most: Largest number of structures.
      folder: Folder of the file; by default the system's for temporary files. The file
        is unnamed, and is deleted with this object and its pools.

    Example:
      >>> import numpy as np
      >>> from symjax.metrics.gathering import Gathered
      >>> from symjax.metrics.pooling import Sampled, Sums
      >>> gathered = Gathered(2)
      >>> for value in (1.0, 3.0):  # two rounds of one structure
      ...     own = Sums(*(np.full(2, value) for _ in range(3)), 1)
      ...     gathered.add([Sampled("a", 1, {("e", 0): own})])
      >>> column = gathered.pool().columns["e", 0]
      >>> column.values.tolist(), column.squares.tolist()
      ([[2.0, 2.0]], [[1.0, 1.0]])
    """

    def __init__(self, most: int, folder: Path | None = None):
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        self._most = most
        self._sizes: list[int] = []
        self._rounds: list[int] = []
        self._rows: dict[Key, np.ndarray] = {}
        self._end = 0
        self._samples: dict[str, dict[int, np.ndarray]] = {}
        self.rows: dict[str, int] = {}
        """The row of each structure, by label."""

    def add(self, items: Iterable[Sampled]) -> None:
        """Adds structures, or further rounds of structures.

        Raises:
          ArgumentError: The sums of an output have another length than before.
        """
        for item in items:
            row = self.rows.setdefault(item.label, len(self.rows))
            if row == len(self._sizes):
                self._sizes.append(item.size)
                self._rounds.append(0)
            self._rounds[row] += 1
            rounds = self._rounds[row]
            for key, own in item.sums.items():
                self._write(key, row, rounds, np.concatenate([*own[:3], [own.count]]))
            for name, new in item.samples.items():
                known = self._samples.setdefault(name, {})
                before = known.get(row, new)
                known[row] = before + (new - before) / rounds

    def _write(self, key: Key, row: int, rounds: int, new: np.ndarray) -> None:
        if key not in self._rows:
            shape = self._most, len(new)
            size = self._most * new.nbytes
            self._rows[key] = (
                np.zeros(shape)
                if self._end + size <= _HELD
                else np.memmap(self._file, float, "r+", self._end, shape)
            )
            self._end += size
        before = self._rows[key][row]
        if len(new) != len(before):
            raise ArgumentError(
                "items",
                key,
                f"has {len(new)} sums, while earlier ones have {len(before)}",
                "Survey all structures with the same max_degree",
            )
        if rounds > 1:
            # Estimates are averaged; the squared errors become those of the averages.
            weight = np.full(len(new), (rounds - 1.0) ** 2)
            weight[: len(new) // 3] = rounds - 1
            total = np.full(len(new), float(rounds) ** 2)
            total[: len(new) // 3] = rounds
            new = np.append(((weight * before + new) / total)[:-1], new[-1])
        self._rows[key][row] = new

    def pool(
        self, usable: Sequence[str] | None = None, groups: Groups | None = None
    ) -> Pool:
        """The pool of all structures so far.

        Args:
          usable: Labels of all structures that were or could be visited; None if all
            were added.
          groups: Their strata and clusters.

        Returns:
          The pool. It refers to the same file: nothing may be added while it is in use.

        Raises:
          ArgumentError: There is no structure, or one has no stratum or cluster.
        """
        labels = tuple(self.rows)
        groups = Groups() if groups is None else groups
        if not labels:
            raise ArgumentError("items", [], "is empty", "Survey one structure or more")
        columns = {
            key: Sums.of_rows(np.asarray(self._rows[key])[: len(labels)])
            for key in sorted(self._rows, key=place_of)
        }
        return Pool(
            labels,
            np.array(self._sizes),
            columns,
            groups.strata_of(labels, labels if usable is None else usable),
            groups.clusters_of(labels),
            {
                name: tuple(known.get(row) for row in range(len(labels)))
                for name, known in self._samples.items()
            },
        )


def check_distinct(labels: Sequence[str]) -> None:
    """Raises if two structures have the same label: they would be merged."""
    twice = [label for label, num in collections.Counter(labels).items() if num > 1]
    if twice:
        raise ArgumentError(
            "labels", twice[0], "is the label of two structures", "Rename one of them"
        )


def pool(items: Iterable[Sampled]) -> Pool:
    """Makes a pool of the estimates for several structures.

    Args:
      items: Estimates for all structures of a data set.

    Returns:
      The pool.

    Raises:
      ArgumentError: There are none, two have the same label, or they were projected
        through different degrees.

    Example:
      >>> from symjax.metrics import pool
      >>> pool([])
      Traceback (most recent call last):
      ...
      symjax.errors.ArgumentError: items=[]: is empty. Survey one structure or more.
    """
    remedy = "Pass a list of Sampled, the estimates of a survey"
    check_type("items", items, Iterable, remedy)
    items = list(items)
    for item in items:
        check_type("items", item, Sampled, remedy)
    check_distinct([item.label for item in items])
    gathered = Gathered(len(items))
    gathered.add(items)
    return gathered.pool()
