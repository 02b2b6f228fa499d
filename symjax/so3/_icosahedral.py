"""Sphere rules with the symmetry of the icosahedron, all weights positive.

A rule that is a union of orbits under a group integrates every harmonic without an
invariant part exactly. Icosahedral rotations have invariants only at the degrees
0, 6, 10, 12, 15, 16, 18, 20, 21, 22, 24, ..., so that few conditions are left. An
orbit of 60 nodes has three unknowns; the vertices and the face centers have one each.
Solutions for as many conditions as unknowns: McLaren, Math. Comput. 17, 361 (1963), of
degree 14; Ahrens and Beylkin, Proc. R. Soc. A 465, 3103 (2009), of many degrees. Those
below were found by least squares from random starts and polished by Newton's method in
extended precision; the tests check their degree.
"""

import functools
import itertools

import numpy as np

from symjax.so3.point_groups import frame

# By degree: weight of each vertex and of each face center (0 where they are no nodes),
# then weight and first node of each orbit of 60; the mean weight is 1.
_TABLE: dict[int, tuple[float, float, tuple[tuple[float, ...], ...]]] = {
    14: (
        25 / 28,
        0.0,
        ((143 / 140, -0.1552406000253161, 0.9762513228834465, 0.1511082746645616),),
    ),
    24: (
        0.7932906320474054,
        1.0463835741337233,
        (
            (
                *(0.9648123590212165, 0.9478139834750737),
                *(0.03867439096981321, 0.31646949965553817),
            ),
            (
                *(1.0317774300708595, 0.4269810983100433),
                *(-0.775389889983931, -0.4652501049937083),
            ),
            (
                *(1.0292908931205351, 0.29256060954590896),
                *(-0.2525249290881811, -0.9223011709475031),
            ),
        ),
    ),
    26: (
        1.0240128789571963,
        0.0,
        (
            (
                *(1.1317435704421626, 0.7076485780128516),
                *(0.0707855277431509, -0.7030098854913156),
            ),
            (
                *(1.0058460308207027, 0.6747080226289222),
                *(-0.6697984922051319, 0.31006300011433463),
            ),
            (
                *(1.0499792193740312, 0.5260449376827366),
                *(-0.19285711734581393, 0.8283011866630572),
            ),
            (
                *(0.8076286035716644, 0.29438094826221295),
                *(-0.10229977607790605, 0.9501971443414522),
            ),
        ),
    ),
    27: (
        0.7385500468900129,
        0.46540462585571957,
        (
            (
                *(1.015655480903888, 0.6557802459653171),
                *(-0.7452514799244057, 0.12063374599236902),
            ),
            (
                *(1.019222143122624, 0.4283179788775378),
                *(0.14144430238806568, 0.8924893379151454),
            ),
            (1.124669973360618, 0.0, -0.801322899995414, 0.5982320703062817),
            (1.0709408512829608, 0.0, 0.12085297778585877, -0.9926704174902619),
        ),
    ),
}

ICOSAHEDRAL_DEGREES = tuple(_TABLE)
"""Degrees of the icosahedral rules on the sphere."""


@functools.lru_cache
def icosahedral_rotations() -> np.ndarray:
    """The 60 rotations of the icosahedron with vertices (0, +-1, +-golden ratio)."""
    vertices = _vertices()
    pairs = [
        (a, b)
        for a, b in itertools.permutations(vertices, 2)
        if abs(a @ b - 5**-0.5) < 1e-9
    ]
    first = frame(*pairs[0])
    group = np.array([frame(a, b) @ first.T for a, b in pairs])
    group.setflags(write=False)
    return group


def _vertices() -> np.ndarray:
    golden = (1 + 5**0.5) / 2
    corners = np.array(
        [(0.0, s, t * golden) for s, t in itertools.product((1, -1), repeat=2)]
    )
    rolled = [np.roll(corners, shift, axis=1) for shift in range(3)]
    return np.concatenate(rolled) / np.sqrt(1 + golden**2)


@functools.lru_cache
def icosahedral_sphere(degree: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes (unit vectors) and weights (sum 1) of the rule of a degree."""
    group = icosahedral_rotations()
    of_vertices, of_faces, orbits = _TABLE[degree]
    vertices = _vertices()
    nodes, weights = [], []
    if of_vertices:
        nodes.append(vertices)
        weights.append(np.full(12, of_vertices))
    if of_faces:
        # A face center is the direction of the sum of three adjacent vertices.
        near = vertices[vertices @ vertices[0] > 0.1]
        center = next(
            a + b + c
            for a, b, c in itertools.combinations(near, 3)
            if _is_face(a, b, c)
        )
        directions = group @ (center / np.linalg.norm(center))
        _, first = np.unique(directions.round(9), axis=0, return_index=True)
        nodes.append(directions[np.sort(first)])
        weights.append(np.full(20, of_faces))
    for weight, *point in orbits:
        unit = np.array(point) / np.linalg.norm(point)
        nodes.append(group @ unit)
        weights.append(np.full(60, weight))
    joined = np.concatenate(weights)
    return np.concatenate(nodes), joined / joined.sum()


def _is_face(*corners: np.ndarray) -> bool:
    return all(
        abs(a @ b - 5**-0.5) < 1e-9 for a, b in itertools.combinations(corners, 2)
    )
