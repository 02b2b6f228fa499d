"""Groups made exact, their generators and names, and the rules reduced by them."""

import functools

import jax
import jax.numpy as jnp
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
from symjax.so3.quadratures import quadrature
from symjax.so3.reduction import reduce_rule
from symjax.so3.wigner import wigner_d

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
    table = multiplication_table(group)
    reached = {0}
    while True:
        grown = reached | {table[a, b] for a in reached for b in generators(group)}
        if grown == reached:
            break
        reached = grown
    assert len(reached) == len(group)
    assert len(generators(group)) <= 3


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


@functools.partial(jax.jit, static_argnums=0)
def invariants(degree, rotations, weights):
    """Weighted sums of all D^l through a degree but the constant."""
    matrices = wigner_d(degree, rotations)[1:]
    return jnp.concatenate([jnp.tensordot(weights, d, 1).ravel() for d in matrices])


@given(st.sampled_from(sorted(GROUPS)), st.sampled_from([5, 8]), st.integers(0, 99))
def test_reduced_rule_is_exact_on_invariant_functions(name, degree, seed):
    """Expanded over the group it integrates every D^l through its degree."""
    frame = Rotation.random(random_state=seed).as_matrix()
    group = frame @ GROUPS[name] @ frame.T
    reduced = reduce_rule(degree, group)
    rule = reduced.rule
    assert rule.sphere_weights.sum() == pytest.approx(1)
    placed = reduced.place(rule.rotations)
    expanded = placed[:, None] @ group[reduced.index]
    signs = np.linalg.det(expanded)
    weights = np.repeat(rule.weights, len(reduced.index)) / len(reduced.index)
    # Improper elements of the group take one coset to the other; up to this sign
    # the proper parts must cover SO(3).
    covered = (expanded * signs[..., None, None]).reshape(-1, 3, 3)
    # In blocks of one size, so that one program serves all groups.
    missing = -len(weights) % 1024
    covered = np.concatenate([covered, np.tile(np.eye(3), (missing, 1, 1))])
    weights = np.pad(weights, (0, missing))
    means = 0.0
    for start in range(0, len(weights), 1024):
        block = slice(start, start + 1024)
        part = invariants(degree, covered[block], weights[block])
        means = means + np.asarray(part)
    assert np.abs(means).max() < 1e-11


@pytest.mark.parametrize(
    ("name", "degree", "factor"),
    [("Td", 25, 17), ("Oh", 25, 17), ("D6h", 25, 13), ("Cs", 13, 1.9), ("C5", 13, 2.5)],
)
def test_number_of_evaluations_falls(name, degree, factor):
    reduced = reduce_rule(degree, GROUPS[name])
    assert reduced.num_elements * factor < 2 * quadrature(degree).num_rotations


def test_a_given_rule_is_kept():
    reduced = reduce_rule(quadrature(9, "gauss"), GROUPS["D5h"])
    assert reduced.name.startswith("gauss 5 x 10 x 10")
    assert len(reduced.index) == 20
