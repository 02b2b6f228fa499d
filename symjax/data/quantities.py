"""The words that targets, labels and files share: kinds of tensors, names, variants."""

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

from symjax.errors import ModelError
from symjax.so3.irreps import Irrep
from symjax.so3.representations import (
    MATRIX,
    SCALAR,
    VECTOR,
    Representation,
    spherical,
)

CARTESIAN: Mapping[str, Representation] = {
    "scalar": SCALAR,
    "vector": VECTOR,
    "matrix": MATRIX,
}
"""Kinds of Cartesian tensors, in the order of their rank."""


def cartesian_kind(rank: int) -> str:
    """The kind of a Cartesian tensor.

    Args:
      rank: Number of its indices, 0 to 2.

    Returns:
      A key of :data:`CARTESIAN`.

    Example:
      >>> from symjax.data.quantities import cartesian_kind
      >>> cartesian_kind(1)
      'vector'
    """
    return tuple(CARTESIAN)[rank]


def cartesian_rank(kind: str) -> int | None:
    """The rank of a Cartesian tensor.

    Args:
      kind: A kind.

    Returns:
      Number of its indices; None for an irrep.

    Example:
      >>> from symjax.data.quantities import cartesian_rank
      >>> cartesian_rank("matrix"), cartesian_rank("2+")
      (2, None)
    """
    return tuple(CARTESIAN).index(kind) if kind in CARTESIAN else None


HIGHEST_DEGREE = 64
"""Degree of a target."""


def representation_of(kind: str, *, channels: bool = False) -> Representation:
    """How a tensor transforms.

    Args:
      kind: ``"scalar"``, ``"vector"`` (x, y, z), ``"matrix"``, or the label of an irrep
        such as ``"2+"``, for real spherical components m = -l, ..., l.
      channels: Whether copies of it lie along a last axis.

    Returns:
      The representation.

    Raises:
      ModelError: There is no such kind, or its degree is larger than 64.

    Example:
      >>> from symjax.data.quantities import representation_of
      >>> representation_of("2+", channels=True).shape
      (5,)
    """
    base = CARTESIAN.get(kind)
    if base is None:
        try:
            irrep = Irrep.parse(kind)
        except ValueError as error:
            raise ModelError(
                "kind",
                kind,
                "is not a kind of target",
                "Use 'scalar', 'vector', 'matrix', or an irrep such as '2+'",
            ) from error
        # Far beyond any target; the basis has (2 l + 1)^2 entries.
        if irrep.degree > HIGHEST_DEGREE:
            raise ModelError(
                "kind",
                kind,
                f"has a degree larger than {HIGHEST_DEGREE}",
                "Use an irrep such as '2+'",
            )
        base = spherical(irrep.degree, irrep.sigma)
    return dataclasses.replace(base, has_channels=channels)


class QuantityName(NamedTuple):
    """A name that may have a variant: ``energy/pbe`` is the energy of a functional.

    Attributes:
      quantity: What it is, such as ``"energy"``.
      variant: Which of several; empty for the only one.

    Example:
      >>> from symjax.data.quantities import QuantityName
      >>> QuantityName.parse("energy/pbe")
      QuantityName(quantity='energy', variant='pbe')
      >>> str(QuantityName.parse("mtt::dipole"))
      'mtt::dipole'
    """

    quantity: str
    variant: str = ""

    @classmethod
    def parse(cls, name: str) -> "QuantityName":
        """Reads a name.

        Args:
          name: A quantity, or one with its variant behind the first ``/``.

        Returns:
          Its parts.
        """
        quantity, _, variant = name.partition("/")
        return cls(quantity, variant)

    @property
    def is_energy(self) -> bool:
        """Whether forces are derivatives of what has this name."""
        return self.quantity == "energy"

    def __str__(self) -> str:
        return f"{self.quantity}/{self.variant}" if self.variant else self.quantity
