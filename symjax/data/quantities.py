"""What models predict and data hold: names, variants, kinds of tensors, blocks, units.

Runs, models, labels, files of metatensor, calculators and reports share these words.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Annotated, NamedTuple

from pydantic import Field

from symjax._declared import Declared
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


DERIVATIVES = ("forces", "stress")
"""Derivatives of an energy."""
HIGHEST_DEGREE = 64
"""Degree of a target."""
MOST_PROPERTIES = 2**16
"""Number of copies of a block."""


def representation_of(kind: str, *, channels: bool = False) -> Representation:
    """How a tensor transforms.

    Args:
      kind: ``"scalar"``, ``"vector"`` (x, y, z), ``"matrix"``, or the label of an irrep
        such as ``"2+"``, for real spherical components m = -l, ..., l.
      channels: Whether copies of it lie along a last axis.

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
        """
        quantity, _, variant = name.partition("/")
        return cls(quantity, variant)

    @property
    def is_energy(self) -> bool:
        """Whether forces are derivatives of what has this name."""
        return self.quantity == "energy"

    def __str__(self) -> str:
        return f"{self.quantity}/{self.variant}" if self.variant else self.quantity


class Block(Declared):
    """One block of a target: one representation, with independent copies.

    Attributes:
      key: Name of the block, unique within its target.
      kind: ``"scalar"``, ``"vector"``, ``"matrix"``, or the label of an irrep such
        as ``"2+"`` for real spherical components.
      properties: Number of copies.

    Example:
      >>> from symjax.data.quantities import Block
      >>> Block("2+", "2+", properties=4).shape
      (5, 4)
    """

    key: str
    kind: str = "scalar"
    properties: Annotated[int, Field(ge=1, le=MOST_PROPERTIES)] = 1

    def __post_init__(self) -> None:
        if not self.key or "/" in self.key:
            raise ModelError(
                "key", self.key, "is no name of a block", "Use a name without '/'"
            )
        _ = self.representation

    @property
    def representation(self) -> Representation:
        """How the block transforms; with channels if there are several copies."""
        return representation_of(self.kind, channels=self.properties > 1)

    @property
    def with_channels(self) -> Representation:
        """The same, with a last axis of copies even if there is one only."""
        return representation_of(self.kind, channels=True)

    @property
    def is_invariant(self) -> bool:
        """Whether it holds proper scalars, to which a baseline can be added."""
        return self.representation.irreps == (Irrep(0, 1),)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the block for one sample, components first and properties last."""
        return (*self.representation.shape, self.properties)


class Target(Declared):
    """A quantity that models predict and data hold: name, unit and blocks.

    Attributes:
      name: Name of the target. What follows a ``/`` names a variant, such as the
        functional of ``"energy/pbe"``.
      unit: Its unit.
      per_atom: True for a property of atoms; otherwise atomic predictions are summed.
      blocks: One block for Cartesian targets, one for each irrep for spherical ones.

    Example:
      >>> from symjax.data.quantities import Target
      >>> Target("energy", "eV").blocks[0].kind
      'scalar'
    """

    name: str
    unit: str = ""
    per_atom: bool = False
    blocks: tuple[Block, ...] = (Block("scalar"),)

    def __post_init__(self) -> None:
        if self.name in DERIVATIVES:
            raise ModelError(
                "target",
                self.name,
                "is the name of a derivative of an energy",
                "Use a name such as 'non_conservative_forces'",
            )
        if not all(self.name.split("/")):
            raise ModelError(
                "target",
                self.name,
                "is no name of a target",
                "Use a name such as 'energy', with a variant 'energy/pbe'",
            )
        keys = [block.key for block in self.blocks]
        if not keys or len(set(keys)) != len(keys):
            raise ModelError(
                f"targets[{self.name!r}].blocks",
                keys,
                "needs at least one block, and distinct keys",
                "Give every block its own key",
            )

    @property
    def is_scalar(self) -> bool:
        """Whether it is one invariant number."""
        block = self.blocks[0]
        return len(self.blocks) == 1 and block.properties == 1 and block.is_invariant

    @property
    def is_energy(self) -> bool:
        """Whether it is an energy by its name: ``energy``, or a variant of it."""
        return QuantityName.parse(self.name).is_energy and self.is_scalar

    @property
    def outputs(self) -> tuple[tuple[str, Block], ...]:
        """Every block with the name of its output.

        It is the target's, with the key of the block where there are several.
        """
        return tuple((self.output(block), block) for block in self.blocks)

    def output(self, block: Block) -> str:
        """Name of the output that is a block."""
        return self.name if len(self.blocks) == 1 else f"{self.name}/{block.key}"


def energy_among(names: Iterable[str]) -> str | None:
    """The energy that forces are derived from, of several quantities.

    Args:
      names: Their names.

    Returns:
      ``energy``, or the only variant of it; None if no name is an energy's.

    Raises:
      ModelError: There are several variants to choose from.

    Example:
      >>> from symjax.data.quantities import energy_among
      >>> energy_among(["energy/pbe", "mtt::gap"])
      'energy/pbe'
    """
    found = [name for name in names if QuantityName.parse(name).is_energy]
    if "energy" in found or len(found) <= 1:
        return "energy" if "energy" in found else next(iter(found), None)
    raise ModelError(
        "energy",
        None,
        f"forces are derived from one energy, and the model has {len(found)}",
        f"Name one of {', '.join(found)}",
    )
