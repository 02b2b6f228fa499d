"""Stores the evaluations of expensive functions, so that an item can be resumed.

Evaluations of a function that runs on the host and takes one input at a time, such as
an ASE calculator, are appended to a file in the output folder and read when the run is
resumed. A file belongs to one structure and one model, given by their digests, and an
evaluation to the exact bits of its input. Evaluations of the current run are not
reused, so that checks which call a function twice with one input remain meaningful. The
file is removed when its item is finished.
"""

import contextlib
import dataclasses
import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ase
import jax
import numpy as np

from symjax._files import append_through
from symjax.data.digests import structure_digest
from symjax.metrics import HostFunction, Problem

FOLDER = "evaluations"
"""Name of the folder of evaluations within the output folder."""
_KEY = 16


@dataclasses.dataclass(frozen=True)
class Evaluations:
    """Stored evaluations of the items of a run; picklable, for worker processes.

    Attributes:
      folder: The output folder of the run.
      model: Digest of the model.
    """

    folder: Path
    model: str

    def path(self, item: str) -> Path:
        """The file of an item, given its digest."""
        name = hashlib.sha256(f"{self.model} {item}".encode()).hexdigest()
        return self.folder / FOLDER / f"{name[:32]}.bin"

    def remembered(self, problem: Problem, item: Any) -> Problem:
        """A copy of a problem whose function reads and stores evaluations.

        The problem itself if the item is no structure, or if the function does not run
        on the host or takes several inputs at once, and so is not expensive.
        """
        function = problem.function
        on_host = isinstance(function, HostFunction) and not function.batched
        if not on_host or not isinstance(item, ase.Atoms):
            return problem
        store = _Store(self.path(structure_digest(item)))

        def call(x: Any, *args: Any) -> Any:
            key = _key((x, args))
            if key in store.before:
                return dict(store.before[key])
            output = function(x, *args)
            store.add(key, output)
            return output

        return dataclasses.replace(problem, function=HostFunction(call))

    def forget(self, item: Any) -> None:
        """Removes the file of an item, and the folder if it is empty."""
        if not isinstance(item, ase.Atoms):
            return
        path = self.path(structure_digest(item))
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            path.parent.rmdir()

    def clear(self) -> None:
        """Removes the evaluations of all items."""
        shutil.rmtree(self.folder / FOLDER, ignore_errors=True)


def _key(given: Any) -> bytes:
    digest = hashlib.blake2b(digest_size=_KEY)
    for leaf in jax.tree.leaves(given):
        array = np.ascontiguousarray(leaf)
        digest.update(f"{array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.digest()


class _Store:
    """A file with names, shapes and dtypes in its first line, then keys and values."""

    def __init__(self, path: Path):
        self._path = path
        self._fields: list[Any] = []
        self.before: dict[bytes, dict[str, np.ndarray]] = {}
        if path.is_file():
            self._read(path.read_bytes())

    def _read(self, data: bytes) -> None:
        head, _, rest = data.partition(b"\n")
        try:
            fields = json.loads(head)
            # Numbered, as fields of a record cannot have any name.
            parts = [
                (str(number), dtype, tuple(shape))
                for number, (_, shape, dtype) in enumerate(fields)
            ]
            record = np.dtype([("key", f"V{_KEY}"), *parts])
        except (ValueError, TypeError):
            # Cut off within its first line: there are no evaluations to lose.
            self._path.unlink()
            return
        self._fields = fields
        names = [name for name, *_ in fields]
        whole = len(rest) // record.itemsize * record.itemsize
        for key, *values in np.frombuffer(rest[:whole], record):
            arrays = map(np.array, values)
            self.before[key.tobytes()] = dict(zip(names, arrays, strict=True))
        if whole < len(rest):  # killed while it was written
            with self._path.open("r+b") as file:
                file.truncate(len(head) + 1 + whole)

    def add(self, key: bytes, output: Any) -> None:
        """Appends an evaluation, unless its names, shapes or dtypes differ."""
        if not isinstance(output, Mapping):
            return
        arrays = {str(name): np.asarray(value) for name, value in output.items()}
        fields = [[name, [*a.shape], str(a.dtype)] for name, a in arrays.items()]
        if not self._fields:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("wb", buffering=0) as file:
                append_through(file, json.dumps(fields).encode() + b"\n", sync=False)
            self._fields = fields
        if fields == self._fields:
            record = key + b"".join(array.tobytes() for array in arrays.values())
            with self._path.open("ab", buffering=0) as file:
                append_through(file, record, sync=False)
