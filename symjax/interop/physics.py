"""Checks other physical laws for any ASE calculator, with few evaluations.

Energies do not change when a structure is translated, when like atoms are exchanged, or
when a crystal is described by another cell. Forces are minus the gradient of the
energy, so that their Jacobian is symmetric. Models that break rotational symmetry often
break these laws too, and a head that predicts forces directly breaks the last two.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import ase
import numpy as np
from ase.build import make_supercell

from symjax.data.cells import stress_volume
from symjax.data.structures import check_structure
from symjax.errors import ModelError
from symjax.interop.calculators import has_result, made_calculator, result_of
from symjax.metrics.verdicts import PhysicalCheck
from symjax.so3._arguments import check_integer

# Lengths in angstrom of the translations, and of the steps of central differences.
_NEAR, _FAR = 0.1, 100.0
_STEP = 0.02
_ROUND_OFF_STEP = 1e-6


def physical_checks(
    calculator: Any, atoms: ase.Atoms, *, directions: int = 4, seed: int = 0
) -> tuple[PhysicalCheck, ...]:
    """Checks translation, permutation, cells and conservation of an ASE calculator.

    - *moved* by 0.1 and by 100 angstrom: energy and forces stay;
    - *like atoms exchanged*: the energy stays, forces follow their atoms;
    - *another cell*, where the structure is periodic: the same lattice by other
      vectors, atoms moved by vectors of the lattice, twice the cell along one vector;
    - *forces are the gradient*: along random directions d, (E(x + h d) - E(x - h d)) /
      2h = -F . d, with the error from steps h and 2h and from the round-off of E;
    - *Jacobian of the forces is symmetric*: a . (J b) = b . (J a) for random a, b.

    Args:
      calculator: The calculator, or a function without arguments that makes one; it
        is not attached to ``atoms``.
      atoms: The structure.
      directions: Number of random directions of the last two.
      seed: Seed of moves, permutations and directions.

    Returns:
      The checks. Those that need forces are left out where there are none.

    Raises:
      ArgumentError: ``directions`` is not a positive integer.
      ModelError: The calculator is none, or has no energy for this structure.
      StructureError: The structure cannot be used.

    Example:
      >>> import ase.build
      >>> from ase.calculators.emt import EMT
      >>> from symjax.interop.physics import physical_checks
      >>> copper = ase.build.bulk("Cu", cubic=True)
      >>> copper.rattle(0.05, seed=0)
      >>> [check.law for check in physical_checks(EMT(), copper) if not check.holds]
      []
    """
    check_integer("directions", directions, 1)
    check_structure(atoms)
    free = atoms.copy()
    free.set_constraint()
    rng = np.random.default_rng(seed)
    evaluate = _Evaluation(made_calculator(calculator))
    # Once for all laws, as evaluations may be expensive.
    given = _Given(free, evaluate(free), *_noise(evaluate, free, rng))
    return (
        *_moves(evaluate, given, rng),
        *_exchanges(evaluate, given),
        *_cells(evaluate, given, rng),
        *_conservation(evaluate, given, rng, directions),
    )


class _Values(NamedTuple):
    """Energy in eV, forces in eV/angstrom and stress; None if not available."""

    energy: float
    forces: Any
    stress: Any


class _Given(NamedTuple):
    """The given structure, its values, their round-off and slopes."""

    atoms: ase.Atoms
    values: _Values
    noise: _Values
    slopes: _Values

    def rounded(self, length: float) -> _Values:
        """Round-off after a translation by a length.

        Coordinates are rounded to eps times the length, which changes a quantity by
        that times its slope.
        """
        lost = np.finfo(float).eps * length
        pairs = zip(self.noise, self.slopes, strict=True)
        return _Values(*(noise + lost * slope for noise, slope in pairs))


class _Evaluation:
    """Evaluates copies of structures, resetting the calculator before each."""

    def __init__(self, calculator: Any):
        self.calculator = calculator
        known = calculator.implemented_properties
        if "energy" not in known:
            raise ModelError(
                "calculator",
                type(calculator).__name__,
                "calculates no energy",
                "Use one that does",
            )
        self.has_forces = "forces" in known
        self._has_stress = "stress" in known

    def __call__(self, atoms: ase.Atoms) -> _Values:
        copy = atoms.copy()
        energy = self.result("energy", copy)
        forces = result_of(self.calculator, copy, "forces") if self.has_forces else None
        stress = None
        crystal = self._has_stress and stress_volume(atoms) > 0
        # Some calculators have no stress for slabs and wires.
        if crystal and has_result(self.calculator, copy, "stress"):
            stress = result_of(self.calculator, copy, "stress")
        return _Values(float(energy), forces, stress)

    def result(self, name: str, atoms: ase.Atoms) -> np.ndarray:
        """A result of a structure, calculated anew."""
        self.calculator.reset()
        return result_of(self.calculator, atoms, name)


def _moved(atoms: ase.Atoms, by: Any) -> ase.Atoms:
    copy = atoms.copy()
    copy.positions = copy.positions + by
    return copy


def _rms(values: Any) -> float:
    return float(np.sqrt(np.mean(np.square(np.asarray(values, float)))))


def _noise(
    evaluate: _Evaluation, atoms: ase.Atoms, rng: np.random.Generator
) -> tuple[_Values, _Values]:
    """Round-off: second differences over steps far too small for the function.

    Also returns the slopes per angstrom of all coordinates, which determine the effect
    of rounded positions.
    """
    step = _ROUND_OFF_STEP * rng.standard_normal((len(atoms), 3))
    low, middle, high = (
        evaluate(_moved(atoms, sign * step)) for sign in (-1.0, 0.0, 1.0)
    )

    def bend(of: Callable[[_Values], Any]) -> float:
        values = [of(point) for point in (low, middle, high)]
        if values[0] is None:
            return 0.0
        eps = np.finfo(float).eps * float(np.abs(values[1]).max(initial=0.0))
        return max(_rms(values[0] - 2 * values[1] + values[2]), 4 * eps)

    def slope(of: Callable[[_Values], Any]) -> float:
        ends = [of(point) for point in (low, high)]
        return 0.0 if ends[0] is None else _rms(ends[1] - ends[0]) / (2 * _rms(step))

    parts: tuple[Callable[[_Values], Any], ...] = (
        lambda values: np.array([values.energy]),
        lambda values: values.forces,
        lambda values: values.stress,
    )
    slopes = _Values(*map(slope, parts))
    if middle.forces is not None:
        # The gradient of the energy is known; a random direction may be flat.
        steepest = max(slopes.energy, float(np.linalg.norm(middle.forces)))
        slopes = slopes._replace(energy=steepest)
    return _Values(*map(bend, parts)), slopes


def _compare(
    law: str, before: _Values, after: _Values, noise: _Values
) -> Iterator[PhysicalCheck]:
    yield PhysicalCheck(
        *(law, "energy", abs(after.energy - before.energy), noise.energy),
        *(float("nan"), "eV"),
    )
    for name, unit in (("forces", "eV/angstrom"), ("stress", "eV/angstrom^3")):
        one, other = getattr(before, name), getattr(after, name)
        if one is not None and other is not None:
            error = getattr(noise, name)
            yield PhysicalCheck(law, name, _rms(other - one), error, _rms(one), unit)


def _moves(
    evaluate: _Evaluation, given: _Given, rng: np.random.Generator
) -> Iterator[PhysicalCheck]:
    atoms, before = given.atoms, given.values
    for length in (_NEAR, _FAR):
        direction = rng.standard_normal(3)
        by = length * direction / np.linalg.norm(direction)
        after = evaluate(_moved(atoms, by))
        noise = given.rounded(length)
        yield from _compare(f"moved by {length:g} angstrom", before, after, noise)


def _exchanges(evaluate: _Evaluation, given: _Given) -> Iterator[PhysicalCheck]:
    atoms, before, noise, _ = given
    order = np.arange(len(atoms))
    for number in np.unique(atoms.numbers):
        alike = np.flatnonzero(atoms.numbers == number)
        order[alike] = np.roll(alike, 1)
    if (order == np.arange(len(atoms))).all():
        return
    after = evaluate(atoms[order])
    back = np.argsort(order)
    if after.forces is not None:
        after = after._replace(forces=after.forces[back])
    yield from _compare("like atoms exchanged", before, after, noise)


def _cells(
    evaluate: _Evaluation, given: _Given, rng: np.random.Generator
) -> Iterator[PhysicalCheck]:
    atoms, before, noise, _ = given
    periodic = np.flatnonzero(atoms.pbc)
    if not len(periodic):
        return
    outside = atoms.copy()
    shifts = np.zeros((len(atoms), 3))
    shifts[:, periodic] = rng.integers(-1, 2, (len(atoms), len(periodic)))
    outside.positions = outside.positions + shifts @ atoms.cell[:]
    farthest = float(np.linalg.norm(atoms.cell[:], axis=1).max())
    away = given.rounded(farthest)
    yield from _compare("atoms outside the cell", before, evaluate(outside), away)
    if len(periodic) > 1:
        first, second = periodic[:2]
        other = atoms.copy()
        cell = other.cell[:].copy()
        cell[second] += cell[first]
        other.set_cell(cell)
        yield from _compare("another cell", before, evaluate(other), noise)
    doubled = np.diag([2 if axis == periodic[0] else 1 for axis in range(3)])
    # The atoms of the second copy follow those of the first.
    twice = evaluate(make_supercell(atoms, doubled, order="cell-major"))
    half = twice._replace(energy=twice.energy / 2)
    if twice.forces is not None:
        half = half._replace(forces=twice.forces[: len(atoms)])
    yield from _compare("twice the cell", before, half, noise)


def _conservation(
    evaluate: _Evaluation, given: _Given, rng: np.random.Generator, directions: int
) -> Iterator[PhysicalCheck]:
    atoms, before, noise, _ = given
    forces = before.forces
    if forces is None:
        return
    size = (len(atoms), 3)
    along = [rng.standard_normal(size) for _ in range(directions)]
    along = [direction / np.linalg.norm(direction) for direction in along]

    def slopes(name: str, direction: Any) -> tuple[Any, Any]:
        """Derivative from steps h and 2h without its leading error, and that error."""

        def at(step: float) -> np.ndarray:
            return evaluate.result(name, _moved(atoms, step * direction))

        near, far = ((at(h) - at(-h)) / (2 * h) for h in (_STEP, 2 * _STEP))
        return near + (near - far) / 3, (near - far) / 3

    energies = [slopes("energy", direction) for direction in along]
    expected = [float(np.sum(forces * direction)) for direction in along]
    yield PhysicalCheck(
        "forces = -dE/dx",
        "energy",
        _rms(np.add([slope for slope, _ in energies], expected)),
        _rms([change for _, change in energies]) / 4 + noise.energy / _STEP,
        _rms(expected),
        "eV/angstrom",
    )
    jacobian = [slopes("forces", direction) for direction in along]
    pairs = [(a, b) for a in range(directions) for b in range(a)]
    if not pairs:
        return
    # Of the derivatives and of their errors: a . (J b), for all a and b.
    products = np.einsum("aix,bkix->kab", along, jacobian)
    differences, changes = ([m[a, b] - m[b, a] for a, b in pairs] for m in products)
    yield PhysicalCheck(
        "symmetric Jacobian",
        "forces",
        _rms(differences),
        _rms(changes) + noise.forces / _STEP,
        _rms([products[0][a, b] for a, b in pairs]),
        "eV/angstrom^2",
    )
