"""How equivariant a prediction becomes when it is averaged, known before paying for it.

The average of a model f over elements h of O(3) with weights w_h predicts
sum_h w_h rho(h)^-1 f(h x). Its response on the orbit, rotated back, is

    z_w(g) = sum_h w_h z(h g),   z(g) = rho(g)^-1 f(g x),

so the spectral coefficients of z on the two cosets s of O(3) (s = +1 proper, s = -1
improper),

    c^s_l = integral over SO(3) of D^l(R) z(s R) dmu(R),

become c^s_l -> sum_h w_h D^l(h)^T c^{s det h}_l, and the equivariance error follows:

    V_w = 1/2 sum_s sum_l (2l+1) ||c^s_{l,w}||^2 - ||mean||^2.

A group H leaves of every degree what it leaves alone. What lies above the largest
degree, the tail, may be left whole or taken away: it is the uncertainty.

Averages act on the left index of c and the structure on the right one. So one
measurement tells the error after any average, at no further evaluation.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation

from symjax.errors import ArgumentError
from symjax.metrics import orbit
from symjax.metrics.leaves import Leaf, rotated_rows
from symjax.metrics.measure import Grid
from symjax.metrics.planning import default_batch_size
from symjax.metrics.problem import Execution, Problem, check_degree, prepare
from symjax.so3.averages import Rotations, rotations_of
from symjax.so3.quadrature import Quadrature
from symjax.so3.wigner import wigner_d

GROUPS = ("Ci", "D2", "D2h", "T", "O", "Th", "Oh", "I", "Ih")
"""Groups that :func:`frontier` looks at, beside grids."""
DEGREES = (1, 2, 3, 4, 5)
"""Degrees of the grids that it looks at."""
# Of two averages that leave the same, round-off would prefer one.
_BETTER = 0.99
# A loss of 1 before the average is brought as close to 0 as it gets.
_PRECISE = {"ftol": 1e-14, "gtol": 1e-10, "maxiter": 500}
# Sums over elements of each element are rounded in the precision of the model.
_ROUND_OFF = 4.0


@dataclasses.dataclass(frozen=True)
class AveragedError:
    """The equivariance error A that an average leaves.

    Attributes:
      average: Name of the average.
      num_elements: Evaluations of the model that it needs.
      error: A of what the projected degrees leave, in the unit of the output.
      uncertainty: How far off that may be, in particular how much larger A may be: the
        tail above the projected degrees may be left whole, some of it is folded back by
        the rule, and round-off of the model does not average out.

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
        """The upper end, which decides whether an average is enough."""
        return self.error + self.uncertainty


@dataclasses.dataclass(frozen=True, eq=False)
class ResponseSpectrum:
    """Second moments of the rotated-back response of one output, around its mean.

    What an average leaves depends on the coefficients c^s_l through their products,
    summed over the right index, samples and components. These sums are small, and those
    of several structures add up.

    Attributes:
      name: The output.
      unit: Its unit.
      gram: For each degree, ``(2, 2l+1, 2l+1)``: the sum over cosets s of
        (2l+1)/2 c^s c^sT, and that of (2l+1)/2 c^s c^-sT; float64.
      variance: V, summed over samples and components, from the rule itself.
      count: Number of values, components of all samples: A^2 = V / count.
      noise: Upper bound of the part of V that is round-off.

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.metrics import Output, Problem, response_spectra
      >>> from symjax.so3 import SCALAR
      >>> f = lambda x: x[0, 2] ** 2
      >>> problem = Problem(f, jnp.eye(3), {"output": Output(SCALAR)})
      >>> spectrum = response_spectra(problem, max_degree=2)["output"]
      >>> round(spectrum.after("O").error, 6)  # of degree 2, O leaves nothing
      0.0
    """

    name: str
    unit: str
    gram: tuple[np.ndarray, ...]
    variance: float
    count: int
    noise: float

    @property
    def projected(self) -> float:
        """V of the projected degrees."""
        return float(sum(np.trace(part[0]) for part in self.gram))

    @property
    def tail(self) -> float:
        """V above the projected degrees."""
        return max(self.variance - self.projected, 0.0)

    def after(self, average: Any, include_inversion: bool = True) -> AveragedError:
        """The error that an average leaves.

        Args:
          average: None; a finite group or its symbol; a quadrature of SO(3) or its
            degree; or elements with weights.
          include_inversion: Whether a quadrature is extended to O(3).

        Returns:
          A with its uncertainty.

        Raises:
          ArgumentError: The average stands for no elements of O(3).
        """
        rotations = _rotations(average, include_inversion)
        weights = np.asarray(rotations.weights)
        operators = _operators(rotations, len(self.gram) - 1)
        left = max(float(_left(self.gram, *operators)), 0.0)
        # A rule with negative weights may make more of the tail than there was.
        grown = float(np.abs(weights).sum()) ** 2
        error = math.sqrt(left / self.count)
        largest = math.sqrt((left + grown * self.tail + self.noise) / self.count)
        return AveragedError(rotations.name, len(weights), error, largest - error)


def add_spectra(spectra: Sequence[ResponseSpectrum]) -> ResponseSpectrum:
    """The spectrum of an output over several structures.

    Args:
      spectra: The output's, one for each structure.

    Returns:
      Their sum, whose A is that over all samples.

    Raises:
      ArgumentError: There are none, or they are of several outputs, units or degrees.

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.metrics import Output, Problem, add_spectra, response_spectra
      >>> from symjax.so3 import SCALAR
      >>> problem = Problem(lambda x: x[0, 2], jnp.eye(3), {"output": Output(SCALAR)})
      >>> both = add_spectra(2 * [response_spectra(problem, max_degree=2)["output"]])
      >>> [round(both.after(name).error, 6) for name in ("C1", "Ci", "D2")]
      [0.57735, 0.0, 0.0]
    """
    kinds = {(one.name, one.unit, len(one.gram)) for one in spectra}
    if len(kinds) != 1:
        raise ArgumentError(
            "spectra",
            sorted(kinds),
            "are not of one output, unit and degree",
            "Pass those of one output, all measured alike",
        )
    first = spectra[0]
    return dataclasses.replace(
        first,
        gram=tuple(
            np.sum(parts, axis=0)
            for parts in zip(*(one.gram for one in spectra), strict=True)
        ),
        variance=sum(one.variance for one in spectra),
        count=sum(one.count for one in spectra),
        noise=sum(one.noise for one in spectra),
    )


def frontier(
    spectrum: ResponseSpectrum,
    averages: Iterable[Any] = (*GROUPS, *DEGREES),
    include_inversion: bool = True,
) -> tuple[AveragedError, ...]:
    """Error against cost: the averages that no cheaper one undercuts.

    Args:
      spectrum: Of an output.
      averages: What to look at, beside no average at all.
      include_inversion: Whether quadratures are extended to O(3).

    Returns:
      The error as it is, and then that after each average that is better than all
      with as few elements by more than a hundredth, the cheapest first.

    Raises:
      ArgumentError: An average stands for no elements of O(3).

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.metrics import Output, Problem, frontier, response_spectra
      >>> from symjax.so3 import SCALAR
      >>> f = lambda x: x[0, 2] ** 4
      >>> problem = Problem(f, jnp.eye(3), {"output": Output(SCALAR)})
      >>> spectrum = response_spectra(problem, max_degree=4)["output"]
      >>> [(one.average, round(one.error, 4))
      ...  for one in frontier(spectrum, ["Ci", "O", "I"])]
      [('none', 0.2667), ('O', 0.0582), ('I', 0.0)]
    """
    errors = [
        spectrum.after(average, include_inversion) for average in (None, *averages)
    ]
    errors.sort(key=lambda one: (one.num_elements, one.largest))
    best: list[AveragedError] = []
    for one in errors:
        if not best or one.largest < _BETTER * best[-1].largest:
            best.append(one)
    return tuple(best)


def cheapest(
    spectra: Mapping[str, ResponseSpectrum],
    limits: Mapping[str, float],
    averages: Iterable[Any] = (*GROUPS, *DEGREES),
    include_inversion: bool = True,
) -> Rotations:
    """The average of fewest elements after which every error is within its limit.

    Args:
      spectra: Of outputs, by name.
      limits: Largest A of some of them, in their units.
      averages: What to choose from, beside no average at all.
      include_inversion: Whether quadratures are extended to O(3).

    Returns:
      Elements and weights.

    Raises:
      ArgumentError: An output is not known, or no average is enough.

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.metrics import Output, Problem, cheapest, response_spectra
      >>> from symjax.so3 import SCALAR
      >>> f = lambda x: x[0, 2] ** 4
      >>> problem = Problem(f, jnp.eye(3), {"output": Output(SCALAR)})
      >>> cheapest(response_spectra(problem, 4), {"output": 0.06}).name
      'T'
    """
    for name in limits:
        if name not in spectra:
            raise ArgumentError(
                "limits", name, "is no measured output", f"Use {', '.join(spectra)}"
            )
    candidates = [
        _rotations(average, include_inversion) for average in (None, *averages)
    ]
    candidates.sort(key=lambda one: len(one.weights))
    reached = dict.fromkeys(limits, math.inf)
    for rotations in candidates:
        found = {name: spectra[name].after(rotations).largest for name in limits}
        if all(found[name] <= limits[name] for name in limits):
            return rotations
        reached = {name: min(reached[name], found[name]) for name in limits}
    least = ", ".join(f"{n}={v:.3g} {spectra[n].unit}" for n, v in reached.items())
    raise ArgumentError(
        "limits",
        dict(limits),
        f"no average is known to be enough; the best reach {least}",
        "Raise the limit, offer averages of more elements, or project more degrees",
    )


def optimised(
    spectra: Sequence[ResponseSpectrum],
    num: int,
    inversion: bool = True,
    seed: int = 0,
    starts: int = 4,
) -> Rotations:
    """Rotations of equal weight that leave least, for spectra that were measured.

    Minimises the sum of A^2 after the average over A^2 before it, by L-BFGS from random
    starts. Only other structures than those of the spectra show what it is worth.

    Args:
      spectra: Of the outputs that matter, each summed over structures.
      num: Number of rotations.
      inversion: Whether each comes with its inverted element, which doubles the cost.
      seed: Seed of the starts.
      starts: Number of starts.

    Returns:
      Elements and weights, the identity first.

    Raises:
      ArgumentError: There are no spectra, or no rotations.

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.metrics import Output, Problem, optimised, response_spectra
      >>> from symjax.so3 import SCALAR
      >>> f = lambda x: x[0, 2] ** 2
      >>> problem = Problem(f, jnp.eye(3), {"output": Output(SCALAR)})
      >>> spectrum = response_spectra(problem, max_degree=2)["output"]
      >>> spectrum.after(optimised([spectrum], 3, inversion=False)).error < 1e-4
      True
    """
    if not spectra or num < 1:
        raise ArgumentError(
            "num" if spectra else "spectra",
            num,
            "leaves nothing to optimise",
            "Pass one spectrum and one rotation at least",
        )
    degrees = range(max(len(one.gram) for one in spectra))
    weights = [1 / max(one.projected, np.finfo(float).tiny) for one in spectra]
    gram = tuple(
        sum(
            weight * (one.gram[degree][0] + one.gram[degree][1]) / 2
            if inversion
            else weight * one.gram[degree][0]
            for one, weight in zip(spectra, weights, strict=True)
            if degree < len(one.gram)
        )
        for degree in degrees
    )
    generator = np.random.default_rng(seed)
    with jax.enable_x64(True):
        best = None
        for _ in range(starts):
            guess = Rotation.random(num - 1, generator).as_rotvec().reshape(-1)
            if not num > 1:
                break
            found = minimize(
                _loss_and_slope, guess, (gram,), "L-BFGS-B", jac=True, options=_PRECISE
            )
            if best is None or found.fun < best.fun:
                best = found
    turns = np.zeros((num, 3))
    if best is not None:
        turns[1:] = best.x.reshape(-1, 3)
    elements = Rotation.from_rotvec(turns).as_matrix()
    if inversion:
        elements = np.concatenate([elements, -elements])
    size = len(elements)
    return Rotations(f"optimised {size}", elements, np.full(size, 1 / size))


def _loss_and_slope(
    turns: np.ndarray, gram: tuple[np.ndarray, ...]
) -> tuple[float, np.ndarray]:
    value, slope = _loss(jnp.asarray(turns).reshape(-1, 3), gram)
    return float(value), np.asarray(slope).reshape(-1)


@jax.jit
@jax.value_and_grad
def _loss(turns: Float[Array, "n 3"], gram: tuple[Array, ...]) -> Array:
    """What the identity and rotations by some vectors leave."""
    rotations = jax.vmap(_exponential)(jnp.concatenate([jnp.zeros((1, 3)), turns]))
    matrices = wigner_d(len(gram) - 1, rotations)
    means = [part.mean(axis=0) for part in matrices]
    left = [
        jnp.einsum("ik,ij,jk->", mean, part, mean)
        for mean, part in zip(means, gram, strict=True)
    ]
    return jnp.sum(jnp.stack(left))


def _exponential(turn: Float[Array, " 3"]) -> Float[Array, "3 3"]:
    """Rotation by a vector."""
    cross = jnp.cross(jnp.eye(3), turn)
    return jax.scipy.linalg.expm(cross)


def _rotations(average: Any, include_inversion: bool) -> Rotations:
    if isinstance(average, Rotations):
        return average
    return rotations_of(average, include_inversion)


def _operators(
    average: Rotations, max_degree: int
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Weighted sums of D^l over the proper and over the improper elements."""
    elements, weights = np.asarray(average.elements), np.asarray(average.weights)
    proper = np.linalg.det(elements) > 0
    matrices = _left_operators(
        np.where(proper[:, None, None], elements, -elements), max_degree
    )
    kept, crossed = (
        [np.tensordot(weights * chosen, part, 1) for part in matrices]
        for chosen in (proper, ~proper)
    )
    return kept, crossed


def _left(
    gram: Sequence[np.ndarray], kept: list[np.ndarray], crossed: list[np.ndarray]
) -> float:
    """V after an average, from its operators."""
    total = 0.0
    for (same, across), k, x in zip(gram, kept, crossed, strict=True):
        total += float(np.vdot(k, same @ k) + np.vdot(x, same @ x))
        total += 2 * float(np.vdot(k, across @ x))
    return total


def response_spectra(
    problem: Problem,
    max_degree: int = 6,
    rule: int | Quadrature | None = None,
    execution: Execution | None = None,
) -> dict[str, ResponseSpectrum]:
    """Measures the coefficients of the rotated-back outputs of a problem.

    Outputs alone are evaluated, no layers.

    Args:
      problem: A function, its input, and what its outputs are.
      max_degree: Largest degree L of the coefficients.
      rule: Quadrature or its degree; by default 2 L + 1.
      execution: Where and how to run.

    Returns:
      The spectrum of every output whose kind is ``"output"``.

    Raises:
      ArgumentError: The degree is none, or the problem has no output.
      GridError: There is no such quadrature, or it is too coarse.

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.metrics import Output, Problem, response_spectra
      >>> from symjax.so3 import VECTOR
      >>> problem = Problem(lambda x: x, jnp.eye(3), {"output": Output(VECTOR)})
      >>> response_spectra(problem, max_degree=1)["output"].variance < 1e-12
      True
    """
    check_degree(max_degree)
    execution = Execution() if execution is None else execution
    grid = Grid(rule).of_degree(max_degree)
    prepared = prepare(problem, execution)
    leaves = {
        name: leaf.compact
        for name, leaf in prepared.leaves.items()
        if problem.outputs[name].kind == "output"
    }
    if not leaves:
        raise ArgumentError(
            "problem",
            list(problem.outputs),
            "has no output beside layers",
            "Measure outputs, not layers alone",
        )
    keep = tuple(leaf.index for leaf in leaves.values())
    batch = execution.batch_size or default_batch_size()
    step = batch * max(len(prepared.devices), 1)
    x, args = orbit.replicate((prepared.x, prepared.args), prepared.devices)
    sums = {
        name: _Sums(leaf, prepared.masks[name].reshape(-1), max_degree)
        for name, leaf in leaves.items()
    }
    rotations, weights = grid.rotations, grid.weights
    for start in range(0, len(rotations), step):
        some = rotations[start : start + step]
        both = np.concatenate([some, -some])
        responses = orbit.respond_in_batches(
            prepared.function,
            prepared.action,
            x,
            both,
            args=args,
            keep=keep,
            batch_size=batch,
            devices=prepared.devices,
        )
        with jax.enable_x64(True):
            left = _left_operators(some, max_degree)
        for name, response in zip(leaves, responses, strict=True):
            values = np.asarray(response)
            orbit.check_finite(name, values, both)
            sums[name].add(both, values, left, weights[start : start + step])
        if execution.progress is not None:
            done = 2 * min(start + step, len(rotations))
            execution.progress(done, 2 * len(rotations))
    return {
        name: one.finish(name, problem.outputs[name].unit) for name, one in sums.items()
    }


class _Sums:
    """Coefficients around the first response, and the sum of squares, in float64."""

    def __init__(self, leaf: Leaf, mask: np.ndarray, max_degree: int) -> None:
        self.leaf, self.mask = leaf, mask
        self.size = int(mask.sum()) * leaf.size // max(leaf.num_samples, 1)
        self.reference = np.zeros(0)
        self.second = 0.0
        self.largest = 0.0
        self.coefficients = [
            np.zeros((2, 2 * degree + 1, 2 * degree + 1, self.size))
            for degree in range(max_degree + 1)
        ]

    def add(
        self,
        elements: Float[np.ndarray, "both 3 3"],
        values: np.ndarray,
        left: list[np.ndarray],
        weights: Float[np.ndarray, "half"],
    ) -> None:
        """Responses at rotations, and then at the inverted ones."""
        turned = rotated_rows(self.leaf, values, elements, self.mask)
        if not self.reference.size:
            self.reference = turned[0]
        self.largest = max(self.largest, float(np.abs(turned).max(initial=0.0)))
        cosets = (turned - self.reference).reshape(2, len(weights), -1)
        self.second += float(weights @ np.square(cosets).sum(-1).mean(0))
        for part, matrices_of in zip(self.coefficients, left, strict=True):
            table = (matrices_of * weights[:, None, None]).reshape(len(weights), -1)
            part += np.einsum("gr,sgv->srv", table, cosets, optimize=True).reshape(
                part.shape
            )

    def finish(self, name: str, unit: str) -> ResponseSpectrum:
        """Around the mean, which is subtracted from l = 0."""
        shift = self.coefficients[0].mean(axis=0)
        self.coefficients[0] -= shift
        variance = self.second - float(np.square(shift).sum())
        epsilon = float(np.finfo(self.leaf.compute_dtype).eps)
        noise = self.size * (_ROUND_OFF * epsilon * self.largest) ** 2
        gram = []
        for degree, part in enumerate(self.coefficients):
            rows = part.reshape(2, 2 * degree + 1, -1) * math.sqrt(degree + 0.5)
            gram.append(
                np.stack(
                    [
                        np.einsum("sir,sjr->ij", rows, rows, optimize=True),
                        np.einsum("sir,sjr->ij", rows, rows[::-1], optimize=True),
                    ]
                )
            )
        return ResponseSpectrum(
            name, unit, tuple(gram), max(variance, 0.0), self.size, noise
        )


def _left_operators(
    rotations: Float[np.ndarray, "n 3 3"], max_degree: int
) -> list[np.ndarray]:
    """D^l of proper rotations in float64, for each degree ``(n, 2l+1, 2l+1)``."""
    with jax.enable_x64(True):
        return [
            np.asarray(part) for part in wigner_d(max_degree, jnp.asarray(rotations))
        ]
