"""Targets of metatrain's datasets on disk.

Such a dataset is one zip file with a folder for each system, which holds the system
(``system.mta``) and one file ``<target>.mts`` of the metatensor format for each target.
Spherical components there are real, in the order of ``o3_mu`` = -l, ..., l, and
``o3_sigma`` is the sigma of symjax's irreps: nothing but flattening is needed.
Cartesian components are x, y, z.
"""

import io
import pathlib
import re
import zipfile
from collections.abc import Sequence
from typing import Any, NamedTuple

import ase
import numpy as np
from ase.data import chemical_symbols

from symjax.data.label_blocks import LabelBlock
from symjax.errors import ArgumentError, StructureError, needs_extra
from symjax.interop._layouts import kind_of, layout_of
from symjax.so3.irreps import Irrep

_REMEDY = "Pass a zip file that metatrain's DiskDatasetWriter wrote, whole"
_SAMPLES = {("system",): False, ("system", "atom"): True}


class MetatensorTargets(NamedTuple):
    """Structures with targets, and what these are.

    Attributes:
      structures: The structures, with targets in ``info`` and ``arrays``.
      blocks: A description of each block of each target; units are not in the files.

    Example:
      >>> import ase
      >>> from symjax.data.label_blocks import LabelBlock
      >>> from symjax.interop.metatensor_targets import MetatensorTargets
      >>> block = LabelBlock("_", column="energy", target="energy")
      >>> atoms = ase.Atoms("H", info={"energy": -13.6})
      >>> MetatensorTargets([atoms], (block,)).blocks[0].kind
      'scalar'
    """

    structures: list[ase.Atoms]
    blocks: tuple[LabelBlock, ...]


def read_metatensor_targets(
    path: str | pathlib.Path, targets: Sequence[str] | None = None
) -> MetatensorTargets:
    """Reads structures and targets of a metatrain dataset on disk.

    A block becomes one entry of ``atoms.info``, or of ``atoms.arrays`` if it has a
    value for each atom, flattened in C order from (components, properties). Its name is
    the target's without ``mtt::``, then ``_l`` and the degree if it is spherical
    (``_pseudo`` if it is a pseudotensor), then the element if the block is one of an
    element only: ``hamiltonian_nodes_l2_O``. Atoms, and structures, that a block does
    not cover have NaN.

    Args:
      path: The zip file.
      targets: Names of the targets to read, such as ``"mtt::dipole_moment"``; by
        default all that the file holds.

    Returns:
      The structures in the order of the file, and the description of the blocks;
      :func:`symjax.data.label_blocks.block_values` restores their shapes.

    Raises:
      ArgumentError: metatensor of the extra ``[torch]`` is not installed; an unknown
        target; or one that cannot be described so, which is named: products of two
        irreps, samples other than structures and atoms, gradients.
      StructureError: No such file, a damaged one, or systems that differ in the
        properties of a block.

    Example:
      >>> from symjax.interop.metatensor_targets import read_metatensor_targets
      >>> read_metatensor_targets("missing.zip")
      Traceback (most recent call last):
      ...
      symjax.errors.StructureError: path='missing.zip': does not exist...
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise StructureError(
            "path", str(path), "does not exist", "Check the name and the folder"
        )
    try:
        with zipfile.ZipFile(path) as archive:
            names = _members(archive, path)
            found = list(dict.fromkeys(t for fields in names for t in fields))
            for target in targets if targets is not None else ():
                if target not in found:
                    raise ArgumentError(
                        "targets", target, "is not in the file", f"Pass some of {found}"
                    )
            wanted = found if targets is None else list(targets)
            structures, maps = [], []
            for number, fields in enumerate(names):
                system = archive.read(f"{number}/system.mta")
                structures.append(_structure(system, number))
                maps.append(
                    {
                        target: _tensor_map(archive.read(fields[target]))
                        for target in wanted
                        if target in fields
                    }
                )
    except (OSError, EOFError, zipfile.BadZipFile, KeyError, ValueError) as error:
        if isinstance(error, ArgumentError | StructureError):
            raise
        raise StructureError(
            "path", str(path), f"cannot be read: {error}", _REMEDY
        ) from error
    blocks: dict[str, LabelBlock] = {}
    for number, (atoms, tensors) in enumerate(zip(structures, maps, strict=True)):
        for target, tensor in tensors.items():
            for key, block in tensor.items():
                _store(atoms, target, key, block, blocks, number)
    for atoms in structures:
        for block in blocks.values():
            _fill(atoms, block)
    return MetatensorTargets(structures, tuple(blocks.values()))


def _members(archive: zipfile.ZipFile, path: pathlib.Path) -> list[dict[str, str]]:
    """For each system, the member of the archive that holds each target."""
    systems: dict[int, dict[str, str]] = {}
    for name in archive.namelist():
        match = re.fullmatch(r"(\d+)/(?:(system)\.mta|(.+)\.mts)", name)
        if match is not None:
            fields = systems.setdefault(int(match[1]), {})
            if match[3]:
                fields[match[3]] = name
    if not systems or sorted(systems) != list(range(len(systems))):
        raise StructureError(
            "path", str(path), "has no folders 0, 1, ... of systems", _REMEDY
        )
    return [systems[number] for number in range(len(systems))]


def _structure(data: bytes, number: int) -> ase.Atoms:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        fields = {
            field: np.load(io.BytesIO(archive.read(f"{field}.npy")), allow_pickle=False)
            for field in ("positions", "cell", "types", "pbc")
        }
    types = fields["types"]
    if np.any((types < 1) | (types >= len(chemical_symbols))):
        raise StructureError(
            f"structures[{number}].types",
            types.tolist(),
            "are not atomic numbers",
            "Write the dataset with atomic numbers as types",
        )
    return ase.Atoms(types, fields["positions"], cell=fields["cell"], pbc=fields["pbc"])


def _tensor_map(data: bytes) -> Any:
    with needs_extra("torch", "path", "metatensor", ArgumentError):
        import metatensor
    try:
        return metatensor.load(io.BytesIO(data), use_numpy=False)
    except metatensor.MetatensorError as error:
        raise ValueError(str(error)) from error


def _refuse(target: str, key: Any, problem: str) -> ArgumentError:
    entries = ", ".join(f"{n}={int(v)}" for n, v in zip(key.names, key, strict=True))
    return ArgumentError(
        "targets",
        target,
        f"its block with {entries} {problem}",
        "Pass the other targets of the file by name",
    )


def _describe(target: str, key: Any, block: Any) -> LabelBlock:
    """Description of a block; raises for blocks that cannot be described."""
    entries = {name: int(value) for name, value in zip(key.names, key, strict=True)}
    entries.pop("_", None)
    samples = tuple(block.samples.names)
    if samples not in _SAMPLES:
        raise _refuse(target, key, f"has samples {samples}, not structures or atoms")
    if block.gradients_list():
        raise _refuse(target, key, f"has gradients {block.gradients_list()}")
    column = re.sub(r"\W", "_", target.removeprefix("mtt::"))
    kind = kind_of(key, block.components)
    if kind is None:
        names = [tuple(labels.names) for labels in block.components]
        raise _refuse(target, key, f"has components {names}, not those of one irrep")
    own, expected = layout_of(kind)
    name = kind if own else ""
    if own:
        irrep = Irrep.parse(kind)
        column += f"_l{irrep.degree}" + ("_pseudo" if irrep.sigma == -1 else "")
        entries = {entry: v for entry, v in entries.items() if entry not in own}
    for labels, wanted in zip(block.components, expected.values(), strict=True):
        if not np.array_equal(np.asarray(labels.values)[:, 0], wanted):
            raise _refuse(target, key, "has components out of order")
    for entry, value in entries.items():
        suffix = chemical_symbols[value] if entry == "atom_type" else f"{entry}{value}"
        column += f"_{suffix}"
        name += f"_{suffix}"
    return LabelBlock(
        name or "_",
        kind,
        len(block.properties),
        column=column,
        target=target,
        per_atom=_SAMPLES[samples],
    )


def _store(
    atoms: ase.Atoms,
    target: str,
    key: Any,
    block: Any,
    blocks: dict[str, LabelBlock],
    number: int,
) -> None:
    """Writes one block into a structure, and its description into ``blocks``."""
    if len(block.properties) == 0 or len(block.samples) == 0:
        return
    described = _describe(target, key, block)
    former = blocks.setdefault(described.column, described)
    if former.target != target:
        raise _refuse(target, key, f"has the same column as {former.target!r}")
    if former != described:
        raise StructureError(
            f"structures[{number}].{target}",
            described,
            f"differs from the same block of an earlier structure: {former}",
            "Write all systems of a dataset with the same properties",
        )
    values = np.asarray(block.values, np.float64).reshape(len(block.samples), -1)
    if not described.per_atom:
        if len(values) != 1:
            raise _refuse(target, key, f"has {len(values)} samples for one structure")
        # A single value, such as a total charge, is stored as a number.
        only = values[0, 0] if values.size == 1 else values[0]
        atoms.info[described.column] = only
        return
    rows = np.asarray(block.samples.column("atom"))
    if rows.min() < 0 or rows.max() >= len(atoms):
        raise StructureError(
            f"structures[{number}].{target}",
            int(rows.max()),
            f"is not the index of an atom; there are {len(atoms)}",
            _REMEDY,
        )
    _fill(atoms, described)
    atoms.arrays[described.column][rows] = values


def _fill(atoms: ase.Atoms, block: LabelBlock) -> None:
    """Fills a block that the structure does not have with NaN."""
    size = int(np.prod(block.shape))
    if block.per_atom and block.column not in atoms.arrays:
        atoms.arrays[block.column] = np.full((len(atoms), size), np.nan)
    elif not block.per_atom and block.column not in atoms.info:
        atoms.info[block.column] = np.full(size, np.nan) if size > 1 else np.nan
