"""Finite subgroups of O(3): elements, products and irreps over the real numbers.

Elements are orthogonal matrices, from which the characters are computed. Pairs of
complex-conjugate irreps (of C_n and T) are listed as one real irrep, because responses
are real.

Groups have Schoenflies symbols and irreps Mulliken symbols; g and u mean even and odd
under the inversion.
"""

import dataclasses
import functools
import math
import re
from collections.abc import Callable
from typing import NoReturn

import numpy as np

from symjax.errors import ArgumentError
from symjax.so3._icosahedral import icosahedral_rotations
from symjax.so3.point_groups import (
    generate,
    group_table,
    key_of,
    rotation_about,
)
from symjax.so3.rotations import check_orthogonal

_NAMES = (
    "C1, C2, ..., D2, D3, ..., D2h, D3h, ..., D3d, D5d, ..., "
    "T, Td, Th, O, Oh, I, Ih, Ci"
)
# Order of a group of each family, in units of n.
_ORDERS = {"C": 1, "D": 2, "Dh": 4, "Dd": 4}
_LARGEST_ORDER = 480


@dataclasses.dataclass(frozen=True, eq=False)
class FiniteIrrep:
    """One real irrep of a finite group.

    Attributes:
      name: Mulliken symbol.
      dimension: Dimension of the complex irrep.
      character: Real part of its character at each element of the group; for a pair of
        complex-conjugate irreps, that of one of the two.
      paired: Whether it stands for such a pair; its real dimension is then twice
        ``dimension``.
    """

    name: str
    dimension: int
    character: np.ndarray
    paired: bool = False

    @property
    def real_dimension(self) -> int:
        """Dimension over the real numbers."""
        return self.dimension * (2 if self.paired else 1)

    @property
    def is_trivial(self) -> bool:
        """Whether every element acts as the identity on one component."""
        return self.real_dimension == 1 and bool(np.allclose(self.character, 1))


@dataclasses.dataclass(frozen=True, eq=False)
class FiniteGroup:
    """A finite subgroup of O(3).

    Attributes:
      name: Schoenflies symbol.
      elements: Orthogonal matrices, the identity first, shape ``(order, 3, 3)``.
      irreps: All real irreps; their projectors sum to the identity.

    Raises:
      ArgumentError: The elements are not orthogonal matrices, do not start with the
        identity, or are not closed under products; an irrep is missing, or a
        character is not that of an irrep of the group.

    Example:
      >>> from symjax.so3.finite_groups import finite_group
      >>> group = finite_group("Oh")
      >>> group.order, [irrep.name for irrep in group.irreps][:5]
      (48, ['A1g', 'A2g', 'Eg', 'T1g', 'T2g'])
    """

    name: str
    elements: np.ndarray
    irreps: tuple[FiniteIrrep, ...]

    def __post_init__(self) -> None:
        elements = np.array(self.elements)
        if elements.ndim != 3 or not len(elements):
            raise ArgumentError(
                "elements", elements.shape, "is not (order, 3, 3)", "Pass matrices"
            )
        check_orthogonal(elements, "elements")
        if not np.allclose(elements[0], np.eye(3), atol=1e-9):
            raise ArgumentError(
                "elements",
                elements[0],
                "do not start with the identity",
                "Put the identity first",
            )
        elements = elements.astype(float)
        elements.setflags(write=False)
        object.__setattr__(self, "elements", elements)
        squares = sum(irrep.dimension * irrep.real_dimension for irrep in self.irreps)
        if len(self.quotients) != squares:
            raise ArgumentError(
                "irreps",
                [irrep.name for irrep in self.irreps],
                f"are not those of a group of {self.order} elements: the squares of "
                f"their dimensions sum to {squares}",
                "Pass all irreps, complex conjugates as one pair",
            )
        self._check_characters()

    def _check_characters(self) -> None:
        """Raises unless the projectors are idempotent and sum to the identity."""
        probe = np.random.default_rng(0).normal(size=self.order)
        remaining = probe.copy()
        for irrep in self.irreps:
            valid = np.shape(irrep.character) == (self.order,)
            if valid:
                projector = self._projector(irrep)
                projected = projector @ probe
                remaining -= projected
                valid = bool(np.allclose(projector @ projected, projected, atol=1e-8))
            if not valid:
                raise ArgumentError(
                    "irreps",
                    irrep.name,
                    "does not have the character of an irrep of this group",
                    "Pass one value for each element, in the order of the elements",
                )
        if not np.allclose(remaining, 0, atol=1e-8):
            raise ArgumentError(
                "irreps",
                [irrep.name for irrep in self.irreps],
                "do not resolve the identity",
                "Pass each irrep once",
            )

    def _projector(self, irrep: FiniteIrrep) -> np.ndarray:
        # For a conjugate pair, the sum of both projectors: twice the real part.
        scale = irrep.real_dimension / self.order
        return scale * irrep.character[self.quotients]

    @property
    def order(self) -> int:
        """Number of elements."""
        return len(self.elements)

    @functools.cached_property
    def quotients(self) -> np.ndarray:
        """Index of the element g_i^-1 g_j, shape ``(order, order)``."""
        table = group_table(self.elements, "elements")
        # The identity comes first: it is the product with the inverse.
        return table[np.argmax(table == 0, axis=1)]

    def irrep(self, name: str) -> FiniteIrrep:
        """The irrep with a Mulliken symbol.

        Raises:
          ArgumentError: The group has no such irrep.
        """
        for irrep in self.irreps:
            if irrep.name == name:
                return irrep
        raise ArgumentError(
            "irrep",
            name,
            f"{self.name} has no such irrep",
            f"Use one of {', '.join(irrep.name for irrep in self.irreps)}",
        )

    def projector(self, name: str) -> np.ndarray:
        """Matrix that projects functions over the group on an irrep.

          (P u)(g_i) = sum_j d / order(G) chi(g_j^-1 g_i)* u(g_j)

        It is symmetric and idempotent, of shape ``(order, order)``.

        Raises:
          ArgumentError: The group has no such irrep.
        """
        return self._projector(self.irrep(name))


_FOURFOLD = rotation_about((0, 0, 1), math.pi / 2)
_THREEFOLD = rotation_about((1, 1, 1), 2 * math.pi / 3)


def _angles(rotations: np.ndarray) -> np.ndarray:
    trace = np.trace(rotations, axis1=1, axis2=2)
    return np.arccos(np.clip((trace - 1) / 2, -1, 1))


def rotation_character(rotations: np.ndarray, degree: int) -> np.ndarray:
    """Character of degree l: 1 + 2 sum_m cos(m theta)."""
    theta = _angles(rotations)
    return np.asarray(1 + 2 * sum(np.cos(m * theta) for m in range(1, degree + 1)))


Irreps = list[FiniteIrrep]


def _cyclic(num: int) -> tuple[np.ndarray, Irreps]:
    powers = np.arange(num)
    step = 2 * math.pi / num
    elements = np.array([rotation_about((0, 0, 1), step * k) for k in powers])
    irreps = [FiniteIrrep("A", 1, np.ones(num))]
    if num % 2 == 0:
        irreps.append(FiniteIrrep("B", 1, (-1.0) ** powers))
    for order in range(1, (num + 1) // 2):
        name = "E" if num in (3, 4) else f"E{order}"
        irreps.append(FiniteIrrep(name, 1, np.cos(step * order * powers), True))
    return elements, irreps


def _dihedral(num: int) -> tuple[np.ndarray, Irreps]:
    rotations, _ = _cyclic(num)
    flip = rotation_about((1, 0, 0), math.pi)
    elements = np.concatenate([rotations, rotations @ flip])
    k = np.tile(np.arange(num), 2)
    flipped = np.repeat([1.0, -1.0], num)
    irreps = [
        FiniteIrrep("A1", 1, np.ones(2 * num)),
        FiniteIrrep("A2", 1, flipped),
    ]
    if num % 2 == 0:
        sign = (-1.0) ** k
        # Mulliken: B1 is even under the first kind of perpendicular axis.
        irreps += [
            FiniteIrrep("B1", 1, sign),
            FiniteIrrep("B2", 1, sign * flipped),
        ]
    for order in range(1, (num + 1) // 2):
        name = "E" if num in (3, 4) else f"E{order}"
        waves = 2 * np.cos(2 * math.pi * order * k / num)
        irreps.append(FiniteIrrep(name, 2, np.where(flipped > 0, waves, 0.0)))
    return elements, irreps


def _tetrahedral() -> tuple[np.ndarray, Irreps]:
    elements = generate(np.array([_FOURFOLD @ _FOURFOLD, _THREEFOLD]))
    half = np.isclose(rotation_character(elements, 1), 0)  # the threefold rotations
    return elements, [
        FiniteIrrep("A", 1, np.ones(len(elements))),
        FiniteIrrep("E", 1, np.where(half, -0.5, 1.0), True),
        FiniteIrrep("T", 3, rotation_character(elements, 1)),
    ]


def _cubic(rotations: np.ndarray) -> Irreps:
    """Irreps of O at its rotations, and of every group isomorphic to it."""
    tetrahedral = {key_of(element) for element in _tetrahedral()[0]}
    sign = np.array([1.0 if key_of(r) in tetrahedral else -1.0 for r in rotations])
    vector, second = rotation_character(rotations, 1), rotation_character(rotations, 2)
    return [
        FiniteIrrep("A1", 1, np.ones(len(rotations))),
        FiniteIrrep("A2", 1, sign),
        # l = 2 splits into E and T2 = A2 x T1.
        FiniteIrrep("E", 2, second - sign * vector),
        FiniteIrrep("T1", 3, vector),
        FiniteIrrep("T2", 3, sign * vector),
    ]


def _octahedral() -> tuple[np.ndarray, Irreps]:
    elements = generate(np.array([_FOURFOLD, _THREEFOLD]))
    return elements, _cubic(elements)


def _tetrahedral_full() -> tuple[np.ndarray, Irreps]:
    rotations, irreps = _octahedral()
    # Rotations of O outside T become improper; T2 is then the vector.
    signs = irreps[1].character
    return signs[:, None, None] * rotations, irreps


def _icosahedral() -> tuple[np.ndarray, Irreps]:
    elements = icosahedral_rotations()
    theta = _angles(elements)
    vector = rotation_character(elements, 1)
    # The other irrep of dimension 3 exchanges rotations by 72 and 144 degrees.
    fifth = np.isclose(theta % (2 * math.pi / 5), 0, atol=1e-6) | np.isclose(
        theta % (2 * math.pi / 5), 2 * math.pi / 5, atol=1e-6
    )
    other = np.where(fifth, 1 + 2 * np.cos(2 * theta), vector)
    return elements, [
        FiniteIrrep("A", 1, np.ones(len(elements))),
        FiniteIrrep("T1", 3, vector),
        FiniteIrrep("T2", 3, other),
        # l = 3 splits into T2 and G, l = 2 stays whole.
        FiniteIrrep("G", 4, rotation_character(elements, 3) - other),
        FiniteIrrep("H", 5, rotation_character(elements, 2)),
    ]


def _doubled(
    make: Callable[[], tuple[np.ndarray, Irreps]],
    central: np.ndarray,
    labels: tuple[str, str],
) -> tuple[np.ndarray, Irreps]:
    """The direct product with {1, central}; ``central`` commutes with all elements."""
    elements, irreps = make()
    both = []
    for label, sign in zip(labels, (1.0, -1.0), strict=True):
        for irrep in irreps:
            character = np.concatenate([irrep.character, sign * irrep.character])
            both.append(
                dataclasses.replace(irrep, name=irrep.name + label, character=character)
            )
    return np.concatenate([elements, elements @ central]), both


def _with_inversion(
    make: Callable[[], tuple[np.ndarray, Irreps]],
) -> tuple[np.ndarray, Irreps]:
    return _doubled(make, -np.eye(3), ("g", "u"))


def _prismatic(num: int) -> tuple[np.ndarray, Irreps]:
    """D_nh: the rotations of D_n and the horizontal mirror."""
    if num % 2 == 0:
        return _with_inversion(lambda: _dihedral(num))
    mirror = np.diag([1.0, 1.0, -1.0])
    return _doubled(lambda: _dihedral(num), mirror, ("'", "''"))


def finite_group(name: str) -> FiniteGroup:
    """The finite subgroup of O(3) with a Schoenflies symbol.

    The n-fold axis of C_n and D_n is z, and a twofold axis of D_n is x. Cubic groups
    have their fourfold (T, Td, Th: twofold) axes along x, y and z.

    Args:
      name: ``"C1"``, ``"C2"``, ..., ``"D2"``, ``"D3"``, ..., ``"D2h"``, ``"D3h"``, ...,
        ``"D3d"``, ``"D5d"``, ... (odd n), ``"T"``, ``"Td"``, ``"Th"``, ``"O"``,
        ``"Oh"``, ``"I"``, ``"Ih"`` or ``"Ci"``.

    Returns:
      The group with its irreps.

    Raises:
      ArgumentError: The name is unknown, or the group has more than 480 elements.

    Example:
      >>> from symjax.so3.finite_groups import finite_group
      >>> [finite_group(name).order for name in ("C4", "D3", "Td", "Ih")]
      [4, 6, 24, 120]
    """
    return _group(name) if isinstance(name, str) else _unknown(name)


@functools.lru_cache(maxsize=64)
def _group(name: str) -> FiniteGroup:
    named: dict[str, Callable[[], tuple[np.ndarray, Irreps]]] = {
        "T": _tetrahedral,
        "Td": _tetrahedral_full,
        "O": _octahedral,
        "I": _icosahedral,
        "Th": lambda: _with_inversion(_tetrahedral),
        "Oh": lambda: _with_inversion(_octahedral),
        "Ih": lambda: _with_inversion(_icosahedral),
        "Ci": lambda: _with_inversion(lambda: _cyclic(1)),
    }
    if name in named:
        elements, irreps = named[name]()
        return FiniteGroup(name, elements, tuple(irreps))
    match = re.fullmatch(r"([CD])([1-9][0-9]{0,3})([hd]?)", name)
    family = match[1] + match[3] if match else ""
    if match and family in _ORDERS:
        num = int(match[2])
        if num * _ORDERS[family] > _LARGEST_ORDER:
            raise ArgumentError(
                "name",
                name,
                f"has more than {_LARGEST_ORDER} elements",
                "Use a smaller group, or quadrature(degree) for all rotations",
            )
        if (family != "Dd" or num % 2) and (family == "C" or num > 1):
            make = {
                "C": lambda: _cyclic(num),
                "D": lambda: _dihedral(num),
                "Dh": lambda: _prismatic(num),
                # Only for odd n is D_nd the product of D_n and the inversion.
                "Dd": lambda: _with_inversion(lambda: _dihedral(num)),
            }[family]
            elements, irreps = make()
            return FiniteGroup(name, elements, tuple(irreps))
    return _unknown(name)


def _unknown(name: object) -> NoReturn:
    raise ArgumentError(
        "name", name, "is not the symbol of a known group", f"Use one of {_NAMES}"
    )
