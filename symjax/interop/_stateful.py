"""What calculators of symjax share: what counts as a change, and what ASE is given."""

from collections.abc import Sequence
from typing import Any

import ase
from ase.calculators.calculator import Calculator, all_changes, equal
from ase.outputs import Properties, all_outputs


class StatefulCalculator(Calculator):
    """A calculator for which more counts than what ASE compares.

    ``_conditions`` says what, of a structure: by default ``atoms.info``, which may hold
    a total charge. What it was in the last calculation is kept in ``_known``.
    """

    _known: Any = None

    def _conditions(self, atoms: ase.Atoms) -> Any:
        return dict(atoms.info)

    def _results_of(self, properties: Sequence[str]) -> dict[str, Any]:
        """Results for ``self.atoms``."""
        raise NotImplementedError

    def calculate(
        self,
        atoms: ase.Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Computes results of a structure into ``results``; ASE calls it.

        Where that fails, there are none: those of another structure do not stay.

        Args:
          atoms: The structure; by default the one of the last calculation.
          properties: What is needed; more may come along.
          system_changes: Ignored; what has changed is found by comparison.

        Raises:
          SymjaxError: The structure cannot be used, or an average over rotations does
            not resolve how its results depend on the orientation.

        Example:
          >>> import ase.build
          >>> from symjax.interop import SymjaxCalculator
          >>> calculator = SymjaxCalculator("pet-ethanol", average=3)
          >>> calculator.calculate(ase.build.molecule("H2O"))
          >>> [name for name in sorted(calculator.results) if "std" not in name]
          ['energies', 'energy', 'forces', 'free_energy']
        """
        super().calculate(atoms, properties, system_changes)
        self.results = {}
        self.results = self._results_of(properties)
        self._known = self._conditions(self.atoms)

    def check_state(self, atoms: ase.Atoms, tol: float = 1e-15) -> list[str]:
        """What has changed since the last calculation; charge and spin count too."""
        changes = list(super().check_state(atoms, tol))
        if not changes and not equal(self._conditions(atoms), self._known):
            # ASE compares initial charges of atoms, not the total charge.
            changes.append("initial_charges")
        return changes

    def export_properties(self) -> Properties:
        """The results that ASE has names for, without standard deviations."""
        known = {k: v for k, v in self.results.items() if k in all_outputs}
        return Properties(known)
