"""Which labels structures carry for the outputs of a model, and in which units."""

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
    """Where labels are stored, and in which units.

    Attributes:
      fields: Field of each output, by its name; by default that of the same name, where
        a structure has it.
      energy_unit: Unit of energies in the file: eV, kcal/mol, kJ/mol or Hartree. ASE
        converts none.
      length_unit: angstrom or bohr; forces are in ``energy_unit / length_unit``.

    Raises:
      ArgumentError: A unit is not known.

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
        """What differs from labels under the names of outputs in eV and angstrom."""
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
        """Labels of one output of one structure.

        Args:
          atoms: The structure.
          name: Name of the output.
          unit: Its unit, such as ``"eV/angstrom"``. Energies over lengths are
            converted; others are taken as they are.
          shape: Shape of the label of the structure, or of each atom.
          per_atom: Whether every atom has one.

        Returns:
          Labels in the unit of the output; None where the structure has none.

        Raises:
          ArgumentError: A field that was named is not there, or says another unit, an
            energy per atom or a gradient.
          StructureError: A label is of the wrong size, no number, or of another
            geometry.
        """
        named = name in self.fields
        field, energy = self.fields.get(name, name), measures(unit, "eV")
        if named and measures(unit, "eV/angstrom"):
            check_name(name, field, self.energy_unit, self.length_unit)
        elif named and not (energy and per_atom):
            check_name(name, field, self.energy_unit if energy else unit)
        try:
            if measures(unit, "eV/angstrom^3"):
                # It has signs, orders and, of slabs, directions of its own.
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
            # What merely has the name of an output need be no label of it.
            warnings.warn(
                f"{name!r} is not compared with labels: {error}", stacklevel=2
            )
            return None
        return values * self.factor(unit)

    def factor(self, unit: str) -> float:
        """What labels are multiplied by.

        Args:
          unit: Unit of the output.

        Returns:
          A number; 1 for what is no energy over a power of a length.

        Example:
          >>> from symjax.data import LabelFields
          >>> fields = LabelFields(energy_unit="Hartree", length_unit="bohr")
          >>> round(fields.factor("eV/angstrom"), 3), fields.factor("e*angstrom")
          (51.422, 1.0)
        """
        for power in range(4):
            if measures(unit, f"eV/angstrom^{power}"):
                own = f"{self.energy_unit}/{self.length_unit}^{power}"
                return conversion(own, unit)
        return 1.0
