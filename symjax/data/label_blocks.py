"""Names and shapes of the labels that structures carry.

Labels of a structure are in ``atoms.info``, those of its atoms in ``atoms.arrays``.
Both are flattened in C order from (components, properties), as extended XYZ requires.
"""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import ase
import numpy as np
from ase.io.extxyz import per_atom_properties
from jaxtyping import Float

from symjax.data.conditions import structure_name
from symjax.data.quantities import Block
from symjax.data.reading import read_structures
from symjax.errors import ArgumentError, StructureError


class LabelBlock(Block):
    """One block of labels, and the name under which structures store it.

    Labels of a structure are in ``atoms.info[column]``; those of its atoms, one row
    each, in ``atoms.arrays[column]``. They are flattened in C order from (components,
    properties); a matrix has components (3, 3). NaN marks a missing label.

    Attributes:
      column: Name in ``atoms.info`` or ``atoms.arrays``.
      target: Name of the target that this block belongs to.
      per_atom: Whether each atom has a label, rather than each structure.
      unit: Unit of the values; empty if unknown.

    Example:
      >>> from symjax.data.label_blocks import LabelBlock
      >>> block = LabelBlock("2+", "2+", 3, column="density_l2", per_atom=True)
      >>> block.shape
      (5, 3)
    """

    column: str = ""
    target: str = ""
    per_atom: bool = False
    unit: str = ""


def _known(column: str, kind: str, per_atom: bool, unit: str) -> LabelBlock:
    target, _, degree = column.partition("_l")
    key = kind if degree else "_"
    return LabelBlock(
        key, kind, column=column, target=target, per_atom=per_atom, unit=unit
    )


_KNOWN = (
    _known("energy", "scalar", False, "eV"),
    _known("forces", "vector", True, "eV/angstrom"),
    _known("dipole_moment", "vector", False, "e*angstrom"),
    _known("quadrupole_moment", "matrix", False, "e*angstrom^2"),
    _known("polarizability", "matrix", False, "e*angstrom^2/V"),
    _known("hartree_fock_energy", "scalar", False, "eV"),
    *(_known(f"density_l{n}", f"{n}+", True, "e/angstrom^(3/2)") for n in range(5)),
)


def describe_labels(structures: Sequence[ase.Atoms]) -> tuple[LabelBlock, ...]:
    """Describes which labels of :mod:`symjax.labels.generation` structures carry.

    Args:
      structures: Structures as returned by :func:`read_labels`.

    Returns:
      One description per label.

    Raises:
      ArgumentError: ``structures`` is empty.
      StructureError: A label is missing from some structures, or differs in shape.

    Example:
      >>> import ase.build
      >>> from symjax.data.label_blocks import describe_labels
      >>> water = ase.build.molecule("H2O")
      >>> water.info["dipole_moment"] = [0.0, 0.0, -0.48]
      >>> [(block.column, block.unit) for block in describe_labels([water])]
      [('dipole_moment', 'e*angstrom')]
    """
    if len(structures) == 0:
        raise ArgumentError("structures", structures, "is empty", "Pass one or more")
    found = []
    for block in _KNOWN:
        holders = [_holder(atoms, block) for atoms in structures]
        sizes = [
            np.size(holder[block.column]) // (len(atoms) if block.per_atom else 1)
            for atoms, holder in zip(structures, holders, strict=True)
            if block.column in holder
        ]
        if not sizes:
            continue
        components = int(np.prod(block.shape[:-1], dtype=int))
        copies = max(1, sizes[0] // components)
        block = dataclasses.replace(block, properties=copies)
        for number, atoms in enumerate(structures):
            block_values(atoms, block, index=number)
        found.append(block)
    return tuple(found)


def _holder(atoms: ase.Atoms, block: LabelBlock) -> dict[str, Any]:
    return atoms.arrays if block.per_atom else atoms.info


def block_values(
    atoms: ase.Atoms, block: LabelBlock, *, index: int | None = None
) -> Float[np.ndarray, "..."]:
    """Reads one label of a structure and restores its axes.

    Args:
      atoms: A structure with labels.
      block: The label to read.
      index: Number of the structure in the list it comes from, for messages.

    Returns:
      Float64 array of shape ``block.shape``, or ``(atoms, *block.shape)`` if each atom
      has a label.

    Raises:
      StructureError: The structure has no such label, or one of another size.

    Example:
      >>> import ase.build
      >>> from symjax.data.label_blocks import LabelBlock, block_values
      >>> water = ase.build.molecule("H2O")
      >>> water.info["alpha"] = [1.0, 0, 0, 0, 2, 0, 0, 0, 3]
      >>> block = LabelBlock("_", "matrix", column="alpha")
      >>> block_values(water, block)[1, 1, 0]
      np.float64(2.0)
    """
    holder = _holder(atoms, block)
    shape = (len(atoms), *block.shape) if block.per_atom else block.shape
    values = np.asarray(holder.get(block.column, ()), np.float64)
    if values.size != np.prod(shape, dtype=int):
        place = "arrays" if block.per_atom else "info"
        raise StructureError(
            f"{structure_name(index)}.{place}[{block.column!r}]",
            values.shape,
            f"must have {np.prod(shape, dtype=int)} values, for shape {shape}",
            "Read files with symjax.data.label_blocks.read_labels, and leave out "
            "structures without this label",
        )
    return values.reshape(shape)


def read_labels(path: str | pathlib.Path) -> list[ase.Atoms]:
    """Reads a file written by :func:`symjax.labels.generation.write_labels`.

    ASE attaches the energies and forces of an extended XYZ file as a calculator. They
    are moved back to ``atoms.info`` and ``atoms.arrays``, next to the other labels.

    Args:
      path: The file.

    Returns:
      The structures, without calculators.

    Raises:
      StructureError: The file does not exist or cannot be read.

    Example:
      >>> import pathlib, tempfile
      >>> import ase.build, ase.io
      >>> from symjax.data.label_blocks import read_labels
      >>> water = ase.build.molecule("H2O")
      >>> water.info["energy"] = -138.0
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = pathlib.Path(folder) / "water.xyz"
      ...     ase.io.write(path, water, format="extxyz")
      ...     print(read_labels(path)[0].info["energy"])
      -138.0
    """
    structures = read_structures(path, format="extxyz")
    for atoms in structures:
        for key, value in getattr(atoms.calc, "results", {}).items():
            holder = atoms.arrays if key in per_atom_properties else atoms.info
            holder[key] = value
        atoms.calc = None
    return structures
