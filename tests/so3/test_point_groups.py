"""Groups made exact, their generators and names, and the rules reduced by them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from symjax.errors import ArgumentError
from symjax.so3.point_groups import (
    dihedral_group,
    exact_group,
    generators,
    multiplication_table,
    octahedral_group,
    rotation_axes,
    schoenflies,
)

OCTAHEDRAL = octahedral_group()
PROPER = OCTAHEDRAL[np.linalg.det(OCTAHEDRAL) > 0]


def tetrahedral():
    corners = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1.0]])
    keep = [
        {tuple(row) for row in corners @ h.T} == {tuple(row) for row in corners}
        for h in OCTAHEDRAL
    ]
    return OCTAHEDRAL[keep]


def cyclic(order):
    return dihedral_group(order)[:order]


GROUPS = {
    "C1": np.eye(3)[None],
    "Ci": np.stack([np.eye(3), -np.eye(3)]),
    "Cs": np.stack([np.eye(3), np.diag([1.0, 1, -1])]),
    "C3": cyclic(3),
    "C5": cyclic(5),
    "C3v": dihedral_group(3, mirrors=False),
    "D5h": dihedral_group(5),
    "D6h": dihedral_group(6),
    "D12h": dihedral_group(12),
    "Td": tetrahedral(),
    "O": PROPER,
    "Oh": OCTAHEDRAL,
}


@pytest.mark.parametrize("name", GROUPS)
def test_names(name):
    assert schoenflies(GROUPS[name]) == name


@given(st.sampled_from(sorted(GROUPS)), st.integers(0, 2**31 - 1))
def test_exact_group_from_noisy_matrices(name, seed):
    rng = np.random.default_rng(seed)
    frame = Rotation.random(random_state=seed).as_matrix()
    group = frame @ GROUPS[name] @ frame.T
    noisy = group + 1e-4 * rng.normal(size=group.shape)
    exact = exact_group(noisy)
    table = multiplication_table(exact)
    products = exact[:, None] @ exact
    np.testing.assert_allclose(exact[table], products, atol=1e-13)
    assert np.abs(exact - group).max() < 1e-3
    assert schoenflies(exact) == name


@pytest.mark.parametrize("name", GROUPS)
def test_generators_generate(name):
    group = GROUPS[name]
    table, chosen = multiplication_table(group), generators(group)
    reached = {0}
    while True:
        grown = reached | {table[a, b] for a in reached for b in chosen}
        if grown == reached:
            break
        reached = grown
    assert len(reached) == len(group)
    assert len(chosen) <= 3


def test_a_set_that_is_not_closed_is_refused():
    quarter = dihedral_group(4)[1]
    assert multiplication_table(np.stack([np.eye(3), quarter])) is None
    with pytest.raises(ArgumentError, match="not closed"):
        exact_group(np.stack([np.eye(3), quarter]))
    with pytest.raises(ArgumentError, match="not closed"):
        generators(np.stack([np.eye(3), quarter]))


def test_axes_of_a_hexagonal_prism():
    axes = rotation_axes(dihedral_group(6))
    assert [order for _, order in axes] == [6] + 6 * [2]
    assert abs(axes[0][0][2]) == pytest.approx(1)
