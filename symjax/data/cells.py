"""Volumes and spans of cells with one, two or three periodic directions."""

from typing import Any

import ase
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

NO_STRESS = (
    "a structure without periodic directions or without a volume has no stress",
    "Leave it out, or set atoms.pbc and all three vectors of atoms.cell",
)
"""Problem and remedy of the error for a stress that does not exist."""


def stress_volume(atoms: ase.Atoms) -> float:
    """Volume in the definition of the stress, (1 / volume) dE / d(strain).

    It is the volume of the whole cell, including the vacuum of a slab or wire, as in
    other calculators. The stress of a slab times the height of its cell is a surface
    stress.

    Args:
      atoms: A structure.

    Returns:
      The volume in cubic angstrom; 0 if there is no stress, because no direction is
      periodic or a cell vector is missing.

    Example:
      >>> import ase.build
      >>> from symjax.data.cells import stress_volume
      >>> slab = ase.build.fcc111("Cu", (1, 1, 2), a=3.6, vacuum=5.0)
      >>> round(stress_volume(slab), 1)
      67.8
      >>> slab.cell[2] = 0
      >>> stress_volume(slab), stress_volume(ase.build.molecule("H2O"))
      (0.0, 0.0)
    """
    if not np.any(atoms.pbc):
        return 0.0
    return float(abs(np.linalg.det(atoms.cell[:])))


def onto_periodic(
    cells: Float[Array | np.ndarray, "... 3 3"],
) -> Float[Array | np.ndarray, "... 3 3"]:
    r"""Projector onto the span of the nonzero vectors of a cell.

    It is the identity for three vectors, $1 - n n^T$ with the unit normal $n$ of two,
    $u u^T$ with the direction $u$ of one, and 0 without any. Rotating the cell by $R$
    gives $R P R^T$.

    Args:
      cells: Rows are cell vectors; 0 for directions that are not periodic.

    Returns:
      A NumPy array for a NumPy array, in its dtype, and a JAX array otherwise.

    Example:
      >>> import numpy as np
      >>> from symjax.data.cells import onto_periodic
      >>> print(onto_periodic(np.array([[2.0, 0, 0], [1, 3, 0], [0, 0, 0]])))
      [[1. 0. 0.]
       [0. 1. 0.]
       [0. 0. 0.]]
    """
    # Cells on the host are float64, which JAX may not be.
    xp: Any = np if isinstance(cells, np.ndarray) else jnp
    count = xp.sum(xp.any(cells != 0, axis=-1), axis=-1)[..., None, None]
    # With one zero vector two of these products vanish, with two all of them.
    normal = xp.sum(xp.cross(cells, xp.roll(cells, -1, axis=-2)), axis=-2)
    identity = xp.eye(3, dtype=cells.dtype)

    def along(vector: Any) -> Any:
        squared = xp.sum(vector**2, axis=-1)[..., None, None]
        outer = vector[..., :, None] * vector[..., None, :]
        return outer / xp.where(squared > 0, squared, 1)

    projector: Array = xp.select(
        [count == 3, count == 2, count == 1],
        [
            xp.broadcast_to(identity, cells.shape),
            identity - along(normal),
            along(xp.sum(cells, axis=-2)),
        ],
        xp.zeros_like(cells),
    )
    return projector
