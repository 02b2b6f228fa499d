"""Names, tensors, blocks and units of the quantities that models predict."""

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
"""Representations of Cartesian tensors, by kind, in the order of their rank."""

DERIVATIVES = ("forces", "stress")
"""Names of the derivatives of an energy."""

HIGHEST_DEGREE = 64
"""Largest degree l of a block."""

MOST_PROPERTIES = 2**16
"""Largest number of copies in a block."""


def representation_of(kind: str, *, channels: bool = False) -> Representation:
    """The representation of a kind of tensor.

    Args:
      kind: ``"scalar"``, ``"vector"`` (x, y, z), ``"matrix"``, or the label of an irrep
        such as ``"2+"``, for real spherical components m = -l, ..., l.
      channels: Whether there is a last axis with independent copies.

    Raises:
      ModelError: The kind is unknown, or its degree is larger than 64.

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
                "is not a kind of tensor",
                "Use 'scalar', 'vector', 'matrix', or an irrep such as '2+'",
            ) from error
        # The basis has (2 l + 1)^2 entries.
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
    """The name of a quantity and its variant, such as ``energy/pbe``.

    Attributes:
      quantity: The quantity, such as ``"energy"``.
      variant: Which of several, such as the functional ``"pbe"``; empty if there is
        one.

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
        """Splits a name at its first ``/``.

        Args:
          name: A quantity, or a quantity and its variant separated by ``/``.
        """
        quantity, _, variant = name.partition("/")
        return cls(quantity, variant)

    @property
    def is_energy(self) -> bool:
        """Whether the quantity is ``energy``, from which forces are derived."""
        return self.quantity == "energy"

    def __str__(self) -> str:
        return f"{self.quantity}/{self.variant}" if self.variant else self.quantity


class Block(Declared):
    """One block of a target: independent copies of one kind of tensor.

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
                "key", self.key, "is not a name of a block", "Use a name without '/'"
            )
        _ = self.representation

    @property
    def representation(self) -> Representation:
        """Representation of the block; with channels if there are several copies."""
        return representation_of(self.kind, channels=self.properties > 1)

    @property
    def with_channels(self) -> Representation:
        """Representation with a last axis of copies, even if there is only one."""
        return representation_of(self.kind, channels=True)

    @property
    def is_invariant(self) -> bool:
        """Whether the block holds proper scalars, to which a baseline can be added."""
        return self.representation.irreps == (Irrep(0, 1),)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the block for one sample: components first, properties last."""
        return (*self.representation.shape, self.properties)


class Target(Declared):
    """A quantity to predict: its name, unit and blocks.

    Attributes:
      name: Name of the target. After a ``/`` follows a variant, such as the functional
        in ``"energy/pbe"``.
      unit: Unit of the target; empty if unknown.
      per_atom: True for a property of atoms; otherwise atomic predictions are summed.
      blocks: One block for Cartesian targets; one block per irrep for spherical ones.

    Raises:
      ModelError: The name is empty or that of a derivative (``"forces"``,
        ``"stress"``), or blocks are missing or share a key.

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
                "is not a name of a target",
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
        """Whether the target is a single invariant number."""
        block = self.blocks[0]
        return len(self.blocks) == 1 and block.properties == 1 and block.is_invariant

    @property
    def is_energy(self) -> bool:
        """Whether the target is a scalar named ``energy``, or a variant of it."""
        return QuantityName.parse(self.name).is_energy and self.is_scalar

    @property
    def outputs(self) -> tuple[tuple[str, Block], ...]:
        """Pairs of an output's name and its block, in the order of the blocks."""
        return tuple((self.output(block), block) for block in self.blocks)

    def output(self, block: Block) -> str:
        """Name of the output for a block.

        It is the name of the target, followed by the key of the block if there are
        several blocks.
        """
        return self.name if len(self.blocks) == 1 else f"{self.name}/{block.key}"


def energy_among(names: Iterable[str]) -> str | None:
    """Selects the energy from which forces are derived.

    Args:
      names: Names of quantities.

    Returns:
      ``"energy"`` if present, otherwise its only variant; None if there is no energy.

    Raises:
      ModelError: There are several variants and no ``"energy"``.

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
