"""Rules that use the symmetry of an input: exact, with fewer evaluations."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from symjax.so3.finite_groups import finite_group
from symjax.so3.point_groups import (
    dihedral_group,
)
from symjax.so3.quadratures import quadrature
from symjax.so3.reduction import reduce_rule
from symjax.so3.wigner import wigner_d_tables

GROUPS = {
    name: finite_group(name).elements
    for name in ("C1", "Ci", "C3", "C5", "D5h", "D6h", "D12h", "Td", "O", "Oh")
} | {
    "Cs": np.stack([np.eye(3), np.diag([1.0, 1, -1])]),
    "C3v": dihedral_group(3, mirrors=False),
}


@pytest.mark.parametrize("seed", range(len(GROUPS)))
def test_reduced_rule_is_exact_on_invariant_functions(seed):
    """Expanded over the group it integrates every D^l through its degree."""
    name, degree = list(GROUPS)[seed], (5, 8)[seed % 2]
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
    _, *matrices = wigner_d_tables(degree, covered)
    means = [np.tensordot(weights, matrix, 1) for matrix in matrices]
    assert max(np.abs(mean).max() for mean in means) < 1e-11


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
