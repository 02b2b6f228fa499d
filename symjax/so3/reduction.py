"""Product rules reduced by symmetry: one sphere node of each orbit under a group.

Elements of O(3) are written g = s R^-1 Q, with s = +1 or -1, R a rotation of a product
rule, and Q a fixed rotation that aligns the axes of a group H with those of the rule.
With Q h Q^-1 = sigma k, k proper,

    s R^-1 Q h = s sigma (k^-1 R)^-1 Q,

so h maps the sphere node n of R to k^-1 n and only shifts its in-plane angles, which
does not change the integral.
"""

import dataclasses
import functools

import numpy as np
from jaxtyping import Float
from scipy.spatial import cKDTree

from symjax.so3._icosahedral import ICOSAHEDRAL_DEGREES, icosahedral_rotations
from symjax.so3.point_groups import frame, octahedral_group, rotation_axes
from symjax.so3.quadratures import (
    LEBEDEV_DEGREES,
    Quadrature,
    gauss_rule,
    icosahedral_product,
    nested_rules,
    positive_lebedev_product,
)

# Nodes are the same point below this distance; the closest nodes of the largest
# rule are 0.02 apart.
_SAME_NODE = 1e-7


@dataclasses.dataclass(frozen=True, eq=False)
class ReducedRule:
    """One sphere node of each orbit of a rule under a group.

    Attributes:
      rule: The nodes that remain, with the summed weights of their orbits.
      nested: Degrees and weights of the coarser rules of
        :func:`symjax.so3.quadratures.nested_rules`, summed over orbits in the same way.
      frame: Q of the elements s R^-1 Q.
      index: Indices of the group elements that map nodes to nodes; only these are used.
      proper: The proper rotations k of the used elements.
      signs: Their signs sigma.
      inversion: Position of -1 among the used elements, or None. If it is used, the
        improper coset follows from the proper one.
      name: Name of the rule in reports.
    """

    rule: Quadrature
    nested: tuple[tuple[int, np.ndarray], ...]
    frame: np.ndarray
    index: np.ndarray
    proper: np.ndarray
    signs: np.ndarray
    inversion: int | None
    name: str

    def place(
        self, rotations: Float[np.ndarray, "... 3 3"]
    ) -> Float[np.ndarray, "... 3 3"]:
        """The proper elements R^-1 Q of rotations R."""
        return np.swapaxes(rotations, -1, -2) @ self.frame

    def locate(
        self, elements: Float[np.ndarray, "... 3 3"]
    ) -> Float[np.ndarray, "... 3 3"]:
        """The rotations R of proper elements R^-1 Q, the inverse of :meth:`place`."""
        return self.frame @ np.swapaxes(elements, -1, -2)

    @property
    def num_elements(self) -> int:
        """Number of elements of O(3) at which a function has to be evaluated."""
        return self.rule.num_rotations * (2 if self.inversion is None else 1)


def reduce_rule(
    rule: "int | Quadrature", elements: Float[np.ndarray, "order 3 3"]
) -> ReducedRule:
    """The rule with the fewest evaluations for an input with a finite symmetry group.

    For a degree, the candidates are Lebedev and icosahedral rules, with the group
    aligned in various ways with the symmetry of the rule, and Gauss product rules about
    each axis of the group, with a number of azimuths that is a multiple of the order of
    the axis. All have positive weights. A given rule is kept; only its orientation is
    chosen.

    Example:
      >>> from symjax.so3.reduction import reduce_rule
      >>> from symjax.so3.point_groups import dihedral_group, octahedral_group
      >>> reduced = reduce_rule(13, octahedral_group())
      >>> reduced.name, reduced.num_elements
      ('lebedev 15 x 14 / 48', 70)
      >>> reduce_rule(13, dihedral_group(6)).name
      'gauss 7 x 18 x 14 / 24'
    """
    group = np.asarray(elements, float).tobytes()
    return _reduce(rule if isinstance(rule, Quadrature) else int(rule), group)


@functools.lru_cache(maxsize=64)
def _reduce(rule: int | Quadrature, group: bytes) -> ReducedRule:
    elements = np.frombuffer(group).reshape(-1, 3, 3)
    given = rule if isinstance(rule, Quadrature) else None
    degree = 0 if isinstance(rule, Quadrature) else rule
    candidates = []
    if degree <= LEBEDEV_DEGREES[-1]:
        lebedev = given or positive_lebedev_product(degree)
        cube = octahedral_group()
        candidates += [(lebedev, q) for q in _polyhedral_frames(elements, cube)]
    if degree <= ICOSAHEDRAL_DEGREES[-1]:
        icosahedral = given or icosahedral_product(degree)
        proper = icosahedral_rotations()
        candidates += [(icosahedral, q) for q in _polyhedral_frames(elements, proper)]
    for axis, order in _distinct_axes(elements):
        gauss = given or _gauss_about(degree, order)
        candidates += [(gauss, q) for q in _axial_frames(elements, axis)]
    orbits = [_orbits(chosen, q, elements) for chosen, q in candidates]
    cost = [
        chosen.in_plane * orbit.num * (1 if orbit.inversion is not None else 2)
        for (chosen, _), orbit in zip(candidates, orbits, strict=True)
    ]
    best = int(np.argmin(cost))
    return _assemble(*candidates[best], orbits[best])


@functools.lru_cache(maxsize=64)
def _gauss_about(degree: int, order: int) -> Quadrature:
    """Gauss product rule whose azimuths are a multiple of an axis's order."""
    step = order if order % 2 == 0 else 2 * order
    return gauss_rule(degree, step * -(-(degree + 1) // step))


@dataclasses.dataclass(frozen=True)
class _Orbits:
    """Orbit of every node, and the elements that map the rule to itself."""

    number: np.ndarray
    first: np.ndarray
    index: np.ndarray
    elements: np.ndarray
    inversion: int | None

    @property
    def num(self) -> int:
        return len(self.first)


def _split(elements: np.ndarray, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns k and sigma of every element, in the frame of the rule."""
    signs = np.where(np.linalg.det(elements) > 0, 1.0, -1.0)
    return frame @ (elements * signs[:, None, None]) @ frame.T, signs


def _orbits(rule: Quadrature, frame: np.ndarray, elements: np.ndarray) -> _Orbits:
    proper, _ = _split(elements, frame)
    points = rule.points
    distance, image = cKDTree(points).query(points @ proper)  # k^-1 n, as rows
    keep = distance.max(axis=1) < _SAME_NODE
    _, first, number = np.unique(
        image[keep].min(axis=0), return_index=True, return_inverse=True
    )
    used = elements[keep]
    inverse = np.abs(used + np.eye(3)).max(axis=(1, 2)) < 1e-9
    inversion = int(inverse.argmax()) if inverse.any() else None
    return _Orbits(number, first, np.flatnonzero(keep), used, inversion)


def _assemble(rule: Quadrature, frame: np.ndarray, orbits: _Orbits) -> ReducedRule:
    weights = np.bincount(orbits.number, weights=rule.sphere_weights)
    coarser = tuple(
        (degree, np.bincount(orbits.number, weights=one))
        for degree, one in nested_rules(rule)
    )
    name = f"{rule.name} / {len(orbits.index)}"
    reduced = Quadrature(
        alpha=rule.alpha[orbits.first],
        beta=rule.beta[orbits.first],
        sphere_weights=weights,
        in_plane=rule.in_plane,
        degree=rule.degree,
        name=name,
    )
    elements = orbits.elements
    proper, signs = _split(elements, frame)
    return ReducedRule(
        reduced, coarser, frame, orbits.index, proper, signs, orbits.inversion, name
    )


def _proper_parts(elements: np.ndarray) -> np.ndarray:
    """The group of the proper parts k, each listed once."""
    proper, _ = _split(elements, np.eye(3))
    _, first = np.unique(proper.round(6), axis=0, return_index=True)
    return proper[first]


def _distinct_axes(elements: np.ndarray) -> list[tuple[np.ndarray, int]]:
    """One axis of each order, of the group of proper parts."""
    axes = rotation_axes(_proper_parts(elements))
    return [(axis, order) for order, axis in {n: a for a, n in axes[::-1]}.items()]


def _across(a: np.ndarray) -> np.ndarray:
    return np.eye(3)[np.abs(a).argmin()]


def _polyhedral_frames(elements: np.ndarray, group: np.ndarray) -> list[np.ndarray]:
    """Rotations that align as many axes of a group as possible with a polyhedron's."""
    proper = _proper_parts(elements)
    axes = rotation_axes(proper)
    solid = rotation_axes(group)
    directions = np.array([axis for axis, _ in solid])
    both = np.concatenate([directions, -directions])
    # One axis of each order. Those of one order are equivalent, except that a 2-fold
    # axis of a group may also be aligned with a 4-fold axis of the cube.
    kinds = list({order: axis for axis, order in solid[::-1]}.values())
    frames = [np.eye(3)]
    for a in {order: axis for axis, order in reversed(axes)}.values():
        for b in kinds:
            best, most = None, 1
            others = [axis for axis, _ in axes if abs(axis @ a) < 1 - 1e-9]
            for c in others or [_across(a)]:
                if most == len(proper):
                    break  # none has more
                back, targets = frame(a, c).T, [_across(b)]
                if others:
                    targets = list(both[np.abs(both @ b - c @ a) < 1e-8])
                for d in targets:
                    q = frame(b, d) @ back
                    common = _num_common(q @ proper @ q.T, group)
                    if common > most:
                        best, most = q, common
            if best is not None:
                frames.append(best)
    return frames


def _num_common(proper: np.ndarray, group: np.ndarray) -> int:
    """Number of rotations that are elements of a group."""
    distance = np.abs(proper[:, None] - group).max(axis=(2, 3)).min(axis=1)
    return int((distance < 1e-8).sum())


def _axial_frames(elements: np.ndarray, axis: np.ndarray) -> list[np.ndarray]:
    """The rotation that aligns an axis with z, and a 2-fold axis across it with x."""
    across = [
        other
        for other, order in rotation_axes(_proper_parts(elements))
        if order % 2 == 0 and abs(other @ axis) < 1e-8
    ]
    return [frame(axis, across[0] if across else _across(axis)).T]
