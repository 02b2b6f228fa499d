"""Meshes of structures: their waves, joining, padding, and what has none."""

import ase
import ase.build
import numpy as np
import pytest

from symjax.data.mesh import find_mesh, join_meshes, pad_mesh, rotate_mesh
from symjax.errors import StructureError

CELL = np.array([[3.6, 0.2, 0.1], [1.1, 3.9, -0.4], [-0.8, 0.9, 4.2]])


def crystal():
    places = [[0.1, 0.2, 1.3], [0.45, 0.6, 0.4]]
    return ase.Atoms("CuO", scaled_positions=places, cell=CELL, pbc=True)


def test_mesh_points_and_waves():
    """Powers of two, at most half the spacing apart; every wave but that of 0."""
    mesh = find_mesh([crystal()], 1.0, 0.3)
    lengths = np.linalg.norm(CELL, axis=1)
    assert (lengths / mesh.sizes[0] < 0.5).all()
    assert (np.log2(mesh.sizes) % 1 == 0).all()
    assert mesh.weights.sum() == mesh.sizes.prod() - 1
    inside = crystal().positions @ np.linalg.inv(CELL)
    # From the corner of the cell, whole cells apart.
    offset = mesh.fractional - inside
    np.testing.assert_allclose(offset - offset.round(), 0, atol=1e-12)


def test_waves_that_cannot_be_seen_are_left_out():
    """What is kept are exactly those whose Gaussian is above exp(-50)."""
    sigma = 3.0
    mesh = find_mesh([crystal()], 1.0, sigma)
    kept = mesh.waves[0][mesh.weights[0] > 0]
    vectors = kept @ (2 * np.pi * np.linalg.inv(CELL).T)
    assert (sigma**2 * (vectors**2).sum(axis=1) / 2 <= 50 + 1e-9).all()
    assert 0 < mesh.weights.sum() < mesh.sizes.prod() - 1


def test_joining_and_padding():
    water = ase.build.molecule("H2O")
    single = [find_mesh([atoms], 1.33, 1.4) for atoms in (crystal(), water)]
    joined = join_meshes(single)
    together = find_mesh([crystal(), water], 1.33, 1.4)
    for name in ("positions", "cells", "fractional", "sizes", "weights", "structure"):
        np.testing.assert_array_equal(getattr(joined, name), getattr(together, name))
    padded = pad_mesh(joined, 7, 3)
    assert padded.atom_mask.tolist() == [True] * 5 + [False] * 2
    assert padded.structure.tolist() == [0, 0, 1, 1, 1, 2, 2]
    assert not padded.weights[2].any()
    np.testing.assert_array_equal(padded.positions[:5], joined.positions)


def test_positions_and_cells_turn():
    mesh = find_mesh([crystal()], 1.33, 1.4)
    element = -np.eye(3)
    turned = rotate_mesh(mesh, np.stack([element] * 2))
    np.testing.assert_allclose(turned.positions, -mesh.positions)
    np.testing.assert_allclose(turned.cells, -mesh.cells)
    np.testing.assert_array_equal(turned.fractional, mesh.fractional)


@pytest.mark.parametrize("pbc", [(True, True, False), (True, False, False)])
def test_slabs_and_wires_are_refused(pbc):
    atoms = crystal()
    atoms.pbc = pbc
    with pytest.raises(StructureError, match="three directions or in none"):
        find_mesh([atoms], 1.33, 1.4)


def test_a_mesh_of_too_many_waves_is_refused():
    huge = ase.Atoms("H", cell=[400.0] * 3, pbc=True)
    with pytest.raises(StructureError, match="1024 x 1024 x 1024"):
        find_mesh([huge], 1.33, 1.4)
