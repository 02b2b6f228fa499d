"""The sections ``[targets.NAME]`` and ``[optimizer]`` of a run."""

from typing import Annotated, Literal, Self

import pydantic
from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from symjax._declared import STRICT
from symjax.data.quantities import Block, Target
from symjax.data.units import measures

# Steps are counted in int32.
_LARGEST = 2**31 - 1
Count = Annotated[int, Field(ge=1, le=_LARGEST)]
CountFromZero = Annotated[int, Field(ge=0, le=_LARGEST)]
# Events, all of which are prepared before the first step.
Made = Annotated[int, Field(ge=1, le=10**6)]
Fraction = Annotated[float, Field(ge=0, lt=1)]


class Section(pydantic.BaseModel):
    """Part of a configuration: immutable, hashable, without unknown keys.

    Example:
      >>> from symjax.training.sections import OptimizerSection
      >>> OptimizerSection().schedule
      'cosine'
    """

    model_config = {**STRICT, "frozen": True, "extra": "forbid"}

    # A field may be a dict, which is not hashable.
    def __hash__(self) -> int:
        return hash(self.model_dump_json())


class OptimizerSection(Section):
    """``[optimizer]``: AdamW.

    Attributes:
      learning_rate: Peak learning rate.
      schedule: ``"cosine"`` decay after the warm-up, or ``"constant"``.
      warmup: Number of steps of linear warm-up from 0.
      final_fraction: Learning rate to which the cosine decays, divided by the peak.
      beta1: Decay rate of the first moment.
      beta2: Decay rate of the second moment.
      weight_decay: Decay of weights; biases and scales of normalisations do not decay.
      gradient_clip: Largest norm of the gradient; None for no clipping.
      average: Decay of the exponential moving average of the parameters, which are the
        ones that are validated, monitored and saved; 0 for no average.
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
    """``[[targets.NAME.blocks]]``: one block of a target with several.

    Attributes:
      key: Name of the block, unique within its target.
      kind: ``"scalar"``, ``"vector"``, ``"matrix"``, or an irrep such as ``"2+"``.
      properties: Number of independent copies.
      field: Its name in the data; by default ``TARGET_KEY`` from the field (or name) of
        the target and the key of the block.
    """

    key: str
    kind: str = "scalar"
    properties: PositiveInt = 1
    field: str | None = None


class TargetSection(Section):
    """``[targets.NAME]``: a property to learn, and where to find it in the data.

    Values of structures are read from ``atoms.info``, those of atoms from
    ``atoms.arrays``, and both from the results that ASE reads from the file. Several
    numbers are flattened with components first and copies last.

    Attributes:
      kind: ``"scalar"``, ``"vector"``, ``"matrix"``, or an irrep such as ``"2+"``,
        whose components are real spherical ones, m = -l, ..., l.
      unit: Unit of the labels and of the output of a fresh model; eV for energies. An
        initial model keeps its own unit, to which labels are converted.
      per_atom: Whether each atom has a value, rather than each structure.
      properties: Number of independent copies.
      blocks: Blocks of a target with several irreps, instead of ``kind`` and
        ``properties``.
      field: Name in the data; by default that of the target.
      weight: Weight in the loss, which measures errors in units of the root mean square
        of the labels (for energies with forces, that of the forces times one angstrom).
      loss: ``"huber"``, ``"squared"`` or ``"absolute"``.
      divide_by_atoms: Whether errors of structures are divided by the number of atoms;
        by default for proper scalars.
      allow_missing: Whether values may be missing, or NaN.
      energy_unit: Unit of the energies in the data; makes the target an energy.
      length_unit: Unit of length of the forces and the stress in the data.
      forces: Name of the forces in the data; None to fit none.
      forces_weight: Weight of the forces in the loss.
      stress: Name of the stress in the data (3x3 or Voigt, positive under tension);
        None to fit none.
      stress_weight: Weight of the stress in the loss.
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
        """The target for the configuration of a model.

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
        """Names of the blocks in the data.

        Args:
          name: Name of the target.

        Returns:
          Names by key of the block; by kind for a target without blocks.

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
