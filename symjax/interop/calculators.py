"""Problems from ASE calculators: structures are rotated and results measured."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import ase
import numpy as np
from ase.calculators.calculator import (
    Calculator,
    CalculatorError,
    PropertyNotImplementedError,
)
from ase.stress import voigt_6_to_full_3x3_stress
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from symjax._signals import interruptions
from symjax.data.cells import NO_STRESS, stress_volume
from symjax.data.structures import check_structure
from symjax.errors import ArgumentError, ModelError
from symjax.metrics import HostFunction, Output, Problem
from symjax.so3.representations import (
    MATRIX,
    PSEUDOVECTOR,
    SCALAR,
    VECTOR,
    Representation,
)


class _Property(NamedTuple):
    """A property of ASE, in ASE's units."""

    representation: Representation
    unit: str
    per_atom: bool = False


# Magnetic moments with one component are collinear: numbers along an axis that does
# not rotate. With three they are pseudovectors.
PROPERTIES: Mapping[str, _Property] = {
    "energy": _Property(SCALAR, "eV"),
    "free_energy": _Property(SCALAR, "eV"),
    "energies": _Property(SCALAR, "eV", per_atom=True),
    "forces": _Property(VECTOR, "eV/angstrom", per_atom=True),
    "stress": _Property(MATRIX, "eV/angstrom^3"),
    "dipole": _Property(VECTOR, "e*angstrom"),
    "charges": _Property(SCALAR, "e", per_atom=True),
    "magmom": _Property(SCALAR, "mu_B"),
    "magmoms": _Property(SCALAR, "mu_B", per_atom=True),
}
# Default outputs: the free energy repeats the energy, and magnetic moments of closed
# shells are zeros.
_DEFAULT = ("energy", "energies", "forces", "stress", "dipole", "charges")
# Arrays of atoms that rotate with the structure.
ROTATING = {"momenta": VECTOR, "initial_magmoms": PSEUDOVECTOR}
# Second orientation for recognizing float32, along no axis or plane of a lattice.
_GENERIC = Rotation.from_rotvec([0.7, 0.4, -1.1]).as_matrix()


def calculator_problem(
    calculator: Calculator | Callable[[], Calculator],
    atoms: ase.Atoms,
    *,
    outputs: Sequence[str] | None = None,
) -> Problem:
    """Prepares an ASE calculator and a structure for :func:`symjax.metrics.measure`.

    Positions and cell rotate together, with momenta and non-collinear magnetic moments
    if present; periodicity belongs to the cell vectors and rotates with them. Every
    call evaluates a new copy of the structure and resets the calculator first, so that
    no result of another orientation is reused.

    ASE's results are float64 whatever the precision of the calculator. A result whose
    entries are all exact in float32, in the given orientation and in another one, is
    taken to be computed in float32 and returned as such, so that its round-off counts
    as noise. An energy that adds a baseline in float64 to a network in float32 is not
    recognized.

    Args:
      calculator: The calculator, or a function without arguments that makes one. It
        is not attached to ``atoms``.
      atoms: The structure, with everything that the calculator reads.
      outputs: Names of ASE's properties to measure. By default the energy, atomic
        energies, forces, dipole and charges that the calculator has for this structure,
        and the stress if the structure has one
        (:func:`symjax.data.cells.stress_volume`).

    Returns:
      The problem. Its outputs are in ASE's units: eV, eV/angstrom, eV/angstrom^3 (the
      whole matrix, not Voigt's six numbers), e angstrom, elementary charges, Bohr
      magnetons.

    Raises:
      ArgumentError: ``outputs`` has a name that cannot be measured.
      ModelError: ``calculator`` is not a calculator, or cannot calculate an output.
      StructureError: The structure fails the checks of
        :func:`symjax.data.check_structure`.

    Example:
      >>> import ase.build
      >>> from ase.calculators.emt import EMT
      >>> from symjax.interop import calculator_problem
      >>> from symjax.metrics import Grid, measure
      >>> problem = calculator_problem(EMT(), ase.build.molecule("CO"))
      >>> result = measure(problem, over=Grid(3), max_degree=1)
      >>> result["forces"].relative_error < 1e-9
      True
    """
    check_structure(atoms)
    made = made_calculator(calculator)
    structure = atoms.copy()
    structure.set_constraint()
    x, action = rotating_arrays(structure)
    first = _chosen(made, structure, outputs)
    single = [name for name, value in first.items() if in_single_precision(value)]
    if single:
        made.reset()
        rotated = with_arrays(structure, rotated_arrays(x, action, _GENERIC))
        single = [
            name
            for name in single
            if in_single_precision(result_of(made, rotated, name))
        ]

    def function(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        made.reset()
        copy = with_arrays(structure, arrays)
        results = {name: result_of(made, copy, name) for name in first}
        singles = {name: _as_single(made, name, results[name]) for name in single}
        return results | singles

    return Problem(
        HostFunction(function),
        x,
        {
            name: Output(
                _representation(name, value.shape),
                PROPERTIES[name].unit,
                samples=atoms.numbers if PROPERTIES[name].per_atom else None,
            )
            for name, value in first.items()
        },
        action=action,
    )


def _representation(name: str, shape: tuple[int, ...]) -> Representation:
    known = PROPERTIES[name]
    if name in ("magmom", "magmoms") and len(shape) > known.per_atom:
        return PSEUDOVECTOR
    return known.representation


def rotating_arrays(
    atoms: ase.Atoms,
) -> tuple[dict[str, np.ndarray], dict[str, Representation]]:
    """Arrays of a structure that rotate, in float64, and their representations."""
    kinds = {"positions": VECTOR, "cell": VECTOR}
    arrays = {"positions": atoms.positions, "cell": atoms.cell[:]}
    for name, kind in ROTATING.items():
        if atoms.has(name) and atoms.arrays[name].shape == (len(atoms), 3):
            arrays[name], kinds[name] = atoms.arrays[name], kind
    return {name: array.astype(float) for name, array in arrays.items()}, kinds


def rotated_arrays(
    arrays: Mapping[str, np.ndarray],
    kinds: Mapping[str, Representation],
    element: Float[np.ndarray, "3 3"],
) -> dict[str, np.ndarray]:
    """The arrays, rotated by an element of O(3)."""
    sign = {PSEUDOVECTOR: np.linalg.det(element)}
    return {
        name: sign.get(kinds[name], 1.0) * array @ element.T
        for name, array in arrays.items()
    }


def with_arrays(atoms: ase.Atoms, arrays: Mapping[str, np.ndarray]) -> ase.Atoms:
    """A copy without constraints, with other positions, cell and :data:`ROTATING`."""
    copy = atoms.copy()
    copy.set_constraint()
    copy.set_cell(arrays["cell"])
    for name, values in arrays.items():
        if name != "cell":
            copy.arrays[name][...] = values
    return copy


def in_single_precision(values: np.ndarray) -> bool:
    """Whether numbers were computed in float32: all entries are exact in float32.

    A float64 number is exact by chance once in 2^29. Entries of at most 12 significant
    bits, such as whole charges and zeros, are no evidence.
    """
    with np.errstate(over="ignore"):
        exact = values.astype(np.float32) == values
    bits = 2.0**12 * np.frexp(values)[0]
    return bool(exact.all() and (bits != np.round(bits)).any())


def _as_single(calculator: Any, name: str, values: np.ndarray) -> np.ndarray:
    single = values.astype(np.float32)
    # NaN is refused by the measurement.
    if not np.array_equal(single, values, equal_nan=True):
        raise ModelError(
            "calculator",
            type(calculator).__name__,
            f"returned {name} in float32 at first, and in float64 in another "
            "orientation",
            "Let it compute in one precision",
        )
    return single


def made_calculator(calculator: Any) -> Any:
    """Returns a calculator, given as such or as a function that makes one."""
    made = calculator
    if callable(calculator) and (
        isinstance(calculator, type) or not hasattr(calculator, "get_property")
    ):
        made = calculator()
    if not (hasattr(made, "get_property") and hasattr(made, "reset")):
        raise ModelError(
            "calculator",
            type(calculator).__name__,
            "is not an ASE calculator",
            "Pass an object such as ase.calculators.emt.EMT(), or a function that "
            "makes one",
        )
    return made


def _chosen(
    calculator: Any,
    atoms: ase.Atoms,
    outputs: Sequence[str] | None,
) -> dict[str, np.ndarray]:
    """Outputs of the given orientation, from one calculation."""
    calculator.reset()
    atoms = atoms.copy()
    known = [name for name in PROPERTIES if name in calculator.implemented_properties]
    if outputs is None:
        has_stress = stress_volume(atoms) > 0
        wanted = [
            name
            for name in _DEFAULT
            if name in known and (name != "stress" or has_stress)
        ]
        names = tuple(name for name in wanted if has_result(calculator, atoms, name))
    else:
        names = tuple(outputs)
        for name in names:
            if name not in known:
                raise ArgumentError(
                    "outputs",
                    name,
                    "is not a property that this calculator has and symjax can measure",
                    f"Use {', '.join(known)}",
                )
            if name == "stress" and not stress_volume(atoms):
                raise ArgumentError("outputs", name, *NO_STRESS)
    if not names:
        raise ModelError(
            "calculator",
            type(calculator).__name__,
            "has none of the results that can be measured",
            f"It should implement one of {', '.join(PROPERTIES)}",
        )
    return {name: result_of(calculator, atoms, name) for name in names}


def has_result(calculator: Any, atoms: ase.Atoms, name: str) -> bool:
    """Whether a calculator has a property for this structure."""
    try:
        with interruptions():
            return calculator.get_property(name, atoms) is not None
    except PropertyNotImplementedError:
        return False
    except (CalculatorError, OSError, RuntimeError, ValueError) as error:
        if name == "stress" and not np.all(atoms.pbc):
            # Some calculators raise other errors for slabs and wires.
            return False
        # EMT raises NotImplementedError, a RuntimeError, for unknown elements.
        raise _failed(calculator, name, error) from error


def result_of(calculator: Any, atoms: ase.Atoms, name: str) -> np.ndarray:
    """One of :data:`PROPERTIES` in float64; stress as a 3 x 3 matrix."""
    try:
        with interruptions():
            value = calculator.get_property(name, atoms)
        if value is None:
            raise PropertyNotImplementedError(name)
    except PropertyNotImplementedError as error:
        raise ModelError(
            "outputs",
            name,
            f"{type(calculator).__name__} does not calculate it for this structure",
            "Leave it out",
        ) from error
    except (CalculatorError, OSError, RuntimeError, ValueError) as error:
        raise _failed(calculator, name, error) from error
    if name == "stress" and np.shape(value) == (6,):
        value = voigt_6_to_full_3x3_stress(value)
    # A copy: some calculators return an array that they overwrite later.
    return np.array(value, float)


def _failed(calculator: Any, name: str, error: Exception) -> ModelError:
    return ModelError(
        "calculator",
        type(calculator).__name__,
        f"could not calculate {name}: {error}",
        "Try atoms.calc = calculator; atoms.get_potential_energy() on this structure",
    )
