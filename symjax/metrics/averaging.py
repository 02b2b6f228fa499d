"""Which average over rotations reduces the equivariance error enough, and its cost.

The equivariance error after any average follows from the second moments of a response
(:mod:`symjax.metrics.response_spectrum`), without further evaluations: error against
cost, the cheapest average within given limits, and optimised sets of rotations.
"""

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
from symjax.metrics.arguments import check_type
from symjax.metrics.grid import Grid
from symjax.metrics.pieces import spherical_matrices
from symjax.metrics.planning import default_batch_size
from symjax.metrics.problem import Execution, Problem, check_degree, prepare
from symjax.metrics.response_spectrum import (
    AveragedError,
    ResponseSpectrum,
    ResponseSums,
    add_spectra,
)
from symjax.metrics.turn_averages import SampledResponse
from symjax.so3._arguments import check_fits, check_integer
from symjax.so3.averages import Rotations, rotations_of
from symjax.so3.quadratures import Quadrature
from symjax.so3.wigner import wigner_d

# A dearer average must be better than round-off could make it.
_BETTER = 0.99
# Numbers of rotations of the optimised sets.
_SIZES = (2, 3, 4, 6, 8, 12)
# The loss is 1 without an average, and is minimised to convergence.
_PRECISE = {"ftol": 1e-14, "gtol": 1e-10, "maxiter": 500}


def frontier(
    spectrum: ResponseSpectrum | SampledResponse,
    averages: Iterable[Any] | None = None,
    include_inversion: bool = True,
) -> tuple[AveragedError, ...]:
    """Error against cost: the averages that are better than all cheaper ones.

    Args:
      spectrum: Spectrum of an output.
      averages: Averages to compare, in addition to no average; by default
        ``spectrum.averages``: groups and small grids, or for random elements the groups
        for which they give estimates.
      include_inversion: Whether quadratures are extended to O(3).

    Returns:
      The error without an average, then the error after each average whose upper bound
      is more than 1 % below that of all cheaper ones, the cheapest first.

    Raises:
      ArgumentError: ``spectrum`` is not a spectrum, or an average is not valid.

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
    _check_spectra([spectrum], "spectrum")
    errors = [
        spectrum.after(average, include_inversion)
        for average in (None, *(spectrum.averages if averages is None else averages))
    ]
    errors.sort(key=lambda one: (one.num_elements, one.largest))
    best: list[AveragedError] = []
    for one in errors:
        if not best or one.largest < _BETTER * best[-1].largest:
            best.append(one)
    return tuple(best)


def cheapest(
    spectra: Mapping[str, ResponseSpectrum | SampledResponse],
    limits: Mapping[str, float],
    averages: Iterable[Any] | None = None,
    include_inversion: bool = True,
) -> Rotations:
    """The average of fewest elements after which every error is within its limit.

    Args:
      spectra: Spectra of outputs, by name.
      limits: Largest acceptable A of some outputs, by name, in their units.
      averages: Averages to choose from, in addition to no average; by default those of
        the first spectrum.
      include_inversion: Whether quadratures are extended to O(3).

    Returns:
      Elements and weights.

    Raises:
      ArgumentError: A limit is not a positive number for a measured output, an average
        is not valid, or no average reaches the limits.

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.metrics import Output, Problem, cheapest, response_spectra
      >>> from symjax.so3 import SCALAR
      >>> f = lambda x: x[0, 2] ** 4
      >>> problem = Problem(f, jnp.eye(3), {"output": Output(SCALAR)})
      >>> cheapest(response_spectra(problem, 4), {"output": 0.06}).name
      'T'
    """
    _check_limits(spectra, limits)
    _check_spectra([*spectra.values()])
    if averages is None:
        averages = next(iter(spectra.values())).averages if spectra else ()
    candidates = [
        rotations_of(average, include_inversion) for average in (None, *averages)
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
        f"no average is known to be sufficient; the lowest errors are {least}",
        "Raise the limit, pass averages of more elements, or project more degrees",
    )


def optimised(
    spectra: Sequence[ResponseSpectrum],
    num: int,
    inversion: bool = True,
    seed: int = 0,
    starts: int = 4,
) -> Rotations:
    """Rotations of equal weight, optimised to reduce the errors of measured spectra.

    Minimises the sum over outputs of A^2 after the average over A^2 before it, by
    L-BFGS from random starts. How well the set generalises has to be tested on other
    structures, see :func:`held_out`.

    Args:
      spectra: Spectra of the outputs, each summed over structures.
      num: Number of rotations.
      inversion: Whether each R is paired with -R, which doubles the cost.
      seed: Seed of the starts.
      starts: Number of starts.

    Returns:
      Elements and weights, the identity first.

    Raises:
      ArgumentError: ``spectra`` is not a list of spectra from grids, ``num`` or
        ``starts`` is not an integer of at least 1, or the rotations take more than
        4 GiB.

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
    _check_spectra(spectra, kind=ResponseSpectrum)
    check_integer("num", num, 1)
    check_integer("seed", seed)
    check_integer("starts", starts, 1)
    degrees = range(max(len(one.gram) for one in spectra))
    # Wigner matrices, and what is kept of them for the gradient.
    entries = sum((2 * degree + 1) ** 2 for degree in degrees)
    check_fits("num", num, 32 * entries * num)
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
        for _ in range(starts if num > 1 else 0):
            guess = Rotation.random(num - 1, generator).as_rotvec().reshape(-1)
            found = minimize(
                _loss_and_slope, guess, (gram,), "L-BFGS-B", jac=True, options=_PRECISE
            )
            if best is None or found.fun < best.fun:
                best = found
    vectors = np.zeros((num, 3))
    if best is not None:
        vectors[1:] = best.x.reshape(-1, 3)
    elements = Rotation.from_rotvec(vectors).as_matrix()
    if inversion:
        elements = np.concatenate([elements, -elements])
    size = len(elements)
    return Rotations(f"optimised {size}", elements, np.full(size, 1 / size))


def held_out(
    spectra: Mapping[str, Sequence[ResponseSpectrum]],
    limits: Mapping[str, float],
    fewer_than: float = math.inf,
) -> Rotations | None:
    """The smallest optimised set of rotations that suffices on held-out structures.

    Sets are optimised for every other structure and tested on all of them.

    Args:
      spectra: By name of the output, one spectrum per structure, in the same order.
      limits: Largest acceptable A of some outputs, by name, in their units.
      fewer_than: Only sets of fewer elements than this are tried.

    Returns:
      Elements and weights; None if no such set reaches the limits, or there are fewer
      than two structures.

    Raises:
      ArgumentError: A limit is not a positive number for a measured output, or a
        spectrum is not one from a grid.

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.metrics import Output, Problem, held_out, response_spectra
      >>> from symjax.so3 import SCALAR
      >>> f = lambda x: x[0, 2] ** 2
      >>> problem = Problem(f, jnp.eye(3), {"output": Output(SCALAR)})
      >>> both = {"output": 2 * [response_spectra(problem, max_degree=2)["output"]]}
      >>> found = held_out(both, {"output": 1e-3}, fewer_than=4)
      >>> found.name, found.elements.shape
      ('optimised 3', (3, 3, 3))
    """
    _check_limits(spectra, limits)
    for name in limits:
        _check_spectra(spectra[name], f"spectra[{name!r}]", ResponseSpectrum)
    if not limits or min(len(spectra[name]) for name in limits) < 2:
        return None
    seen = {name: add_spectra(spectra[name][::2]) for name in limits}
    others = {name: add_spectra(spectra[name][1::2]) for name in limits}
    # No average is known to lower the tail and round-off.
    for each in (seen, others):
        for name, limit in limits.items():
            one = each[name]
            if math.sqrt((one.tail + one.noise) / one.count) > limit:
                return None
    sizes = [(num * (1 + both), num, both) for num in _SIZES for both in (False, True)]
    for size, num, both in sorted(sizes):
        if not 1 < size < fewer_than:
            continue
        found = optimised([*seen.values()], num, inversion=both)
        if all(
            each[name].after(found).largest <= limit
            for each in (seen, others)
            for name, limit in limits.items()
        ):
            return found
    return None


def _check_spectra(
    spectra: Any,
    argument: str = "spectra",
    kind: Any = ResponseSpectrum | SampledResponse,
) -> None:
    """Raises unless ``spectra`` is a list of spectra of a kind, one or more."""
    known = isinstance(spectra, list | tuple) and len(spectra)
    if not known or not all(isinstance(one, kind) for one in spectra):
        names = getattr(kind, "__name__", "ResponseSpectrum or SampledResponse")
        raise ArgumentError(
            argument,
            spectra,
            f"is not {names}, or a list of them",
            "Pass response_spectra(problem)[name], or result[name].response",
        )


def _check_limits(spectra: Any, limits: Any) -> None:
    """Raises unless limits are positive numbers for measured outputs."""
    for name, value in (("spectra", spectra), ("limits", limits)):
        check_type(name, value, Mapping, "Pass a dictionary by name of the output")
    for name, limit in limits.items():
        if name not in spectra:
            raise ArgumentError(
                "limits",
                name,
                "is not a measured output",
                f"Use one of {', '.join(spectra)}",
            )
        if not isinstance(limit, int | float | np.number) or not limit > 0:
            raise ArgumentError(
                f"limits[{name!r}]", limit, "is not an error", "Pass a positive number"
            )


def _loss_and_slope(
    vectors: np.ndarray, gram: tuple[np.ndarray, ...]
) -> tuple[float, np.ndarray]:
    value, slope = _loss(vectors.reshape(-1, 3), gram)
    return float(value), np.asarray(slope).reshape(-1)


@jax.jit
@jax.value_and_grad
def _loss(vectors: Float[Array, "n 3"], gram: tuple[Array, ...]) -> Array:
    """V after the average over the identity and rotations by some vectors."""
    rotations = jax.vmap(_exponential)(jnp.concatenate([jnp.zeros((1, 3)), vectors]))
    matrices = wigner_d(len(gram) - 1, rotations)
    means = [part.mean(axis=0) for part in matrices]
    left = [
        jnp.einsum("ik,ij,jk->", mean, part, mean)
        for mean, part in zip(means, gram, strict=True)
    ]
    return jnp.sum(jnp.stack(left))


def _exponential(vector: Float[Array, " 3"]) -> Float[Array, "3 3"]:
    """Matrix of the rotation with a rotation vector."""
    cross = jnp.cross(jnp.eye(3), vector)
    return jax.scipy.linalg.expm(cross)


def response_spectra(
    problem: Problem,
    max_degree: int = 6,
    rule: int | Quadrature | None = None,
    execution: Execution | None = None,
) -> dict[str, ResponseSpectrum]:
    """Measures the second moments of the back-rotated outputs of a problem.

    Only outputs are evaluated, no layers. A measurement on a grid already contains the
    spectra, see :attr:`symjax.metrics.LeafMeasurement.response`.

    Args:
      problem: The problem.
      max_degree: Largest degree L of the coefficients.
      rule: Quadrature or its degree; by default of degree 2 L + 1.
      execution: Where and how to run.

    Returns:
      The spectrum of every output of kind ``"output"``, by name.

    Raises:
      ArgumentError: The degree is invalid, the problem has only layers, or a response
        is not finite.
      GridError: There is no such quadrature, or it is too coarse.

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.metrics import Output, Problem, response_spectra
      >>> from symjax.so3 import VECTOR
      >>> problem = Problem(lambda x: x, jnp.eye(3), {"output": Output(VECTOR)})
      >>> response_spectra(problem, max_degree=1)["output"].variance < 1e-12
      True
    """
    max_degree = check_degree(max_degree)
    grid = Grid(rule).of_degree(max_degree)
    prepared = prepare(problem, Execution() if execution is None else execution)
    execution = prepared.execution
    leaves = {
        name: leaf.compact
        for name, leaf in prepared.leaves.items()
        if problem.outputs[name].kind == "output"
    }
    if not leaves:
        raise ArgumentError(
            "problem",
            list(problem.outputs),
            "has only layers",
            "Add an output of kind 'output'",
        )
    batch = execution.batch_size or default_batch_size()
    step = batch * max(len(prepared.devices), 1)
    prepared = prepared.replicated()
    sums = {
        name: ResponseSums(leaf, prepared.masks[name].reshape(-1), max_degree)
        for name, leaf in leaves.items()
    }
    rotations, weights = grid.rotations, grid.weights
    for start in range(0, len(rotations), step):
        some = rotations[start : start + step]
        both = orbit.with_negatives(some)
        responses = prepared.respond(
            both, leaves.values(), batch, in_batches=True, shared=True
        )
        matrices = spherical_matrices(list(leaves.values()), both)
        weight = weights[start : start + step]
        for name, response, matrix in zip(leaves, responses, matrices, strict=True):
            values = np.asarray(response)
            orbit.check_finite(name, values, both)
            sums[name].add(some, values, matrix, weight)
        if execution.progress is not None:
            done = 2 * min(start + step, len(rotations))
            execution.progress(done, 2 * len(rotations))
    return {
        name: one.finish(name, problem.outputs[name].unit) for name, one in sums.items()
    }
