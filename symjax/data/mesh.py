"""Input of long-range sums over all atoms and their periodic images.

A particle-mesh sum interpolates charges onto a mesh fixed to the cell, and sums over
the plane waves of that mesh. The choice of waves and the fractional coordinates of the
atoms are invariant under rotations. Cells, and the positions that are used for
structures without a cell, rotate.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import ase
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from symjax.data.structures import periodic_cell
from symjax.errors import StructureError

# Waves whose Gaussian factor exp(-sigma^2 k^2 / 2) is below exp(-50), 2e-22, are left
# out: they are below rounding in float64.
_LARGEST_EXPONENT = 50.0
# The waves of all atoms are in memory at once; larger cells need another algorithm.
_MOST_WAVES = 2_000_000


@flax.struct.dataclass
class Mesh:
    """Structures and their meshes, with atoms in the order of the graph.

    Attributes:
      positions: Positions in angstrom relative to the mean of the structure's atoms.
      cells: Rows are the cell vectors in angstrom; 0 without a cell.
      fractional: Positions in units of the cell vectors, from the corner of the cell;
        0 for structures without a cell and for padding.
      sizes: Mesh points along each cell vector; 0 for structures without a cell.
      waves: Integer coordinates of each wave vector along the reciprocal cell vectors.
      weights: Multiplicity of each wave in the sum: 2 where it also stands for its
        negative, otherwise 1; 0 for padding.
      structure: Structure of each atom.
      atom_mask: True for atoms, False for padding.
    """

    positions: Float[Array, "atoms 3"]
    cells: Float[Array, "structures 3 3"]
    fractional: Float[Array, "atoms 3"]
    sizes: Int[Array, "structures 3"]
    waves: Int[Array, "structures waves 3"]
    weights: Float[Array, "structures waves"]
    structure: Int[Array, "atoms"]
    atom_mask: Bool[Array, "atoms"]

    if TYPE_CHECKING:
        # Added by flax, out of sight of type checkers.
        def __init__(self, **fields: Any) -> None: ...
        def replace(self, **changes: Any) -> "Mesh":
            """Returns a copy with some fields changed."""


def find_mesh(
    structures: Sequence[ase.Atoms],
    spacing: float,
    smearing: float,
    dtype: Any = np.float64,
) -> Mesh:
    """Builds the meshes of several structures.

    Args:
      structures: Structures, each periodic in three directions or in none.
      spacing: Upper limit of twice the distance of mesh points, in angstrom.
      smearing: Width sigma of the Gaussian charges on the mesh, in angstrom.
      dtype: Floating-point type of the result; coordinates are computed in float64.

    Returns:
      The mesh, with NumPy arrays. The number of waves is rounded up as in
      :func:`symjax.data.bucket_shape`.

    Raises:
      StructureError: A structure is periodic in one or two directions only, or its mesh
        would have more than 4e6 points.
    """
    sizes, waves, weights = zip(
        *(_waves(atoms, spacing, smearing, dtype) for atoms in structures), strict=True
    )
    most = rounded_up(max(map(len, waves)))
    counts = [len(atoms) for atoms in structures]
    return Mesh(
        positions=np.concatenate(
            [atoms.positions - atoms.positions.mean(axis=0) for atoms in structures]
        ).astype(dtype),
        cells=np.stack([periodic_cell(atoms) for atoms in structures]).astype(dtype),
        fractional=np.concatenate([_fractional(a) for a in structures]).astype(dtype),
        sizes=np.stack(sizes),
        waves=np.stack([pad(rows, most) for rows in waves]),
        weights=np.stack([pad(row, most) for row in weights]).astype(dtype),
        structure=np.repeat(np.arange(len(structures), dtype=np.int32), counts),
        atom_mask=np.ones(sum(counts), bool),
    )


def pad_mesh(mesh: Mesh, num_atoms: int, num_structures: int) -> Mesh:
    """Pads a mesh; padding atoms are assigned to the last structure."""
    mask = pad(mesh.atom_mask, num_atoms)
    structure = pad(mesh.structure, num_atoms)
    return Mesh(
        positions=pad(mesh.positions, num_atoms),
        cells=pad(mesh.cells, num_structures),
        fractional=pad(mesh.fractional, num_atoms),
        sizes=pad(mesh.sizes, num_structures),
        waves=pad(mesh.waves, num_structures),
        weights=pad(mesh.weights, num_structures),
        structure=np.where(mask, structure, num_structures - 1).astype(np.int32),
        atom_mask=mask,
    )


def join_meshes(meshes: Sequence[Mesh]) -> Mesh:
    """Concatenates meshes without padding atoms into one, with NumPy arrays."""
    most = max(mesh.waves.shape[1] for mesh in meshes)
    first = np.cumsum([0, *(len(mesh.sizes) for mesh in meshes[:-1])])

    def join(name: str) -> np.ndarray:
        return np.concatenate([np.asarray(getattr(mesh, name)) for mesh in meshes])

    def widened(name: str) -> np.ndarray:
        parts = [np.asarray(getattr(mesh, name)) for mesh in meshes]
        return np.concatenate([pad(part, len(part), most) for part in parts])

    structure = [
        np.asarray(mesh.structure) + start
        for mesh, start in zip(meshes, first, strict=True)
    ]
    return Mesh(
        waves=widened("waves"),
        weights=widened("weights"),
        structure=np.concatenate(structure).astype(np.int32),
        **{
            name: join(name)
            for name in ("positions", "cells", "fractional", "sizes", "atom_mask")
        },
    )


def rotate_mesh(mesh: Mesh, elements: Float[Array, "atoms 3 3"]) -> Mesh:
    """Rotates or reflects structures, ``x' = x R^T``.

    Args:
      mesh: A mesh.
      elements: An orthogonal matrix for each atom, the same for all of a structure.
    """
    atoms = len(mesh.positions)
    first = jax.ops.segment_min(
        jnp.arange(atoms), jnp.asarray(mesh.structure), len(mesh.cells)
    )
    own = elements[jnp.minimum(first, atoms - 1)]
    return mesh.replace(
        positions=jnp.einsum(
            "ax,ayx->ay", mesh.positions, elements, precision="highest"
        ),
        cells=jnp.einsum("scx,syx->scy", mesh.cells, own, precision="highest"),
    )


def differentiated(mesh: Mesh) -> dict[str, Array]:
    """The fields with respect to which energies are differentiated, by name."""
    return {name: getattr(mesh, name) for name in ("positions", "fractional", "cells")}


def forces_and_virials(
    mesh: Mesh, slopes: Mapping[str, Array]
) -> tuple[Float[Array, "atoms 3"], Float[Array, "atoms 3 3"]]:
    """Forces and atomic virials from the derivatives of an energy.

    A strain deforms the cell and leaves fractional coordinates unchanged. The virial of
    a structure is therefore the sum of c dE/dc over its cell vectors c, and 0 without a
    cell. It is divided equally among the atoms.

    Args:
      mesh: A mesh.
      slopes: Derivatives with respect to the fields of :func:`differentiated`.

    Returns:
      Forces, and virials that sum over the atoms of a structure to dE / d(strain).
    """
    structure = jnp.asarray(mesh.structure)
    sizes = jnp.asarray(mesh.sizes)
    periodic = (sizes[:, 0] > 0)[structure]
    inverse = jnp.linalg.inv(whole_cells(mesh, mesh.cells))[structure]
    along = jnp.einsum("axc,ac->ax", inverse, slopes["fractional"], precision="highest")
    forces = -jnp.where(periodic[:, None], along, slopes["positions"])
    virial = jnp.einsum(
        "scx,scy->sxy", mesh.cells, slopes["cells"], precision="highest"
    )
    counted = jnp.asarray(mesh.atom_mask, virial.dtype)
    counts = jax.ops.segment_sum(counted, structure, len(sizes))[structure]
    share = jnp.where(periodic, counted / jnp.maximum(counts, 1), 0)
    return forces, virial[structure] * share[:, None, None]


def whole_cells(
    mesh: Mesh, cells: Float[Array, "structures 3 3"]
) -> Float[Array, "structures 3 3"]:
    """Cells, with the identity for structures without one: all are invertible."""
    periodic = jnp.asarray(mesh.sizes)[:, 0] > 0
    return jnp.where(periodic[:, None, None], cells, jnp.eye(3, dtype=cells.dtype))


def pad(array: Any, *sizes: int, value: Any = 0) -> np.ndarray:
    """Extends the first axes of an array to ``sizes``, filled with ``value``."""
    array = np.asarray(array)
    # Several times as fast as np.pad, which matters in a calculator.
    padded = np.full((*sizes, *array.shape[len(sizes) :]), value, array.dtype)
    padded[tuple(map(slice, array.shape))] = array
    return padded


def rounded_up(number: int) -> int:
    """Rounds up to 2^k or 3 * 2^k, so that few different shapes are compiled."""
    power = 1 << (max(number, 1) - 1).bit_length()
    return 3 * power // 4 if power >= 4 and 3 * power // 4 >= number else power


def _fractional(atoms: ase.Atoms) -> np.ndarray:
    if not np.any(atoms.pbc):
        return np.zeros((len(atoms), 3))
    fractional = atoms.positions @ np.linalg.inv(periodic_cell(atoms))
    return fractional - np.floor(fractional)


def _waves(
    atoms: ase.Atoms, spacing: float, smearing: float, dtype: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mesh points along each cell vector, waves and their weights."""
    if not np.any(atoms.pbc):
        return np.zeros(3, np.int32), np.zeros((0, 3), np.int32), np.zeros(0)
    if not np.all(atoms.pbc):
        raise StructureError(
            "atoms.pbc",
            np.asarray(atoms.pbc).tolist(),
            "long-range sums need periodicity in three directions or in none",
            "Set pbc to True in all directions, with vacuum in the cell, or to False",
        )
    cell = periodic_cell(atoms)
    # 2 length / spacing + 1 points along each cell vector, up to a power of 2.
    lengths = np.linalg.norm(cell.astype(dtype), axis=1)
    exponents = np.ceil(np.log2(2 * (lengths / lengths.dtype.type(spacing)) + 1))
    sizes = (2 ** exponents.astype(int)).astype(np.int32)
    if np.prod(sizes.astype(float)) > 2 * _MOST_WAVES:
        raise StructureError(
            "atoms.cell",
            np.linalg.norm(cell, axis=1).round(1).tolist(),
            f"needs a mesh of {' x '.join(map(str, sizes))} points for its long-range "
            f"sum, more than {2 * _MOST_WAVES}",
            "Use a smaller cell",
        )
    nx, ny, nz = (int(size) for size in sizes)
    # Half of the waves of a real mesh; the last along the third axis is its own
    # negative.
    axes = [np.fft.fftfreq(n, 1 / n) for n in (nx, ny)]
    axes.append(np.arange(nz // 2 + 1.0))
    waves = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    weights = np.where((waves[:, 2] == 0) | (waves[:, 2] == nz // 2), 1.0, 2.0)
    squares = np.sum((2 * np.pi * waves @ np.linalg.inv(cell).T) ** 2, axis=1)
    keep = (smearing**2 * squares / 2 < _LARGEST_EXPONENT) & (squares > 0)
    return sizes, waves[keep].astype(np.int32), weights[keep]
