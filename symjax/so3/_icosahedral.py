"""Sphere rules with the rotations of the icosahedron, all weights positive.

A rule that is a union of orbits under a group integrates every harmonic without an
invariant part exactly. Of the icosahedral rotations, invariants exist at the degrees
0, 6, 10, 12, 15, 16, 18, 20, 21, 22, 24, ... only, so that few conditions are left: an
orbit of 60 nodes has three unknowns, the vertices and the face centers have one each.
Solutions for as many conditions as unknowns: McLaren, Math. Comput. 17, 361 (1963), of
degree 14; Ahrens and Beylkin, Proc. R. Soc. A 465, 3103 (2009), of many degrees. Those
below were found by least squares from random starts, and the tests check their degree.
"""

import functools
import itertools

import numpy as np

# By degree: weight of each vertex and of each face center (0 where they are no nodes),
# then weight and first node of each orbit of 60; the mean weight is 1.
_TABLE: dict[int, tuple[float, float, tuple[tuple[float, ...], ...]]] = {
    14: (
        25 / 28,
        0.0,
        ((143 / 140, -0.15524060002531542, 0.9762513228834464, 0.15110827466456225),),
    ),
    24: (
        0.7932906320423836,
        1.0463835741304144,
        (
            (
                *(0.9648123590230322, 0.9478139834750878),
                *(0.03867439096966228, 0.3164694996555143),
            ),
            (
                *(1.0317774300715166, 0.426981098310323),
                *(-0.7753898899837364, -0.46525010499377584),
            ),
            (
                *(1.0292908931201699, 0.2925606095462207),
                *(-0.2525249290881664, -0.9223011709474082),
            ),
        ),
    ),
    26: (
        1.0240128789574419,
        0.0,
        (
            (
                *(1.1317435704420253, 0.7076485780128188),
                *(0.07078552774300663, -0.7030098854913631),
            ),
            (
                *(1.005846030819629, 0.6747080226290572),
                *(-0.669798492205095, 0.3100630001141202),
            ),
            (
                *(1.0499792193739206, 0.5260449376826982),
                *(-0.1928571173457867, 0.8283011866630879),
            ),
            (
                *(0.8076286035729364, 0.2943809482623288),
                *(-0.10229977607817163, 0.9501971443413877),
            ),
        ),
    ),
    27: (
        0.7385500468849219,
        0.4654046257581048,
        (
            (
                *(1.0156554808997336, 0.6557802459650706),
                *(-0.7452514799246631, 0.1206337459921188),
            ),
            (
                *(1.019222143149956, 0.4283179788755825),
                *(0.1414443023839154, 0.8924893379167415),
            ),
            (1.1246699733571555, 0.0, -0.8013228999947022, 0.598232070307235),
            (1.0709408512968024, 0.0, 0.12085297778519546, -0.9926704174903426),
        ),
    ),
}

ICOSAHEDRAL_DEGREES = tuple(_TABLE)
"""Degrees of the icosahedral rules on the sphere that symjax has."""


@functools.lru_cache
def icosahedral_rotations() -> np.ndarray:
    """The 60 rotations of the icosahedron with vertices (0, +-1, +-golden ratio).

    Returns:
      Matrices, shape ``(60, 3, 3)``. Axes of order 2 lie along x, y and z.
    """
    vertices = _vertices()
    pairs = [
        (a, b)
        for a, b in itertools.permutations(vertices, 2)
        if abs(a @ b - 5**-0.5) < 1e-9
    ]
    first = _frame(*pairs[0])
    group = np.array([_frame(a, b) @ first.T for a, b in pairs])
    group.setflags(write=False)
    return group


def _vertices() -> np.ndarray:
    golden = (1 + 5**0.5) / 2
    corners = np.array(
        [(0.0, s, t * golden) for s, t in itertools.product((1, -1), repeat=2)]
    )
    rolled = [np.roll(corners, shift, axis=1) for shift in range(3)]
    return np.concatenate(rolled) / np.sqrt(1 + golden**2)


def _frame(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Columns: a, the direction across it towards b, and their cross product."""
    x = b - a * (a @ b)
    x = x / np.linalg.norm(x)
    return np.stack([a, x, np.cross(a, x)], axis=1)


@functools.lru_cache
def icosahedral_sphere(degree: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of a rule.

    Args:
      degree: One of :data:`ICOSAHEDRAL_DEGREES`.

    Returns:
      Unit vectors, shape ``(nodes, 3)``, and weights that sum to 1.
    """
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
        turned = group @ (center / np.linalg.norm(center))
        _, first = np.unique(turned.round(9), axis=0, return_index=True)
        nodes.append(turned[np.sort(first)])
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
