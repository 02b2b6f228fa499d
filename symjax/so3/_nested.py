"""Re-weighting a subset of sphere nodes to a coarser rule, by linear programming."""

import math

import numpy as np
from scipy.optimize import linprog
from scipy.spatial import cKDTree
from scipy.special import eval_legendre

from symjax.so3._icosahedral import icosahedral_rotations
from symjax.so3.point_groups import dihedral_group, octahedral_group

# Without symmetry a program has as many unknowns as nodes; beyond this many it is
# slow, and the large rules are symmetric.
_LARGEST_ASYMMETRIC = 200
# Exact weights leave a residual of a few eps; a failed program, of 1e-8.
_TOLERANCE = 1e-12


def _rank(rule: tuple[int, np.ndarray]) -> tuple[int, int]:
    return rule[0], int(np.count_nonzero(rule[1]))


def _orbits(points: np.ndarray, group: np.ndarray) -> np.ndarray | None:
    """Orbit of every point under a group; None if the group moves the set."""
    distance, image = cKDTree(points).query(points @ group.swapaxes(-1, -2))
    if distance.max() > 1e-9:
        return None
    return np.unique(image.min(axis=0), return_inverse=True)[1]


def _conditions(
    points: np.ndarray, orbits: np.ndarray, order: int, degree: int
) -> np.ndarray:
    """Rows that vanish on weights whose rule integrates every Y_lm of one degree.

    By the addition theorem, P_l(x . v) for enough random v spans the Y_lm. Averages
    over the orbits leave about (2l + 1) / order independent conditions.
    """
    num = min(2 * degree + 1, math.ceil(2 * (2 * degree + 1) / order) + 4)
    probes = np.random.default_rng(degree).normal(size=(num, 3))
    probes /= np.linalg.norm(probes, axis=1, keepdims=True)
    values = eval_legendre(degree, np.clip(probes @ points.T, -1, 1))
    sizes = np.bincount(orbits)
    sums = np.stack([np.bincount(orbits, weights=row) for row in values])
    _, singular, rows = np.linalg.svd(sums / sizes, full_matrices=False)
    return rows[singular > 1e-9 * math.sqrt(len(sizes))]


def _subset(
    points: np.ndarray, orbits: np.ndarray, order: int, budget: int, max_degree: int
) -> tuple[int, np.ndarray] | None:
    """Largest degree of a rule with nonnegative weights on at most budget nodes."""
    sizes = np.bincount(orbits)
    rows = np.ones((1, len(sizes)))
    best = None
    for degree in range(max_degree):
        if degree:
            rows = np.concatenate([rows, _conditions(points, orbits, order, degree)])
        if (
            best is not None
            and np.abs(rows @ best[1] - _target(rows)).max() < _TOLERANCE
        ):
            best = degree, best[1]
            continue
        found = _vertex(rows, sizes, budget)
        if found is None:
            break
        best = degree, found
    if best is None:
        return None
    degree, weights = best
    return degree, (weights / sizes)[orbits]


def _target(rows: np.ndarray) -> np.ndarray:
    target = np.zeros(len(rows))
    target[0] = 1
    return target


def _vertex(rows: np.ndarray, sizes: np.ndarray, budget: int) -> np.ndarray | None:
    """Nonnegative weights that fulfil the conditions on few nodes."""
    # Few conditions leave many vertices; different costs end at different ones.
    for seed in range(4):
        noise = np.random.default_rng(seed).uniform(size=len(sizes))
        cost = sizes / sizes.max() + (0.01 if seed == 0 else 1.0) * noise
        solution = linprog(
            cost, A_eq=rows, b_eq=_target(rows), bounds=(0, None), method="highs-ds"
        )
        if solution.status != 0:
            return None
        support = np.flatnonzero(solution.x > 1e-9)
        if sizes[support].sum() > budget:
            continue
        exact = np.linalg.lstsq(rows[:, support], _target(rows), rcond=None)[0]
        weights = np.zeros(len(sizes))
        weights[support] = exact
        residual = np.abs(rows @ weights - _target(rows)).max()
        if exact.min() > 0 and residual < _TOLERANCE:
            return weights
    return None


def sparsest_subset(
    points: np.ndarray, budget: int, max_degree: int
) -> tuple[int, np.ndarray]:
    """Degree, below ``max_degree``, and nonnegative weights of the best coarser rule.

    It is that of the highest degree on at most ``budget`` of the points.
    """
    groups = [octahedral_group()]
    equator = np.bincount(np.unique(points[:, 2].round(9), return_inverse=True)[1])
    if equator.min() == equator.max() and equator[0] % 2 == 0:
        groups.append(dihedral_group(int(equator[0]) // 2))
    icosahedral = _orbits(points, icosahedral_rotations()) is not None
    if icosahedral:
        groups.append(icosahedral_rotations())
        # Those of the tetrahedron among them: cyclic permutations of the axes.
        proper = groups[0][np.linalg.det(groups[0]) > 0]
        groups.append(proper[np.linalg.det(np.abs(proper)) > 0])
    groups.append(np.array([np.eye(3), -np.eye(3)]))
    if len(points) <= _LARGEST_ASYMMETRIC:
        groups.append(np.eye(3)[None])
    # One node with all the weight is exact for degree 0.
    best = 0, np.eye(len(points))[0]
    for group in groups:
        orbits = _orbits(points, group)
        if orbits is None:
            continue
        found = _subset(points, orbits, len(group), budget, max_degree)
        if found is None:
            continue
        # Of one degree the rule with more nodes, in which others can be nested; where
        # the cube maps the rule onto itself, that of the first group has them.
        if found[0] > best[0] or (icosahedral and _rank(found) > _rank(best)):
            best = found
        if len(points) > _LARGEST_ASYMMETRIC and best[0] > 0:
            break
    degree, weights = best
    return degree, weights / weights.sum()
