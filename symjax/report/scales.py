"""What an equivariance error is compared with, so that the ratio means something.

The root mean square of a response says how large it is only where its zero has a
meaning: that of a force or a dipole, not that of an energy, whose zero lies where a
baseline left it. What is reported beside A is

- for tensors and pseudotensors A / RMS, the relative equivariance error;
- for invariants A over their spread, the standard deviation over structures and
  samples, which no shift changes; of energies per atom;
- for an energy of one structure, which has no spread, A / kT at 300 K, which says how
  much the Boltzmann factor depends on the orientation;
- nothing if the symmetry of the structures forbids the response, if it is zero, or if
  the error is round-off.
"""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import ase
import ase.units
import numpy as np
from ase.data import chemical_symbols
from jaxtyping import Float, Int

from symjax.data.symmetry import Symmetry, find_symmetry
from symjax.data.units import conversion, measures
from symjax.metrics import LeafMeasurement, Output, Totals
from symjax.so3.finite_groups import rotation_character
from symjax.so3.irreps import Irrep

TEMPERATURE = 300.0
"""Temperature in K of the kT that energies are compared with."""

# Relative errors of an exactly equivariant network in its own precision are a few
# machine epsilon: the noise of `docs/diagnose.md` is 3 to 5 of them in float32.
_ROUND_OFF = 8.0
# Looking for the symmetry of larger structures would take longer than it tells.
_MOST_ATOMS = 500


# Relative noise of a response, in epsilon; the remainder is a difference from 1 of
# sums in the precision of the model; and the error of Wigner-D matrices.
_NOISE, _DIFFERENCE, _WIGNER = 5.0, 4.0, 1e-12


def content_floor(degree: int, num_elements: int, epsilon: float) -> float:
    """Content that round-off alone can put into a sector (see ``docs/diagnose.md``).

    eps^2 for the rounding of sums, and (5 eps)^2 (2 l + 1)^2 / N for the noise of
    responses at N elements of O(3), with the error of the matrices D^l squared.
    """
    noise = (_NOISE * (2 * degree + 1)) ** 2 / max(num_elements, 1)
    return epsilon**2 * (1 + noise) + _WIGNER**2


def remainder_floor(epsilon: float) -> float:
    """Round-off of a difference from 1, such as 1 - B: 4 epsilon."""
    return _DIFFERENCE * epsilon


class Spread(NamedTuple):
    """Additive sums behind the standard deviation of an invariant output.

    Values are means over the orbit; those of energies are per atom.

    Attributes:
      count: Number of samples.
      first: Sum over samples for each channel, shape ``(channels,)``.
      second: Sum of squares over samples and channels.
      variance: Sum of V over samples and channels, per atom squared for energies.

    Example:
      >>> import numpy as np
      >>> from symjax.report.scales import Spread
      >>> Spread(2.0, np.array([4.0]), 10.0, 0.5).deviation  # of 1 and 3
      1.4142135623730951
    """

    # Hides tuple.count, which nobody calls on sums.
    count: float  # type: ignore[assignment]
    first: Float[np.ndarray, "channels"]
    second: float
    variance: float

    @property
    def deviation(self) -> float:
        """Standard deviation over samples (divisor n - 1), 0 for one sample."""
        if self.count < 2:
            return 0.0
        left = self.second - float(np.square(self.first).sum()) / self.count
        return math.sqrt(max(left, 0.0) / (self.count - 1) / len(self.first))

    @property
    def equivariance_error(self) -> float:
        """A of the same values: per atom for energies."""
        size = self.count * len(self.first)
        return math.sqrt(max(self.variance, 0.0) / size) if size else 0.0


def add_spreads(parts: Iterable[Spread | None]) -> Spread | None:
    """Adds the sums of several structures; None if any is None."""
    known = list(parts)
    found = [part for part in known if part is not None]
    if len(found) < len(known) or not found:
        return None
    return Spread(
        sum(part.count for part in found),
        np.sum([part.first for part in found], axis=0),
        sum(part.second for part in found),
        sum(part.variance for part in found),
    )


def energy_unit(unit: str) -> float | None:
    """An energy unit in eV; None for a unit of another quantity."""
    return conversion(unit, "eV") if measures(unit, "eV") else None


def is_invariant(irreps: Sequence[str]) -> bool:
    """Whether an output holds only invariants."""
    return all(label == "0+" for label in irreps)


def spread_of(leaf: LeafMeasurement, unit: str, num_atoms: int) -> Spread | None:
    """Sums behind the spread of an output of one structure; None if not invariant."""
    if not is_invariant([str(irrep) for irrep in leaf.representation.irreps]):
        return None
    values = np.asarray(leaf.mean, np.float64).reshape(leaf.mask.size, -1)
    values = values[leaf.mask.reshape(-1)]
    variance = float(leaf.variance[leaf.mask].sum())
    if len(values) == 1 and energy_unit(unit) is not None and num_atoms:
        values, variance = values / num_atoms, variance / num_atoms**2
    return Spread(
        float(len(values)),
        values.sum(axis=0),
        float(np.square(values).sum()),
        variance,
    )


def allowed_components(
    irreps: Sequence[str], symmetry: Symmetry, select: np.ndarray | None
) -> float:
    """Number of independent components that the symmetry of a structure allows.

    The dimension of the space of outputs that are invariant under the stabiliser H,
    1 / |H| sum_h chi(h) fix(h), where chi is the character of the representation and
    fix the number of samples that h maps to themselves.

    Args:
      irreps: Labels of the irreps of the output.
      symmetry: Symmetry of the structure.
      select: Which atoms are samples, boolean; None for one sample per structure.

    Returns:
      The dimension, an integer up to round-off.
    """
    elements = np.asarray(symmetry.elements, np.float64)
    sign = np.sign(np.linalg.det(elements))
    rotations = sign[:, None, None] * elements
    characters = np.zeros(len(elements))
    for irrep in map(Irrep.parse, irreps):
        own = rotation_character(rotations, irrep.degree)
        characters += np.where(sign > 0, 1, irrep.parity) * own
    fixed = np.ones(len(elements))
    if select is not None:
        stays = symmetry.permutations == np.arange(symmetry.permutations.shape[1])
        fixed = stays[:, select].sum(axis=1)
    return abs(float(characters @ fixed)) / len(elements)


def usable_symmetry(atoms: ase.Atoms) -> Symmetry | None:
    """The symmetry of a structure; None if it has none, or more than 500 atoms."""
    if len(atoms) > _MOST_ATOMS:
        return None
    symmetry = find_symmetry(atoms)
    return symmetry if symmetry.order > 1 else None


def forbidden_samples(
    leaf: LeafMeasurement,
    output: Output,
    symmetry: Symmetry,
    numbers: Int[np.ndarray, "atoms"],
) -> tuple[str, ...]:
    """Species for whose samples the symmetry of a structure requires a zero output.

    Args:
      leaf: Measurement of the output.
      output: Its description.
      symmetry: Symmetry of the structure.
      numbers: Its atomic numbers.

    Returns:
      Symbols of these elements, such as ``"C"`` for the forces of methane, and ``""``
      if the whole output must be zero. Empty for features.
    """
    if output.kind != "output":
        return ()
    irreps = [str(irrep) for irrep in leaf.representation.irreps]
    chosen: dict[str, np.ndarray | None] = {"": None}
    if output.samples is not None:
        chosen = {"": np.ones(len(numbers), bool)}
        chosen |= {chemical_symbols[n]: numbers == n for n in np.unique(numbers)}
    return tuple(
        label
        for label, select in chosen.items()
        if allowed_components(irreps, symmetry, select) < 0.5
    )


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What the equivariance error of an output is compared with.

    Attributes:
      scale: Name of the scale: ``"RMS"``, ``"spread"``, ``"kT"``; or why there is none:
        ``"forbidden by symmetry"``, ``"round-off"``, ``"zero"``, ``"one value"``.
      size: The scale in the unit of the output (per atom if ``per_atom``); None if
        there is none.
      error: The equivariance error that is compared with it.
      per_atom: Whether both are per atom.
    """

    scale: str
    size: float | None
    error: float
    per_atom: bool = False

    @property
    def ratio(self) -> float | None:
        """Error over scale; None if there is no scale."""
        return None if self.size is None else self.error / self.size


def compare(
    totals: Totals,
    *,
    unit: str = "",
    spread: Spread | None = None,
    forbidden: bool = False,
    epsilon: float = 2.0**-23,
) -> Comparison:
    """Chooses what the equivariance error of an output is compared with.

    Args:
      totals: Its sums.
      unit: Its unit.
      spread: Sums of its spread; None if it is not invariant, and for features.
      forbidden: Whether the symmetry of all structures requires it to be zero.
      epsilon: Machine epsilon of the output; that of float32 by default.
    """
    error, size = totals.equivariance_error, totals.root_mean_square
    if not size > 0:
        return Comparison("zero", None, error)
    if forbidden:
        return Comparison("forbidden by symmetry", None, error)
    if totals.relative_error <= _ROUND_OFF * epsilon:
        return Comparison("round-off", None, error)
    if spread is None:
        return Comparison("RMS", size, error)
    in_ev = energy_unit(unit)
    per_atom = in_ev is not None
    values = math.sqrt(spread.second / spread.count / len(spread.first))
    if spread.deviation > _ROUND_OFF * epsilon * values:
        own = spread.equivariance_error
        return Comparison("spread", spread.deviation, own, per_atom)
    if in_ev is not None:
        return Comparison("kT", ase.units.kB * TEMPERATURE / in_ev, error)
    return Comparison("one value", None, error)
