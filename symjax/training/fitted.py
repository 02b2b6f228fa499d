"""The labels that a run on atoms fits: outputs, forces and stress."""

import dataclasses
from collections.abc import Mapping

from symjax.data.quantities import DERIVATIVES, Target
from symjax.data.units import derivative_unit
from symjax.models.pet.config import PETConfig
from symjax.so3.representations import (
    MATRIX,
    VECTOR,
    Representation,
)
from symjax.training.sections import TargetSection

FORCES, STRESS = DERIVATIVES


@dataclasses.dataclass(frozen=True)
class Label:
    """One array that is fitted.

    Attributes:
      name: Name of the model's output.
      representation: How it transforms; its last axis are copies.
      per_atom: Whether it has a value for each atom rather than for each structure.
      weight: Weight in the loss.
      loss: ``"huber"``, ``"squared"`` or ``"absolute"``.
      divide_by_atoms: Whether errors are divided by the number of atoms.
      unit: Its unit.
      differentiated: The energy whose derivative it is, for forces and stress.
    """

    name: str
    representation: Representation
    per_atom: bool
    weight: float
    loss: str
    divide_by_atoms: bool
    unit: str
    differentiated: str | None = None


def fitted_unit(target: Target, config: PETConfig) -> str:
    """Unit in which a target is fitted: the model's, or the run's if that has none."""
    return config.target(target.name).unit or target.unit


def labels_of(
    targets: Mapping[str, TargetSection], config: PETConfig
) -> tuple[Label, ...]:
    """Labels of a run, in the units of the model.

    One for each block of each target, then forces and stress.
    """
    labels, derived = [], []
    for name, section in targets.items():
        target = section.target(name)
        unit = fitted_unit(target, config)
        for output, block in target.outputs:
            divided = section.divide_by_atoms
            if divided is None:
                divided = block.is_invariant and not target.per_atom
            labels.append(
                Label(
                    output,
                    dataclasses.replace(block.representation, has_channels=True),
                    target.per_atom,
                    section.weight,
                    section.loss,
                    divided,
                    unit,
                )
            )
        for kind, representation in ((FORCES, VECTOR), (STRESS, MATRIX)):
            if getattr(section, kind) is not None:
                derived.append(
                    Label(
                        kind,
                        dataclasses.replace(representation, has_channels=True),
                        kind == FORCES,
                        getattr(section, f"{kind}_weight"),
                        section.loss,
                        False,
                        derivative_unit(kind, unit),
                        name,
                    )
                )
    return (*labels, *derived)
