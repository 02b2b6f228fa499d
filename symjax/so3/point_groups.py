"""Elements of finite subgroups of O(3): products, exact matrices, generators, names.

Symmetry operations found from atomic positions form a group only as accurately as the
positions are symmetric; :func:`exact_group` makes them one to machine precision.
"""

import itertools
import math

import numpy as np
from jaxtyping import Float, Int

from symjax.errors import ArgumentError, GridError

# Matrices are the same element if their distance is below this fraction of the
# smallest distance between two elements.
_SAME = 0.25
# Decimals by which generated elements are told apart.
_ROUND = 6
_MOST_GENERATED = 1000


def generate(generators: np.ndarray) -> np.ndarray:
    """The group that some orthogonal matrices generate, the identity first.

    Raises:
      GridError: The group has more than 1000 elements, or is infinite.
    """
    elements = [np.eye(3)]
    seen = {key_of(elements[0])}
    for element in elements:
        for generator in np.asarray(generators, float):
            product = element @ generator
            if key_of(product) not in seen:
                seen.add(key_of(product))
                elements.append(product)
                if len(elements) > _MOST_GENERATED:
                    raise GridError(
                        "generators",
                        len(generators),
                        f"generate more than {_MOST_GENERATED} elements",
                        "Pass generators of a finite group",
                    )
    return np.array(elements)


def key_of(matrix: np.ndarray) -> bytes:
    """A hashable key for an element: its rounded entries."""
    # + 0.0 turns -0.0 into 0.0.
    return (np.round(matrix, _ROUND) + 0.0).tobytes()


def rotation_about(axis: tuple[float, float, float], angle: float) -> np.ndarray:
    """The rotation by ``angle`` radians about an axis of any length (Rodrigues)."""
    length = math.sqrt(sum(part**2 for part in axis))
    if not length > 0:
        raise ArgumentError("axis", axis, "has no direction", "Pass (0, 0, 1)")
    x, y, z = (part / length for part in axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    out: np.ndarray = (
        np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross
    )
    return out


def frame(
    axis: Float[np.ndarray, "3"], towards: Float[np.ndarray, "3"]
) -> Float[np.ndarray, "3 3"]:
    """A right-handed frame as columns: z is a unit ``axis``, x points ``towards``."""
    x = towards - axis * (axis @ towards)
    x = x / np.linalg.norm(x)
    return np.stack([x, np.cross(axis, x), axis], axis=1)


def multiplication_table(
    elements: Float[np.ndarray, "order 3 3"],
) -> Int[np.ndarray, "order order"] | None:
    """Indices of the products, ``elements[table[a, b]] = elements[a] elements[b]``.

    Each product is identified with the nearest element. None if the set is not closed,
    or an element is listed twice.
    """
    order = len(elements)
    flat = elements.reshape(order, 9)
    table, worst = np.empty((order, order), int), 0.0
    for row, element in zip(table, elements, strict=True):
        # |a - b|^2 = 6 - 2 a.b for orthogonal matrices
        overlap = (element @ elements).reshape(-1, 9) @ flat.T
        row[:] = overlap.argmax(axis=1)
        worst = max(worst, np.sqrt(np.maximum(6 - 2 * overlap.max(axis=1), 0)).max())
    between = flat @ flat.T - 12 * np.eye(order)
    closest = np.sqrt(max(6 - 2 * between.max(), 0)) if order > 1 else 1.0
    if worst > _SAME * closest:
        return None
    both = np.sort(table, axis=1), np.sort(table, axis=0).T
    latin = all((rows == np.arange(order)).all() for rows in both)
    return table if latin else None


def group_table(
    elements: Float[np.ndarray, "order 3 3"], argument: str
) -> Int[np.ndarray, "order order"]:
    """As :func:`multiplication_table`, but raises if the set is not a group."""
    table = multiplication_table(elements)
    if table is None:
        raise ArgumentError(
            argument,
            f"{len(elements)} matrices",
            "are not closed under products, or one is listed twice",
            "Pass all elements of a group",
        )
    return table


def exact_group(
    approximate: Float[np.ndarray, "order 3 3"],
) -> Float[np.ndarray, "order 3 3"]:
    """The group of orthogonal matrices closest to an approximate one.

    Iterates h_a <- polar(mean over b of h_{ab} h_b^T) until nothing changes. A group is
    a fixed point, and each step squares the distance from it. The elements keep their
    order and multiply as a group to a few eps.

    Raises:
      ArgumentError: The set is not closed under products.

    Example:
      >>> import numpy as np
      >>> from symjax.so3.point_groups import exact_group
      >>> mirror = np.diag([1.0, 1.0, -1.0]) + 1e-4
      >>> exact = exact_group(np.stack([np.eye(3), mirror]))
      >>> bool(np.abs(exact[1] @ exact[1] - np.eye(3)).max() < 1e-14)
      True
    """
    elements = _polar(np.asarray(approximate, float))
    table = group_table(elements, "approximate")
    for _ in range(20):
        better = _polar(np.einsum("abij,bkj->aik", elements[table], elements))
        change = np.abs(better - elements).max()
        elements = better
        if change < 1e-15 * len(elements):
            break
    return elements


def _polar(matrices: np.ndarray) -> np.ndarray:
    """Orthogonal factors of polar decompositions."""
    u, _, v = np.linalg.svd(matrices)
    return u @ v


def generators(elements: Float[np.ndarray, "order 3 3"]) -> list[int]:
    """Indices of a few elements that generate a group given to machine precision.

    Raises:
      ArgumentError: The set is not closed under products.
    """
    table = group_table(elements, "elements")
    order = len(elements)
    identity = int(np.flatnonzero((table == np.arange(order)).all(axis=1))[0])
    closures = {i: _closure(table, {identity, i}) for i in range(order)}
    chosen: list[int] = []
    reached = {identity}
    while len(reached) < order:
        grown = {
            i: _closure(table, reached | closures[i])
            for i in range(order)
            if i not in reached
        }
        best = max(grown, key=lambda i: (len(grown[i]), -i))
        chosen.append(best)
        reached = grown[best]
    return chosen


def _closure(table: np.ndarray, members: set[int]) -> set[int]:
    """Smallest subgroup that contains the members."""
    inside = np.zeros(len(table), bool)
    inside[list(members)] = True
    while True:
        index = np.flatnonzero(inside)
        grown = inside.copy()
        grown[table[np.ix_(index, index)].ravel()] = True
        if (grown == inside).all():
            return {int(i) for i in index}
        inside = grown


def octahedral_group() -> Float[np.ndarray, "48 3 3"]:
    """The 48 signed permutation matrices, the group O_h of the Lebedev rules."""
    return np.array(
        [
            np.diag(signs)[list(order)]
            for order in itertools.permutations(range(3))
            for signs in itertools.product((1.0, -1.0), repeat=3)
        ]
    )


def dihedral_group(order: int, mirrors: bool = True) -> Float[np.ndarray, "n 3 3"]:
    """The group C_nv about z, one of its mirror planes containing x.

    With ``mirrors`` also the mirror plane perpendicular to the axis: D_nh.
    """
    angles = 2 * np.pi * np.arange(order) / order
    rotations = np.zeros((order, 3, 3))
    rotations[:, 0, 0] = rotations[:, 1, 1] = np.cos(angles)
    rotations[:, 1, 0] = np.sin(angles)
    rotations[:, 0, 1] = -rotations[:, 1, 0]
    rotations[:, 2, 2] = 1
    signs = itertools.product((1.0, -1.0) if mirrors else (1.0,), (1.0, -1.0))
    planes = np.array([np.diag([1.0, y, z]) for z, y in signs])
    return (planes[:, None] @ rotations).reshape(-1, 3, 3)


def rotation_axes(
    elements: Float[np.ndarray, "order 3 3"],
) -> list[tuple[Float[np.ndarray, "3"], int]]:
    """Rotation axes of a group as unit vectors, with their orders, highest first."""
    axes: list[list] = []
    for matrix in elements[np.linalg.det(elements) > 0]:
        if np.trace(matrix) > 3 - 1e-9:
            continue
        # The eigenvector of R + R^T with eigenvalue 2; also for rotations by pi.
        axis = np.linalg.eigh(matrix + matrix.T)[1][:, -1]
        for known in axes:
            if abs(known[0] @ axis) > 1 - 1e-8:
                known[1] += 1
                break
        else:
            axes.append([axis, 2])
    return sorted(((a, n) for a, n in axes), key=lambda item: -item[1])


def schoenflies(elements: Float[np.ndarray, "order 3 3"]) -> str:
    """Schoenflies symbol, such as ``"C2v"``, of a group given to machine precision.

    Example:
      >>> from symjax.so3.point_groups import octahedral_group, schoenflies
      >>> schoenflies(octahedral_group()), schoenflies(octahedral_group()[:1])
      ('Oh', 'C1')
    """
    num_proper = int((np.linalg.det(elements) > 0).sum())
    improper = len(elements) > num_proper
    axes = rotation_axes(elements)
    order = axes[0][1] if axes else 1

    def contains(matrix: np.ndarray) -> bool:
        return bool((np.abs(elements - matrix).max(axis=(1, 2)) < 1e-8).any())

    inversion = contains(-np.eye(3))
    if sum(n >= 3 for _, n in axes) > 1:
        letter = {12: "T", 24: "O", 60: "I"}[num_proper]
        return letter + (("h" if inversion else "d") if improper else "")
    letter = f"{'C' if num_proper == order else 'D'}{order}"
    if not improper:
        return letter
    if not axes:
        return "Ci" if inversion else "Cs"
    planes = [np.eye(3) - 2 * np.outer(a, a) for a, n in axes if n == order]
    if any(contains(plane) for plane in planes):
        return letter + "h"
    if letter[0] == "D":
        return letter + "d"
    mirror = np.abs(np.trace(elements, axis1=1, axis2=2) - 1) < 1e-8
    mirror &= np.linalg.det(elements) < 0
    return letter + "v" if mirror.any() else f"S{2 * order}"
