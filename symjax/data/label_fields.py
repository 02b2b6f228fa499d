"""Reads the labels that structures carry for the outputs of a model."""

import dataclasses
import warnings
from collections.abc import Mapping

import ase
import numpy as np
from jaxtyping import Float

from symjax.data.stress import read_stress
from symjax.data.targets import check_name, read_values
from symjax.data.units import conversion, measures
from symjax.errors import ArgumentError, StructureError


@dataclasses.dataclass(frozen=True)
class LabelFields:
    """The fields of structures that hold labels, and the units of the labels.

    Attributes:
      fields: Field of each output, by the name of the output. An output that is not
        listed is read from the field of its own name, if there is one.
      energy_unit: Unit of energies, such as eV, kcal/mol, kJ/mol or Hartree. ASE
        converts no units of labels.
      length_unit: Unit of lengths, such as angstrom or bohr. Forces are in
        ``energy_unit / length_unit``, stresses in ``energy_unit / length_unit^3``.

    Raises:
      ArgumentError: A unit is unknown.

    Example:
      >>> import ase.build
      >>> from symjax.data import LabelFields
      >>> water = ase.build.molecule("H2O")
      >>> water.info["energy"] = -100.0
      >>> LabelFields(energy_unit="kcal/mol").read(water, "energy", "eV", (1,), False)
      array([-4.3364...])
    """

    fields: Mapping[str, str] = dataclasses.field(default_factory=dict)
    energy_unit: str = "eV"
    length_unit: str = "angstrom"

    def __post_init__(self) -> None:
        conversion(self.energy_unit, "eV", "energy_unit")
        conversion(self.length_unit, "angstrom", "length_unit")

    def __str__(self) -> str:
        """Units and fields that differ from the defaults; empty if none does."""
        units = [self.energy_unit, self.length_unit]
        words = [", ".join(units)] if units != ["eV", "angstrom"] else []
        words += [f"{name} from {field}" for name, field in sorted(self.fields.items())]
        return "; ".join(words)

    def read(
        self,
        atoms: ase.Atoms,
        name: str,
        unit: str,
        shape: tuple[int, ...],
        per_atom: bool,
    ) -> Float[np.ndarray, "..."] | None:
        """Reads the label of one output of a structure.

        A field listed in ``fields`` must be valid. For other outputs, a missing field
        gives None, and an unusable one a warning and None.

        Args:
          atoms: The structure.
          name: Name of the output.
          unit: Unit of the output, such as ``"eV/angstrom"``. Energies, and energies
            divided by the first to third power of a length, are converted to it; other
            labels are returned as stored.
          shape: Shape of the label of the structure, or of each atom.
          per_atom: Whether each atom has a label.

        Returns:
          The label in the unit of the output, of shape ``shape`` or ``(atoms,
          *shape)``; None if the structure has none.

        Raises:
          ArgumentError: A listed field is missing, or its name indicates another unit,
            an energy per atom or a gradient.
          StructureError: A listed field has the wrong size, is not finite, or belongs
            to another geometry.
        """
        named = name in self.fields
        field, energy = self.fields.get(name, name), measures(unit, "eV")
        if named and measures(unit, "eV/angstrom"):
            check_name(name, field, self.energy_unit, self.length_unit)
        elif named and not (energy and per_atom):
            check_name(name, field, self.energy_unit if energy else unit)
        try:
            if measures(unit, "eV/angstrom^3"):
                # Has its own checks of sign, order and, for slabs, directions.
                (stress,) = read_stress([atoms], field, self.factor(unit))
                return stress[0, ..., 0]
            (values,) = read_values([atoms], field, shape, per_atom=per_atom)
        except ArgumentError:
            if named:
                raise
            return None
        except StructureError as error:
            if named:
                raise
            # A field that happens to have the name of an output need not be its label.
            warnings.warn(
                f"{name!r} is not compared with labels: {error}", stacklevel=2
            )
            return None
        return values * self.factor(unit)

    def factor(self, unit: str) -> float:
        """Factor that converts stored labels to the unit of an output.

        Args:
          unit: Unit of the output.

        Returns:
          The factor; 1 for units other than an energy, or an energy divided by the
          first to third power of a length.

        Example:
          >>> from symjax.data import LabelFields
          >>> fields = LabelFields(energy_unit="Hartree", length_unit="bohr")
          >>> round(fields.factor("eV/angstrom"), 3), fields.factor("e*angstrom")
          (51.422, 1.0)
        """
        for power in range(4):
            if measures(unit, f"eV/angstrom^{power}"):
                stored = f"{self.energy_unit}/{self.length_unit}^{power}"
                return conversion(stored, unit)
        return 1.0
