"""Projections onto what cells with one, two or three vectors span."""

import ase
import jax
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from symjax.data.cells import onto_periodic, stress_volume

CELL = np.array([[2.0, 0.3, 0.1], [-0.4, 3.0, 0.2], [0.5, -0.6, 4.0]])
TURN = -Rotation.from_rotvec([0.4, -1.0, 0.7]).as_matrix()
# Vectors that are kept.
KEPT = {
    "bulk": [0, 1, 2],
    "slab": [0, 1],
    "slab along the others": [0, 2],
    "wire": [1],
    "molecule": [],
}
compiled = jax.jit(onto_periodic)


@pytest.mark.parametrize("name", KEPT)
def test_projections(name):
    kept = KEPT[name]
    cell = np.zeros((3, 3))
    cell[kept] = CELL[kept]
    both = np.stack([cell, cell @ TURN.T])
    onto, onto_turned = compiled(both)
    with jax.enable_x64(False):
        on_the_host = onto_periodic(both)
    # The projection of numpy's least squares onto the same rows.
    expected = np.linalg.pinv(cell[kept]) @ cell[kept]
    np.testing.assert_allclose(onto, expected, atol=1e-12)
    np.testing.assert_allclose(on_the_host[0], expected, atol=1e-12)
    np.testing.assert_allclose(onto_turned, TURN @ expected @ TURN.T, atol=1e-12)


def test_a_stress_needs_a_period_and_a_volume():
    atoms = ase.Atoms("H", cell=CELL)
    assert stress_volume(atoms) == 0
    atoms.pbc = (True, False, False)
    assert stress_volume(atoms) == pytest.approx(abs(np.linalg.det(CELL)))
    atoms.cell[2] = 0
    assert stress_volume(atoms) == 0
