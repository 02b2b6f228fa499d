"""Voxelisation against a dictionary of voxels."""

import collections

import jax
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from symjax.data.point_clouds import voxelise

SIZE = 24
compiled = jax.jit(voxelise)


@given(st.integers(0, 2**32 - 1), st.integers(0, SIZE))
def test_against_a_dictionary(seed, real):
    generator = np.random.default_rng(seed)
    x = generator.uniform(-1.6, 1.6, (SIZE, 3))
    energies = generator.uniform(0, 1, SIZE)
    mask = np.arange(SIZE) < real
    out = jax.tree.map(np.asarray, compiled(x, energies, mask))
    expected = collections.defaultdict(float)
    for point, energy in zip(x[:real], energies[:real], strict=True):
        expected[tuple(np.round(point) + 0.0)] += energy
    keep = out.mask
    found = {
        tuple(p + 0.0): float(e)
        for p, e in zip(out.positions[keep], out.energies[keep], strict=True)
    }
    assert found.keys() == expected.keys()
    for voxel, energy in expected.items():
        np.testing.assert_allclose(found[voxel], energy)
    # every point finds its own voxel again
    there = out.positions[out.representative]
    np.testing.assert_array_equal(there[:real], np.round(x[:real]))
    assert (out.energies[~keep] == 0).all()


def test_lattice_points_stay():
    x = np.array([[3.0, -2.0, 7.0], [4.0, 0.0, 0.0]])
    out = compiled(x, np.ones(2), np.ones(2, bool))
    np.testing.assert_array_equal(out.positions, x)
    assert out.mask.all()
