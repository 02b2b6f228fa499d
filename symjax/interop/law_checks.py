"""Checks of other physical laws, for any model that a run measures."""

import dataclasses
import functools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import ase
import jax
import numpy as np

from symjax.data.units import conversion, derivative_unit, measures
from symjax.interop._stateful import StatefulCalculator
from symjax.interop.ase_calculator import SymjaxCalculator
from symjax.interop.foreign_sources import CalculatorSource
from symjax.interop.physics import physical_checks
from symjax.metrics import HostFunction, Problem
from symjax.metrics.verdicts import PhysicalCheck
from symjax.models.pet import PETModel
from symjax.models.pet.energies import choose_energy
from symjax.models.pet.orbits import orbit_problem

_DIRECT = re.compile(r"non_conservative_forces?(/.*)?")
# Round-off of one evaluation, relative to the largest force, to which predicted and
# derived forces must agree.
_ROUND_OFF = {"float32": 1e-4, "float64": 1e-10}


@dataclasses.dataclass(frozen=True)
class LawChecks:
    """Physical checks of a model, as a run calls them; picklable.

    Attributes:
      source: The model: a PET, or a source of :mod:`symjax.interop`.
      energy: Name of the energy that forces belong to, if there are several.
      dtype: Floating-point type in which a PET runs.

    Example:
      >>> import ase.build
      >>> from symjax.interop.law_checks import LawChecks
      >>> from symjax.interop.foreign_sources import CalculatorSource
      >>> checks = LawChecks(CalculatorSource("ase.calculators.emt:EMT"))
      >>> all(check.holds for check in checks(ase.build.molecule("CO")))
      True
    """

    source: Any
    energy: str | None = None
    dtype: str = "float32"

    def __call__(self, atoms: ase.Atoms) -> tuple[PhysicalCheck, ...]:
        """Checks one structure; returns no checks for a model without an energy."""
        calculator = self.calculator(atoms)
        if calculator is None:
            return ()
        direct = self._direct(atoms)
        return (*physical_checks(calculator, atoms), *direct)

    def calculator(self, atoms: ase.Atoms) -> Any:
        """The model as an ASE calculator; None if it has no energy in a known unit."""
        if isinstance(self.source, CalculatorSource):
            made = self.source.calculator()
            return made if "energy" in made.implemented_properties else None
        if isinstance(self.source, PETModel):
            if not choose_energy(self.source.config, self.energy):
                return None
            return SymjaxCalculator(
                self.source, energy=self.energy, dtype=self.dtype, dipole=None
            )
        settings = self.source.settings(_Plain(self.energy, self.dtype))
        name = str(settings.get("energy") or self.energy or "energy")
        made = ProblemCalculator(self._problem, name)
        return made if made.fits(atoms) else None

    def _problem(self, atoms: ase.Atoms) -> Problem:
        """Outputs of the model, without layers."""
        options = _Plain(self.energy, self.dtype)
        sizes, errors = self.source.sizes({"": atoms})
        if errors:
            raise errors[""]
        item, size = self.source.prepare("", atoms, sizes[""])
        problem: Problem = self.source.problem(item, size, options)
        return problem

    def _direct(self, atoms: ase.Atoms) -> Iterator[PhysicalCheck]:
        """Compares forces that a head predicts with those derived from the energy."""
        if isinstance(self.source, CalculatorSource):
            return
        if isinstance(self.source, PETModel):
            names = [target.name for target in self.source.config.targets]
            if not any(map(_DIRECT.fullmatch, names)):
                return
            problem = orbit_problem(
                *(self.source, atoms),
                layers="none",
                energy=self.energy,
                dtype=self.dtype,
            )
        else:
            problem = self._problem(atoms)
        outputs = evaluated(problem)
        derived = outputs.get("forces")
        for name, (value, unit) in outputs.items():
            if derived is None or not _DIRECT.fullmatch(name):
                continue
            value = conversion(unit or derived[1], derived[1], name) * value
            difference = value.reshape(-1, 3) - derived[0].reshape(-1, 3)
            scale = float(np.sqrt(np.mean(np.square(derived[0]))))
            yield PhysicalCheck(
                "as forces of the energy",
                name,
                float(np.sqrt(np.mean(difference**2))),
                float(_ROUND_OFF[str(value.dtype)] * np.abs(derived[0]).max(initial=0)),
                scale,
                derived[1],
            )


@dataclasses.dataclass(frozen=True)
class _Plain:
    """The options of a run that a source reads."""

    energy: str | None
    dtype: str
    layers: str = "none"
    symmetry: bool = False


@functools.partial(jax.jit, static_argnums=0)
def _compiled(function: Callable[..., Any], x: Any, *args: Any) -> Any:
    return function(x, *args)


def evaluated(problem: Problem) -> dict[str, tuple[np.ndarray, str]]:
    """Outputs of a problem in the given orientation, with their units, by name."""
    function = problem.function
    if not isinstance(function, HostFunction):
        function = functools.partial(_compiled, function)
    found = function(problem.x, *problem.args)
    if not isinstance(found, Mapping):
        return {}
    return {
        name: (np.asarray(value), problem.outputs[name].unit)
        for name, value in found.items()
        if name in problem.outputs
    }


class ProblemCalculator(StatefulCalculator):
    """ASE calculator with energy, forces and stress of problems, in eV and angstrom.

    Args:
      make: Function from a structure to its problem.
      energy: Name of the energy among its outputs.
    """

    implemented_properties: Sequence[str] = ("energy", "forces", "stress")

    def __init__(self, make: Callable[[ase.Atoms], Problem], energy: str = "energy"):
        super().__init__()
        self._make, self._energy = make, energy

    def fits(self, atoms: ase.Atoms) -> bool:
        """Whether a structure has an energy in a known unit; forces may be missing."""
        self.implemented_properties = list(self._results(atoms))
        return "energy" in self.implemented_properties

    def _results_of(self, properties: Sequence[str]) -> dict[str, Any]:
        """All results, whichever are requested."""
        return self._results(self.atoms)

    def _results(self, atoms: ase.Atoms) -> dict[str, Any]:
        """Results with a known unit; an empty one is that of the energy, or eV."""
        outputs = evaluated(self._make(atoms))
        if self._energy not in outputs:
            return {}
        outputs["energy"] = outputs[self._energy]
        energy = outputs["energy"][1] or "eV"
        found: dict[str, Any] = {}
        for name, (own, into, shape) in {
            "energy": (energy, "eV", ()),
            "forces": (derivative_unit("forces", energy), "eV/angstrom", (-1, 3)),
            "stress": (derivative_unit("stress", energy), "eV/angstrom^3", (3, 3)),
        }.items():
            if name not in outputs or not measures(outputs[name][1] or own, into):
                continue
            values = np.asarray(outputs[name][0], float)
            values = values.sum() if name == "energy" else values
            factor = conversion(outputs[name][1] or own, into)
            found[name] = factor * values.reshape(shape)
        return found
