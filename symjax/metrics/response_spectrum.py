"""The equivariance error after any average, from second moments of the response.

The average of a model f over elements h of O(3) with weights w_h predicts
sum_h w_h rho(h)^-1 f(h x). Its back-rotated response on the orbit is

    z_w(g) = sum_h w_h z(h g),   z(g) = rho(g)^-1 f(g x),

so the spectral coefficients of z on the two cosets s of O(3) (s = +1 proper, s = -1
improper),

    c^s_l = integral over SO(3) of D^l(R) z(s R) dmu(R),

become c^s_l -> sum_h w_h D^l(h)^T c^{s det h}_l, and the equivariance error follows:

    V_w = 1/2 sum_s sum_l (2l+1) ||c^s_{l,w}||^2 - ||mean||^2.

The average over a group H keeps the H-invariant part of every degree. The part of V
above the largest projected degree, the tail, may be kept or removed by the average: it
is the uncertainty.

Averages act on the left index of c only, so that the products of c over its right index
suffice: one measurement gives the error after any average.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from symjax.errors import ArgumentError
from symjax.metrics.arguments import check_type
from symjax.metrics.pieces import (
    Leaf,
    rotate_back,
    spherical_matrices,
    spherical_values,
)
from symjax.metrics.stabilizer import LeafSymmetry, average_tensors
from symjax.so3.averages import rotations_of
from symjax.so3.wigner import wigner_d_tables

GROUPS = ("Ci", "D2", "D2h", "T", "O", "Th", "Oh", "I", "Ih")
"""Groups that :func:`symjax.metrics.frontier` compares by default."""
DEGREES = (1, 2, 3, 4, 5)
"""Degrees of the quadratures that it compares by default."""
# Round-off of a response in the precision of the model, in epsilon.
_ROUND_OFF = 4.0
# Number of coefficients of an output that are kept on each coset. For larger outputs
# fewer degrees are kept, and the others count to the tail.
MOST_COEFFICIENTS = 2**24


@dataclasses.dataclass(frozen=True)
class AveragedError:
    """The equivariance error A after an average over rotations.

    Attributes:
      average: Name of the average.
      num_elements: Evaluations of the model that it needs.
      error: A from the projected degrees, in the unit of the output; without an average
        A from all degrees.
      uncertainty: Upper bound of A minus ``error``. The average may keep the tail above
        the projected degrees, a rule with negative weights can even amplify it, and
        round-off of the model does not average out.

    Example:
      >>> from symjax.metrics import AveragedError
      >>> AveragedError("Th", 24, 8.8e-6, 2e-7).largest
      9e-06
    """

    average: str
    num_elements: int
    error: float
    uncertainty: float

    @property
    def largest(self) -> float:
        """Upper bound of A, which decides whether an average is sufficient."""
        return self.error + self.uncertainty


@dataclasses.dataclass(frozen=True, eq=False)
class ResponseSpectrum:
    """Second moments of the back-rotated response of one output, around its mean.

    A after an average depends on the coefficients c^s_l only through their products,
    summed over the right index, samples and components. These sums are small, and add
    up over structures.

    Attributes:
      name: Name of the output.
      unit: Its unit.
      gram: For each degree, ``(2, 2l+1, 2l+1)`` in float64: the sum over cosets s of
        (2l+1)/2 c^s c^sT, and that of (2l+1)/2 c^s c^-sT.
      variance: V from the rule itself, summed over samples and components.
      count: Number of components of all samples: A^2 = V / count.
      noise: Upper bound of the part of V that is round-off.

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.metrics import Output, Problem, response_spectra
      >>> from symjax.so3 import SCALAR
      >>> f = lambda x: x[0, 2] ** 2
      >>> problem = Problem(f, jnp.eye(3), {"output": Output(SCALAR)})
      >>> spectrum = response_spectra(problem, max_degree=2)["output"]
      >>> round(spectrum.after("O").error, 6)  # O has no invariants of degree 2
      0.0
    """

    name: str
    unit: str
    gram: tuple[np.ndarray, ...]
    variance: float
    count: int
    noise: float

    @property
    def averages(self) -> tuple[Any, ...]:
        """The averages that are compared by default."""
        return (*GROUPS, *DEGREES)

    @property
    def projected(self) -> float:
        """V of the projected degrees."""
        return float(sum(np.trace(part[0]) for part in self.gram))

    @property
    def tail(self) -> float:
        """V above the projected degrees."""
        return max(self.variance - self.projected, 0.0)

    @classmethod
    def sum_of(cls, parts: Sequence["ResponseSpectrum"]) -> "ResponseSpectrum":
        """The sum of the spectra of several structures."""
        grams = [part.gram for part in parts]
        return cls(
            parts[0].name,
            parts[0].unit,
            tuple(
                np.sum([gram[degree] for gram in grams if degree < len(gram)], axis=0)
                for degree in range(max(map(len, grams)))
            ),
            sum(part.variance for part in parts),
            sum(part.count for part in parts),
            sum(part.noise for part in parts),
        )

    def weighted(self, weight: float) -> "ResponseSpectrum":
        """The spectrum with squares multiplied by a weight, such as 1 / atoms^2."""
        return dataclasses.replace(
            self,
            gram=tuple(weight * part for part in self.gram),
            variance=weight * self.variance,
            noise=weight * self.noise,
        )

    def after(self, average: Any, include_inversion: bool = True) -> AveragedError:
        """A after an average over rotations.

        Args:
          average: None for no average; a finite group or its symbol; a quadrature of
            SO(3) or its degree; or :class:`symjax.so3.averages.Rotations`.
          include_inversion: Whether a quadrature is extended to O(3).

        Returns:
          A with its uncertainty.

        Raises:
          ArgumentError: ``average`` is none of these.
          GridError: There is no quadrature of this degree.
        """
        rotations = rotations_of(average, include_inversion)
        weights = np.asarray(rotations.weights, np.float64)
        if len(weights) == 1:
            # One element changes nothing: V is known, whatever lies above the degrees.
            error = math.sqrt(self.variance / self.count)
            largest = math.sqrt((self.variance + self.noise) / self.count)
            return AveragedError(rotations.name, 1, error, largest - error)
        operators = _operators_of(
            np.asarray(rotations.elements, np.float64).tobytes(),
            weights.tobytes(),
            len(self.gram) - 1,
        )
        left = max(float(_left(self.gram, *operators)), 0.0)
        # A rule with negative weights may amplify the tail.
        grown = float(np.abs(weights).sum()) ** 2
        error = math.sqrt(left / self.count)
        largest = math.sqrt((left + grown * self.tail + self.noise) / self.count)
        return AveragedError(rotations.name, len(weights), error, largest - error)


def add_spectra(spectra: Sequence[Any]) -> Any:
    """Adds the spectra of one output of several structures.

    Args:
      spectra: One spectrum per structure, all from grids or all from random elements.

    Returns:
      Their sum, whose A is that over all samples. If spectra have different numbers of
      degrees, higher degrees of the others are part of the tail.

    Raises:
      ArgumentError: There are none, they belong to several outputs or units, or some
        are from grids and some from random elements.

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.metrics import Output, Problem, add_spectra, response_spectra
      >>> from symjax.so3 import SCALAR
      >>> problem = Problem(lambda x: x[0, 2], jnp.eye(3), {"output": Output(SCALAR)})
      >>> both = add_spectra(2 * [response_spectra(problem, max_degree=2)["output"]])
      >>> [round(both.after(name).error, 6) for name in ("C1", "Ci", "D2")]
      [0.57735, 0.0, 0.0]
    """
    check_type("spectra", spectra, list | tuple, "Pass a list of spectra")
    kinds = {(one.name, one.unit, type(one).__name__) for one in spectra}
    if len(kinds) != 1:
        raise ArgumentError(
            "spectra",
            sorted(kinds),
            "are not of one output, unit and kind",
            "Pass spectra of one output",
        )
    return type(spectra[0]).sum_of(spectra)


@functools.lru_cache(maxsize=64)
def _operators_of(
    elements_of: bytes, weights_of: bytes, max_degree: int
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Weighted sums of D^l over the proper and over the improper elements."""
    elements = np.frombuffer(elements_of).reshape(-1, 3, 3)
    weights = np.frombuffer(weights_of)
    proper, matrices = _proper_tables(max_degree, elements)
    kept, crossed = (
        [np.tensordot(weights * chosen, part, 1) for part in matrices]
        for chosen in (proper, ~proper)
    )
    return kept, crossed


def _proper_tables(
    max_degree: int, elements: Float[np.ndarray, "elements 3 3"]
) -> tuple[Bool[np.ndarray, "elements"], list[np.ndarray]]:
    """Which elements are proper, and D^l of the proper part of each element."""
    proper = np.linalg.det(elements) > 0
    rotations = np.where(proper[:, None, None], elements, -elements)
    return proper, wigner_d_tables(max_degree, rotations)


def _left(
    gram: Sequence[np.ndarray], kept: list[np.ndarray], crossed: list[np.ndarray]
) -> float:
    """V after an average, from its weighted sums of D^l."""
    total = 0.0
    for (same, across), k, x in zip(gram, kept, crossed, strict=True):
        total += float(np.vdot(k, same @ k) + np.vdot(x, same @ x))
        total += 2 * float(np.vdot(k, across @ x))
    return total


@functools.lru_cache(maxsize=8)
def _table(max_degree: int, rotations: bytes) -> Float[np.ndarray, "rows half"]:
    """D^l of proper rotations, all degrees one after another."""
    matrices = wigner_d_tables(max_degree, np.frombuffer(rotations).reshape(-1, 3, 3))
    return np.concatenate([part.reshape(len(part), -1) for part in matrices], 1).T


class ResponseSums:
    """Accumulates the coefficients of a back-rotated response, in float64.

    Sums are taken around the first response. If the input is symmetric and one element
    of each coset is evaluated, the symmetry is applied at the end.

    Args:
      leaf: Describes one response.
      real: Which of its samples count.
      max_degree: Largest degree of the coefficients; for a large output fewer degrees
        are kept.
      symmetry: Symmetry of the input, if one element of each coset is evaluated.
    """

    def __init__(
        self,
        leaf: Leaf,
        real: Bool[np.ndarray, "samples"],
        max_degree: int,
        symmetry: LeafSymmetry | None = None,
    ) -> None:
        self.leaf, self.real, self.symmetry = leaf, real, symmetry
        _, components, channels = leaf.spherical_shape
        self.shape = (int(real.sum()), components, channels)
        self.size = math.prod(self.shape)
        degrees = range(max_degree + 1)
        rows = np.cumsum([(2 * degree + 1) ** 2 for degree in degrees])
        fit = rows[rows * self.size <= MOST_COEFFICIENTS]
        self.ends = (fit if len(fit) else rows[:1]).tolist()
        self.coefficients = np.zeros((self.ends[-1], 2 * self.size))
        self.reference = np.zeros(0)
        self.second = 0.0
        self.largest = 0.0

    def add(
        self,
        rotations: Float[np.ndarray, "half 3 3"],
        values: Any,
        matrices: np.ndarray | None,
        weights: Float[np.ndarray, "half"],
    ) -> None:
        """Adds responses with the weights of the proper elements.

        Args:
          rotations: Proper elements.
          values: Responses at each element, followed by that at its negative.
          matrices: rho(g) at all of these; None for a trivial representation.
          weights: Weights of the proper elements.
        """
        double = dataclasses.replace(self.leaf, dtype="float64")
        rows = spherical_values(double, np.asarray(values))[:, self.real]
        turned = np.asarray(rotate_back(matrices, rows))
        if not self.reference.size:
            first = turned[0]
            if self.symmetry is not None:
                # The reference must have the symmetry too.
                first = average_tensors(
                    self.leaf.representation,
                    self.symmetry.elements,
                    self._permutations(),
                    first,
                )
            self.reference = first
        self.largest = max(self.largest, float(np.abs(turned).max(initial=0.0)))
        both = (turned - self.reference).reshape(len(weights), -1)
        self.second += float(weights @ np.square(both).sum(-1)) / 2
        degree = len(self.ends) - 1
        table = _table(degree, np.ascontiguousarray(rotations, np.float64).tobytes())
        self.coefficients += (table * weights) @ both

    def finish(
        self, name: str, unit: str, variance: float | None = None
    ) -> ResponseSpectrum:
        """The spectrum around the mean; ``variance`` is V if it is already known."""
        rows = self.coefficients.reshape(len(self.coefficients), 2, *self.shape)
        coefficients = []
        for degree, end in enumerate(self.ends):
            part = rows[end - (2 * degree + 1) ** 2 : end]
            part = part.reshape(2 * degree + 1, 2 * degree + 1, 2, *self.shape)
            coefficients.append(np.moveaxis(part, 2, 0))
        if self.symmetry is not None:
            coefficients = self._over_symmetry(coefficients)
        shift = coefficients[0].mean(axis=0)
        coefficients[0] = coefficients[0] - shift
        if variance is None:
            variance = self.second - float(np.square(shift).sum())
        epsilon = self.leaf.epsilon
        noise = self.size * (_ROUND_OFF * epsilon * self.largest) ** 2
        gram = []
        for degree, part in enumerate(coefficients):
            left = part.reshape(2, 2 * degree + 1, -1) * math.sqrt(degree + 0.5)
            same = np.einsum("sir,sjr->ij", left, left, optimize=True)
            across = np.einsum("sir,sjr->ij", left, left[::-1], optimize=True)
            gram.append(np.stack([same, across]))
        return ResponseSpectrum(
            name, unit, tuple(gram), max(variance, 0.0), self.size, noise
        )

    def _permutations(self) -> np.ndarray:
        """Permutations of the samples that count, for each element of the symmetry."""
        assert self.symmetry is not None
        position = np.cumsum(self.real) - 1
        return position[self.symmetry.permutations[:, self.real]]

    def _over_symmetry(self, coefficients: list[np.ndarray]) -> list[np.ndarray]:
        """Mean over h of c^{s sigma}[p] D(k), rotated back by rho(h)."""
        assert self.symmetry is not None
        elements = np.asarray(self.symmetry.elements, np.float64)
        proper, tables = _proper_tables(len(coefficients) - 1, elements)
        (matrices,) = spherical_matrices([self.leaf], elements)
        out = []
        for part, table in zip(coefficients, tables, strict=True):
            total = np.zeros(part.shape)
            for index, permutation in enumerate(self._permutations()):
                rotated = part if proper[index] else part[::-1]
                rotated = np.einsum(
                    "smkaic,kn->smnaic",
                    rotated[:, :, :, permutation],
                    table[index],
                    optimize=True,
                )
                if matrices is not None:
                    rotated = np.einsum(
                        "ji,smnajc->smnaic", matrices[index], rotated, optimize=True
                    )
                total += rotated
            out.append(total / len(elements))
        return out
