"""What calculators of symjax share: what counts as a change, and what ASE is given."""

from typing import Any

import ase
from ase.calculators.calculator import Calculator, equal
from ase.outputs import Properties, all_outputs


class StatefulCalculator(Calculator):
    """A calculator for which more counts than what ASE compares.

    ``_conditions`` says what, of a structure: a total charge, for instance. What it was
    in the last calculation is kept in ``_known``.
    """

    _known: Any = None

    def _conditions(self, atoms: ase.Atoms) -> Any:
        raise NotImplementedError

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
