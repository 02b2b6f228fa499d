"""Spectra of layers with their uncertainty: round-off, aliasing and few structures.

The noise model is derived in ``docs/diagnose.md``. Noise of relative amplitude eta that
is independent between the N elements adds

    B_noise(l, sigma) = eta^2 (2 l + 1)^2 / N

to each sector, distributed as a chi-squared variable with (2 l + 1)^2 degrees of
freedom. eta is the machine epsilon of the model, or a larger white floor if the two
highest degrees show one. Round-off of sums over elements adds at most epsilon^2 to any
sector, and the squared error of the matrices D^l.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy import special

from symjax.errors import ArgumentError
from symjax.metrics import Totals
from symjax.models import fingerprint
from symjax.report.leaves import Leaf
from symjax.report.schema import Report
from symjax.so3.irreps import Irrep

FALSE_ALARM = 0.01
"""Probability that noise alone lifts any sector of a report above its floor."""

# The remainder is a difference from 1 of sums in the type of the model.
_REMAINDER_ROUND_OFF = 4.0
# Bound on the error of Wigner-D matrices; counts in float64 only.
_WIGNER_ERROR = 1e-12
# A sector counts as absent if B plus this many standard errors over structures is small
# enough: a one-sided confidence of 97.7 %.
_STANDARD_ERRORS = 2.0


@dataclasses.dataclass(frozen=True, eq=False)
class Spectrum:
    """Content B of one layer or output, with its uncertainty.

    Arrays have shape ``(degrees, 2)``; the last axis is sigma = +1, -1.

    Attributes:
      name: Name of the layer or output.
      kind: ``"output"``, ``"node"``, ``"edge"``, ``"token"`` or ``"point"``.
      content: B.
      floor: Largest B that noise and aliasing alone may cause.
      uncertainty: Standard error of B.
      upper: B plus two standard errors over structures.
      noise: eta, the relative noise amplitude of a single response.
      relative_error: Relative equivariance error.
      relative_error_uncertainty: Its change between nested grids.
      samples: Mean number of samples (atoms, edges, ...) of a structure.
      channels: Number of channels.
      resolved: Whether the grid resolves it.

    Example:
      >>> import numpy as np
      >>> from symjax.diagnose.spectra import spectrum_of
      >>> from symjax.metrics import Totals
      >>> from symjax.report import Leaf
      >>> from symjax.so3 import Irrep
      >>> power = np.zeros((1, 3, 2)); power[0, 0, 0] = 1.0
      >>> totals = Totals(np.zeros(1), np.ones(1), power, np.ones(1))
      >>> leaf = Leaf("energy", "output", "eV", "scalar", ("0+",), 1, totals, {}, None)
      >>> spectrum = spectrum_of(leaf, [totals], num_elements=100, epsilon=1e-7,
      ...                        degree=5, num_tests=10)
      >>> spectrum.present(Irrep(0, 1)), spectrum.present(Irrep(1, 1))
      (True, False)
    """

    name: str
    kind: str
    content: Float[np.ndarray, "degrees 2"]
    floor: Float[np.ndarray, "degrees 2"]
    uncertainty: Float[np.ndarray, "degrees 2"]
    upper: Float[np.ndarray, "degrees 2"]
    noise: float
    relative_error: float
    relative_error_uncertainty: float
    samples: float
    channels: int
    resolved: bool

    def of(self, irrep: Irrep) -> float:
        """B of one sector."""
        return float(self.content[_index(irrep)])

    def uncertainty_of(self, irrep: Irrep) -> float:
        """Standard error of B of one sector."""
        return float(self.uncertainty[_index(irrep)])

    def upper_of(self, irrep: Irrep) -> float:
        """B of one sector plus two standard errors over structures."""
        return float(self.upper[_index(irrep)])

    def floor_of(self, irrep: Irrep) -> float:
        """Largest B of one sector that noise and aliasing alone may cause."""
        return float(self.floor[_index(irrep)])

    def present(self, irrep: Irrep) -> bool:
        """Whether B of the sector is above its floor."""
        return self.of(irrep) > self.floor_of(irrep)

    def starved(self, irrep: Irrep) -> bool:
        """Whether B plus two standard errors is at most eta or the floor of the sector.

        A readout of the sector then loses at least half of its digits.
        """
        return self.upper_of(irrep) <= max(self.noise, self.floor_of(irrep))

    def readout_error(self, irrep: Irrep) -> float:
        """Relative error of a readout of the sector, eta / sqrt(B), at most 1."""
        return min(1.0, self.noise / max(self.of(irrep), 1e-300) ** 0.5)


def _index(irrep: Irrep) -> tuple[int, int]:
    return irrep.degree, 0 if irrep.sigma == 1 else 1


def check_model(report: Report, model: Any) -> None:
    """Checks that a model is that of a report.

    Raises:
      ArgumentError: Its parameters are others.
    """
    if fingerprint(model) != report.model.digest:
        raise ArgumentError(
            "model",
            getattr(model, "name", model),
            "is not the model of the report, which has other parameters",
            "Pass the folder of that model",
        )


def spectra(report: Report) -> dict[str, Spectrum]:
    """Spectra of all layers and outputs of a report, over all its structures."""
    parts: dict[str, list[Totals]] = {}
    for structure in report.measured:
        for leaf in structure.leaves:
            parts.setdefault(leaf.name, []).append(leaf.totals)
    settings = report.settings
    # The structure with the fewest elements has the largest noise.
    num = min(
        (s.num_elements or settings.num_elements for s in report.measured), default=1
    )
    return {
        name: spectrum_of(
            leaf,
            parts[name],
            num_elements=num,
            epsilon=leaf.round_off(settings.dtype),
            degree=(leaf.certificate.degree if leaf.certificate else settings.degree),
            num_tests=len(parts) * 2 * (settings.max_degree + 1),
        )
        for name, leaf in report.aggregate().items()
    }


def spectrum_of(
    leaf: Leaf,
    parts: Sequence[Totals],
    *,
    num_elements: int,
    epsilon: float,
    degree: int,
    num_tests: int,
) -> Spectrum:
    """The spectrum of one layer or output over several structures.

    Args:
      leaf: The layer or output, over all structures.
      parts: Its totals in each structure.
      num_elements: Number of elements of O(3) at which it was evaluated.
      epsilon: Machine epsilon of the model.
      degree: Degree of the grid.
      num_tests: Number of sectors that share the rate of false alarms.
    """
    content, remainder = leaf.totals.content, leaf.totals.remainder
    modes = np.square(2 * np.arange(len(content)) + 1.0)[:, None]
    white = _white(content, remainder, modes, num_elements, epsilon)
    # Both parities hold half of the modes each.
    noise = float(np.sqrt((white / modes)[0].sum() * num_elements / 2))
    # Largest of num_tests chi-squared variables, at the accepted rate of false alarms.
    scatter = special.chdtri(modes, FALSE_ALARM / num_tests) / modes
    folded = _folded(content, remainder, white * scatter, degree, epsilon)
    over_structures = _jackknife(parts)
    # |a + n|^2 with a noise n of mean square s per mode, and with folded content f.
    round_off = 2 * np.sqrt(content * white / modes) + white * np.sqrt(2 / modes)
    folding = 2 * np.sqrt(content * folded) + folded
    rounded = epsilon**2 + _WIGNER_ERROR**2
    verdict = leaf.convergence
    error = leaf.totals.relative_error
    components = sum(Irrep.parse(label).dimension for label in leaf.irreps)
    count = float(leaf.totals.count.sum())
    return Spectrum(
        name=leaf.name,
        kind=leaf.kind,
        content=content,
        floor=white * scatter + folded + rounded,
        uncertainty=np.sqrt(
            round_off**2 + folding**2 + over_structures**2 + rounded**2
        ),
        upper=content + _STANDARD_ERRORS * over_structures,
        noise=noise,
        relative_error=error,
        relative_error_uncertainty=error * (verdict.error_change if verdict else 0.0),
        samples=count / leaf.channels / components / len(parts),
        channels=leaf.channels,
        resolved=leaf.resolved,
    )


def _white(
    content: np.ndarray,
    remainder: float,
    modes: np.ndarray,
    num_elements: int,
    epsilon: float,
) -> np.ndarray:
    """Content that white noise adds to each sector, (degrees, 2).

    At least that of machine epsilon. Round-off preserves parity, so white floors are
    estimated for each parity on its own: the two highest sectors must agree per mode as
    two chi-squared variables, and the remainder must be large enough for the noise
    above the projected degrees.
    """
    degrees = np.arange(len(content))
    out = np.repeat(modes * epsilon**2 / num_elements, 2, axis=1)
    if len(content) < 2:
        return out
    bound = max(remainder, 0.0) + _REMAINDER_ROUND_OFF * epsilon
    for parity in (1, -1):
        # sigma = parity (-1)^l; the second column is sigma = -1.
        column = (parity * (-1) ** degrees < 0).astype(int)
        per_mode = content[degrees, column] / modes[:, 0]
        last, other = per_mode[-1], per_mode[-2]
        accepted = special.fdtri(modes[-2, 0], modes[-1, 0], 1 - FALSE_ALARM)
        flat = other < accepted * last and last < accepted * other
        if flat and last * num_elements / 2 <= bound:
            level = np.maximum(out[degrees, column], last * modes[:, 0])
            out[degrees, column] = level
    return out


def _folded(
    content: np.ndarray,
    remainder: float,
    floor: np.ndarray,
    degree: int,
    epsilon: float,
) -> np.ndarray:
    """Content that a rule of degree d aliases from degrees above d - l to degree l.

    The decay of the last three degrees is extrapolated. For a spectrum that does not
    decay, the remainder is the bound; one that has reached the noise floor has no tail.
    """
    degrees = np.arange(len(content))
    last = len(content) - 1
    power = content.sum(axis=1)
    bound = max(remainder, 0.0)
    if power[-1] <= floor[-1].sum():
        return np.zeros_like(content)
    if last < 2 or power[-3] <= 0 or power[-1] >= power[-3]:
        tail = np.full(len(content), bound)
    else:
        ratio = (power[-1] / power[-3]) ** 0.5
        beyond = np.maximum(degree - degrees + 1 - last, 1)
        tail = power[-1] * ratio**beyond / (1 - ratio)
        tail = np.minimum(tail, bound + _REMAINDER_ROUND_OFF * epsilon)
    return np.repeat(tail[:, None], 2, axis=1)


def _jackknife(parts: Sequence[Totals]) -> np.ndarray:
    """Standard error of B over structures by the jackknife; 0 for one structure."""
    power = np.array([part.power.sum(axis=0) for part in parts])
    norm = np.array([float(part.norm.sum()) for part in parts])
    num = len(parts)
    if num < 2:
        return np.zeros(power.shape[1:])
    others = np.maximum(norm.sum() - norm, 1e-300)[:, None, None]
    without = (power.sum(axis=0) - power) / others
    spread = np.square(without - without.mean(axis=0)).sum(axis=0)
    return np.sqrt((num - 1) / num * spread)
