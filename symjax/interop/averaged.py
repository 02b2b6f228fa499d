"""Averages of any ASE calculator over rotations, or a random rotation per call."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import ase
import numpy as np
from ase.calculators.calculator import Calculator, PropertyNotImplementedError
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from symjax.data.symmetry import find_symmetry
from symjax.interop._averages import (
    SPREAD,
    Values,
    collected,
    fixed_rotations,
    mean_and_spread,
    symmetry_of_all,
)
from symjax.interop._stateful import StatefulCalculator
from symjax.interop.calculators import (
    PROPERTIES,
    ROTATING,
    in_single_precision,
    made_calculator,
    result_of,
    rotated_arrays,
    rotating_arrays,
    with_arrays,
)
from symjax.so3._arguments import check_integer
from symjax.so3.finite_groups import FiniteGroup
from symjax.so3.quadratures import Quadrature

RANDOM = "random"


class AveragedCalculator(StatefulCalculator):
    """Any ASE calculator, averaged over rotations of the structure.

    Every result is the mean of z(g) = rho(g)^-1 f(g x) over elements g of O(3): the
    result for the rotated structure, rotated back. Over all of O(3) the mean is exactly
    equivariant; over a finite group it is equivariant under its elements.
    ``results["energy_rotational_std"]`` and so on are the standard deviations
    sqrt(<z^2> - <z>^2) of every entry: how far a single calculation is from being
    equivariant.

    With ``average="random"`` each call is a single calculation at a new Haar-random
    element. The mean of the forces over many steps is equivariant at no extra cost, but
    energies jump from step to step: dynamics needs a thermostat, and a minimiser does
    not converge.

    Positions, cell, momenta and non-collinear magnetic moments are rotated. Averages
    are taken of the requested properties and of those that the calculator computes
    along with them: energies, forces, stress (symmetric part, in Voigt order), dipole,
    charges and magnetic moments, in ASE's units and conventions.

    Args:
      calculator: The calculator, or a function without arguments that makes one.
      average: The average: the degree of a quadrature of SO(3), exact for responses
        that are band-limited to it; a :class:`symjax.so3.Quadrature`; a finite group or
        its Schoenflies symbol, such as ``"Oh"``; ``"random"``; or None, for the
        calculator as it is.
      symmetrize: Whether to average also over the operations that map the structure
        onto itself, with the charges and magnetic moments of its atoms: the point group
        of a molecule, or the rotations of a crystal's space group, found by spglib.
        They permute atoms and need no further calculations.
      include_inversion: Whether a quadrature of SO(3) is extended to O(3), and half of
        the random elements are improper. Groups are averaged over as they are.
      seed: Seed of the random elements.
      tolerance: Largest distance in angstrom between an atom and its image, for
        ``symmetrize``.

    Raises:
      ModelError: ``calculator`` is not a calculator.
      ArgumentError: ``average``, ``seed`` or ``tolerance`` is invalid.
      GridError: There is no such quadrature.

    Source: averages over rotations at inference, arXiv:2603.24638, Sec. II.

    Example:
      >>> import ase.build
      >>> from ase.calculators.emt import EMT
      >>> from symjax.interop import AveragedCalculator
      >>> atoms = ase.build.molecule("CO")
      >>> atoms.calc = AveragedCalculator(EMT(), average="O")
      >>> atoms.get_forces().shape
      (2, 3)
      >>> bool(atoms.calc.results["forces_rotational_std"].max() < 1e-12)
      True
    """

    def __init__(
        self,
        calculator: Calculator | Callable[[], Calculator],
        *,
        average: int | str | Quadrature | FiniteGroup | None,
        symmetrize: bool = False,
        include_inversion: bool = True,
        seed: int = 0,
        tolerance: float = 1e-5,
    ) -> None:
        super().__init__()
        check_integer("seed", seed, 0)
        self.calculator = made_calculator(calculator)
        self._inversion = bool(include_inversion)
        self.symmetrize, self._tolerance = bool(symmetrize), float(tolerance)
        # Checks the tolerance before anything is computed.
        find_symmetry(ase.Atoms("H"), tolerance)
        self._generator = np.random.default_rng(seed)
        self.random = isinstance(average, str) and average == RANDOM
        self.rotations = fixed_rotations(
            None if self.random else average, self._inversion
        )
        self.implemented_properties = [
            name
            for name in self.calculator.implemented_properties
            if name in PROPERTIES
        ]
        # What ASE writes into trajectories.
        self.parameters.update(
            calculator=type(self.calculator).__name__,
            average=RANDOM if self.random else self.rotations.name,
            symmetrize=self.symmetrize,
        )

    def _results_of(self, properties: Sequence[str]) -> dict[str, Any]:
        """Averages of the requested properties, and of those computed with them."""
        elements, weights = self.rotations.elements, self.rotations.weights
        if self.random:
            elements = self._drawn()
        symmetry = None
        if self.symmetrize:
            symmetry = symmetry_of_all(self.atoms, ROTATING, self._tolerance)
        single: dict[str, bool] = {}

        def responses() -> Iterator[tuple[np.ndarray, np.ndarray, Values]]:
            names: tuple[str, ...] | None = None
            for element, weight in zip(elements, weights, strict=True):
                values = self._at(element, properties, names)
                names = tuple(values)
                for name, value in values.items():
                    single[name] = single.get(name, True) and in_single_precision(value)
                batch = {name: value[None] for name, value in values.items()}
                yield element[None], np.array([weight]), batch

        sums = collected(responses(), symmetry)
        computed_in = np.float32 if any(single.values()) else np.float64
        epsilon = float(np.finfo(computed_in).eps)
        means, spreads = mean_and_spread(sums, self.rotations, epsilon)
        if len(elements) > 1 or symmetry is not None:
            means |= {name + SPREAD: value for name, value in spreads.items()}
        return {
            name: float(value) if value.ndim == 0 else value
            for name, value in means.items()
        }

    def _drawn(self) -> Float[np.ndarray, "1 3 3"]:
        element = Rotation.random(1, random_state=self._generator).as_matrix()
        improper = self._inversion and self._generator.integers(2) == 1
        return -element if improper else element

    def _at(
        self,
        element: Float[np.ndarray, "3 3"],
        properties: Sequence[str],
        names: Sequence[str] | None,
    ) -> dict[str, np.ndarray]:
        """Results of the rotated structure: those named, or all that are computed."""
        arrays, kinds = rotating_arrays(self.atoms)
        copy = with_arrays(self.atoms, rotated_arrays(arrays, kinds, element))
        self.calculator.reset()
        if names is not None:
            return {name: result_of(self.calculator, copy, name) for name in names}
        found = {
            name: result_of(self.calculator, copy, name)
            for name in properties
            if name in PROPERTIES
        }
        for name in self.implemented_properties:
            if name not in found and _is_computed(self.calculator, copy, name):
                found[name] = result_of(self.calculator, copy, name)
        return found


def _is_computed(calculator: Any, atoms: ase.Atoms, name: str) -> bool:
    """Whether a result has been computed already."""
    try:
        found = calculator.get_property(name, atoms, allow_calculation=False)
    except PropertyNotImplementedError:
        return False
    return found is not None
