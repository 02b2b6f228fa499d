"""Mesh sums over periodic images: which waves, and where atoms lie in their cell.

A particle-mesh sum spreads charges over a mesh that is fixed to the cell, and sums over
the waves of that mesh. All that this module makes depends on lengths of cell vectors and
on coordinates within the cell, so nothing of it rotates.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import ase
import flax.struct
import numpy as np
from jaxtyping import Array, Float, Int

from symjax.data.structures import periodic_cell
from symjax.errors import StructureError

# Waves whose Gaussian factor exp(-sigma^2 k^2 / 2) is below exp(-50), 2e-22, are left
# out: they cannot be seen next to the first, even in float64.
_LARGEST_EXPONENT = 50.0
# Waves of all atoms are held at once; more than this is another algorithm's work.
_MOST_WAVES = 2_000_000


@flax.struct.dataclass
class Mesh:
    """The mesh of every structure of a graph; atoms in the order of the graph.

    Attributes:
      fractional: Positions in units of the cell vectors, within [0, 1); 0 for
        structures without a cell and for padding.
      sizes: Mesh points along each cell vector; 0 for structures without a cell.
      waves: Indices of each wave along the reciprocal vectors.
      weights: How often the sum over all waves counts each one: 2 where a wave stands
        for its negative too; 0 for padding.

    Example:
      >>> import ase.build
      >>> from symjax.data.mesh import find_mesh
      >>> mesh = find_mesh([ase.build.bulk("Cu", cubic=True)], 1.33, 1.4)
      >>> mesh.sizes.tolist(), mesh.fractional[1].tolist()
      ([[8, 8, 8]], [0.0, 0.5, 0.5])
    """

    fractional: Float[Array, "atoms 3"]
    sizes: Int[Array, "structures 3"]
    waves: Int[Array, "structures waves 3"]
    weights: Float[Array, "structures waves"]

    if TYPE_CHECKING:
        # Added by flax, out of sight of type checkers.
        def __init__(self, **fields: Any) -> None: ...
        def replace(self, **changes: Any) -> "Mesh":
            """Returns a copy with some fields changed."""


def mesh_sizes(cell: Float[np.ndarray, "3 3"], spacing: float) -> Int[np.ndarray, "3"]:
    """Mesh points along each cell vector: the power of 2 from 2 length / spacing + 1.

    Args:
      cell: Rows are the cell vectors in angstrom. Lengths are computed in its dtype.
      spacing: Upper limit of twice the distance of mesh points, in angstrom.

    Returns:
      The numbers of points.

    Example:
      >>> import numpy as np
      >>> from symjax.data.mesh import mesh_sizes
      >>> mesh_sizes(np.diag([4.0, 8.0, 30.0]), 1.33).tolist()
      [8, 16, 64]
    """
    lengths = np.linalg.norm(cell, axis=1)
    exponents = np.ceil(np.log2(2 * (lengths / cell.dtype.type(spacing)) + 1))
    return (2 ** exponents.astype(int)).astype(np.int32)


def find_mesh(
    structures: Sequence[ase.Atoms],
    spacing: float,
    smearing: float,
    dtype: Any = np.float64,
) -> Mesh:
    """The meshes of structures, one after another.

    Args:
      structures: Structures, each periodic in three directions or in none.
      spacing: As in :func:`mesh_sizes`, in angstrom.
      smearing: Width sigma of the Gaussians that the mesh represents, in angstrom.
      dtype: Floating-point type of the result; coordinates are found in float64.

    Returns:
      The mesh, of NumPy arrays.

    Raises:
      StructureError: A structure is periodic in one or two directions, or its mesh has
        too many waves.

    Example:
      >>> import ase.build
      >>> from symjax.data.mesh import find_mesh
      >>> find_mesh([ase.build.molecule("H2O")], 1.33, 1.4).waves.shape
      (1, 1, 3)
    """
    parts = [_of_structure(atoms, spacing, smearing, dtype) for atoms in structures]
    fractional, sizes, waves, weights = zip(*parts, strict=True)
    most = max(1, *(len(found) for found in waves))
    return Mesh(
        fractional=np.concatenate(fractional).astype(dtype),
        sizes=np.stack(sizes),
        waves=np.stack([_pad_to(most, found) for found in waves]),
        weights=np.stack([_pad_to(most, found) for found in weights]).astype(dtype),
    )


def pad_mesh(mesh: Mesh, atoms: int, structures: int, waves: int) -> Mesh:
    """Pads a mesh with waves that do not count.

    Args:
      mesh: The mesh.
      atoms: Atoms of the result, padding included.
      structures: Structures of the result.
      waves: Waves of the result.

    Returns:
      The padded mesh, of NumPy arrays.

    Example:
      >>> import ase.build
      >>> from symjax.data.mesh import find_mesh, pad_mesh
      >>> mesh = find_mesh([ase.build.molecule("H2O")], 1.33, 1.4)
      >>> pad_mesh(mesh, 4, 2, 3).waves.shape
      (2, 3, 3)
    """

    def pad(array: Any, *sizes: int) -> np.ndarray:
        array = np.asarray(array)
        widths = [(0, n - m) for n, m in zip(sizes, array.shape, strict=False)]
        return np.pad(array, widths + [(0, 0)] * (array.ndim - len(sizes)))

    return Mesh(
        fractional=pad(mesh.fractional, atoms),
        sizes=pad(mesh.sizes, structures),
        waves=pad(mesh.waves, structures, waves),
        weights=pad(mesh.weights, structures, waves),
    )


def _pad_to(length: int, array: np.ndarray) -> np.ndarray:
    return np.pad(array, [(0, length - len(array))] + [(0, 0)] * (array.ndim - 1))


def _of_structure(
    atoms: ase.Atoms, spacing: float, smearing: float, dtype: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    if not np.any(atoms.pbc):
        nothing = np.zeros((0, 3), np.int32)
        return np.zeros((len(atoms), 3)), np.zeros(3, np.int32), nothing, np.zeros(0)
    if not np.all(atoms.pbc):
        raise StructureError(
            "atoms.pbc",
            np.asarray(atoms.pbc).tolist(),
            "long-range sums need periodicity in three directions or in none",
            "Set pbc to True in all directions, with vacuum in the cell, or to False",
        )
    cell = periodic_cell(atoms)
    sizes = mesh_sizes(cell.astype(dtype), spacing)
    if np.prod(sizes.astype(float)) > 2 * _MOST_WAVES:
        raise StructureError(
            "atoms.cell",
            np.linalg.norm(cell, axis=1).round(1).tolist(),
            f"needs a mesh of {' x '.join(map(str, sizes))} points for its long-range "
            f"sum, more than {2 * _MOST_WAVES}",
            "Use a smaller cell",
        )
    nx, ny, nz = (int(size) for size in sizes)
    # Of a real mesh, half of the waves; the last along an axis is its own negative.
    axes = [np.fft.fftfreq(n, 1 / n) for n in (nx, ny)]
    axes.append(np.arange(nz // 2 + 1.0))
    waves = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    weights = np.where((waves[:, 2] == 0) | (waves[:, 2] == nz // 2), 1.0, 2.0)
    squares = np.sum((2 * np.pi * waves @ np.linalg.inv(cell).T) ** 2, axis=1)
    keep = (smearing**2 * squares / 2 < _LARGEST_EXPONENT) & (squares > 0)
    fractional = atoms.positions @ np.linalg.inv(cell)
    fractional -= np.floor(fractional)
    return fractional, sizes, waves[keep].astype(np.int32), weights[keep]
