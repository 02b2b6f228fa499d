"""Rules that use the symmetry of an input: exact, with fewer evaluations."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from symjax.so3.finite_groups import finite_group
from symjax.so3.point_groups import (
    dihedral_group,
)
from symjax.so3.quadratures import quadrature
from symjax.so3.reduction import reduce_rule
from symjax.so3.wigner import wigner_d

GROUPS = {
    name: finite_group(name).elements
    for name in ("C1", "Ci", "C3", "C5", "D5h", "D6h", "D12h", "Td", "O", "Oh")
} | {
    "Cs": np.stack([np.eye(3), np.diag([1.0, 1, -1])]),
    "C3v": dihedral_group(3, mirrors=False),
}


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
