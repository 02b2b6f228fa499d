"""``[targets.NAME]`` and ``[optimizer]`` of a run: what is learnt, and how."""

from typing import Annotated, Literal, Self

import pydantic
from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from symjax._declared import STRICT
from symjax.data.quantities import Block, Target
from symjax.data.units import measures

# What a step can be numbered by, and no memory or life is too short for.
_LARGEST = 2**31 - 1
Count = Annotated[int, Field(ge=1, le=_LARGEST)]
CountFromZero = Annotated[int, Field(ge=0, le=_LARGEST)]
# Each is made before the first step.
Made = Annotated[int, Field(ge=1, le=10**6)]
Fraction = Annotated[float, Field(ge=0, lt=1)]


class Section(pydantic.BaseModel):
    """Part of a configuration: immutable, hashable, no key unknown.

    Example:
      >>> from symjax.training.sections import OptimizerSection
      >>> OptimizerSection().schedule
      'cosine'
    """

    model_config = {**STRICT, "frozen": True, "extra": "forbid"}

    # A dict is not hashable; sections are compared by what they say.
    def __hash__(self) -> int:
        return hash(self.model_dump_json())


class OptimizerSection(Section):
    """``[optimizer]``: AdamW.

    Attributes:
      learning_rate: Peak of the schedule.
      schedule: ``"cosine"`` down to ``final_fraction`` of the peak, or ``"constant"``.
      warmup: Steps of linear warm-up.
      final_fraction: Last learning rate over the peak.
      beta1: Decay of the first moment.
      beta2: Decay of the second moment.
      weight_decay: Of weights; biases and scales of normalisations do not decay.
      gradient_clip: Largest norm of a gradient; None for no clipping.
      average: Decay of the exponential average of the parameters, which is what is
        validated, monitored and saved; 0 for none.
    """

    learning_rate: PositiveFloat = 1e-3
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup: CountFromZero = 100
    final_fraction: Annotated[float, Field(ge=0, le=1)] = 0.01
    beta1: Fraction = 0.9
    beta2: Fraction = 0.999
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    gradient_clip: PositiveFloat | None = 1.0
    average: Fraction = 0.999


class BlockSection(Section):
    """One block of a target with several: ``[[targets.NAME.blocks]]``.

    Attributes:
      key: Name of the block, unique within its target.
      kind: ``"scalar"``, ``"vector"``, ``"matrix"``, or an irrep such as ``"2+"``.
      properties: Independent copies.
      field: Where the data hold it; by default the name of the target, an underscore
        and the key.
    """

    key: str
    kind: str = "scalar"
    properties: PositiveInt = 1
    field: str | None = None


class TargetSection(Section):
    """``[targets.NAME]``: what is learnt, and where the data hold it.

    Values of structures are read from ``atoms.info``, those of atoms from
    ``atoms.arrays``, both also from the results that ASE read from the file. Several
    numbers are flattened with the components first and the copies last.

    Attributes:
      kind: ``"scalar"``, ``"vector"``, ``"matrix"``, or an irrep such as ``"2+"``,
        whose components are real spherical ones for m = -l, ..., l.
      unit: Unit of the labels and of a fresh model's output, eV for energies. An
        initial model keeps its own, into which labels are converted.
      per_atom: Whether every atom has a value.
      properties: Independent copies.
      blocks: For targets of several irreps; instead of ``kind`` and ``properties``.
      field: Name in the data; by default that of the target.
      weight: Weight in the loss, whose errors are in units of the spread of the
        training data (of energies with forces, the spread of the forces times one
        angstrom).
      loss: ``"huber"``, ``"squared"`` or ``"absolute"``.
      divide_by_atoms: Whether errors of structures are divided by the number of atoms;
        by default for proper scalars.
      allow_missing: Whether NaN stands for a value that is not known.
      energy_unit: Unit of energies in the data; makes the target an energy.
      length_unit: Unit of lengths in the data's forces and stress.
      forces: Name of the forces in the data; None to fit energies alone.
      forces_weight: Their weight in the loss.
      stress: Name of the stress in the data (3x3 or Voigt, positive under tension).
      stress_weight: Its weight in the loss.
    """

    kind: str = "scalar"
    unit: str = ""
    per_atom: bool = False
    properties: PositiveInt = 1
    blocks: tuple[BlockSection, ...] = ()
    field: str | None = None
    weight: Annotated[float, Field(ge=0)] = 1.0
    loss: Literal["huber", "squared", "absolute"] = "huber"
    divide_by_atoms: bool | None = None
    allow_missing: bool = False
    energy_unit: str | None = None
    length_unit: str = "angstrom"
    forces: str | None = None
    forces_weight: Annotated[float, Field(ge=0)] = 1.0
    stress: str | None = None
    stress_weight: Annotated[float, Field(ge=0)] = 1.0

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        derived = self.forces is not None or self.stress is not None
        if derived and self.energy_unit is None:
            raise ValueError("forces and stress need an energy: set energy_unit")
        if self.energy_unit is not None:
            if not measures(self.energy_unit, "eV"):
                raise ValueError("energy_unit is no unit of energy, such as kcal/mol")
            if self.kind != "scalar" or self.properties > 1 or self.per_atom:
                raise ValueError("an energy is one scalar for each structure")
            if self.unit not in ("", "eV"):
                raise ValueError("unit of an energy is eV; energy_unit is the data's")
        if not measures(self.length_unit, "angstrom"):
            raise ValueError("length_unit is no unit of length, such as bohr")
        for key, value, where in (
            ("length_unit", "angstrom", derived),
            ("forces_weight", 1.0, self.forces is not None),
            ("stress_weight", 1.0, self.stress is not None),
            ("kind", "scalar", not self.blocks),
            ("properties", 1, not self.blocks),
            ("divide_by_atoms", None, not (self.divide_by_atoms and self.per_atom)),
        ):
            if getattr(self, key) != value and not where:
                raise ValueError(f"{key} has nothing to act on here: leave it out")
        return self

    def target(self, name: str) -> Target:
        """The target as a model's configuration holds it.

        Args:
          name: Its name.

        Raises:
          ModelError: A kind or a name is impossible.

        Example:
          >>> from symjax.training.sections import TargetSection
          >>> TargetSection(kind="vector", unit="e*angstrom").target("dipole").unit
          'e*angstrom'
        """
        blocks = tuple(
            Block(block.key, block.kind, block.properties) for block in self.blocks
        ) or (Block(self.kind, self.kind, self.properties),)
        unit = self.unit if self.energy_unit is None else "eV"
        return Target(name, unit, self.per_atom, blocks)

    def fields(self, name: str) -> dict[str, str]:
        """Name in the data of each block, by its key.

        Args:
          name: Name of the target.

        Returns:
          Names by key.

        Example:
          >>> from symjax.training.sections import TargetSection
          >>> TargetSection(kind="vector").fields("dipole")
          {'vector': 'dipole'}
        """
        own = name if self.field is None else self.field
        if not self.blocks:
            return {self.kind: own}
        return {
            block.key: f"{own}_{block.key}" if block.field is None else block.field
            for block in self.blocks
        }
