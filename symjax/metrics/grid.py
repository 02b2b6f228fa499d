"""Measurements on a quadrature over O(3).

The evaluations are planned (:mod:`symjax.metrics.planning`) and streamed
(:mod:`symjax.metrics.streaming`), and their sums turned into results with a verdict.
Memory does not grow with the number of elements. If the coefficients of all outputs
together would exceed the budget, outputs are measured in several passes over the orbit,
large ones in pieces.
"""

import dataclasses
import functools

import numpy as np
from scipy.spatial.transform import Rotation

from symjax.errors import ArgumentError, GridError
from symjax.metrics import arguments, convergence, orbit, stabilizer
from symjax.metrics.adaptive import Adaptive, climb
from symjax.metrics.conclusion import conclude, join
from symjax.metrics.finishing import Streamed
from symjax.metrics.pieces import Piece, spherical_values
from symjax.metrics.planning import Checks, Elements, plan_passes
from symjax.metrics.problem import Prepared, Progress, run
from symjax.metrics.response_spectrum import (
    ResponseSpectrum,
    ResponseSums,
    add_spectra,
)
from symjax.metrics.results import Measurement
from symjax.metrics.slots import check_rotations
from symjax.metrics.stabilizer import LeafSymmetry
from symjax.metrics.streaming import stream
from symjax.so3.quadratures import Quadrature, quadrature
from symjax.so3.reduction import ReducedRule, reduce_rule


@dataclasses.dataclass(frozen=True)
class Grid:
    """A quadrature over O(3), exact to its degree.

    Attributes:
      rule: Degree of the quadrature, or a :class:`~symjax.so3.Quadrature`; None for
        degree ``2 * max_degree + 1``.
      tolerance: Change of B between nested grids above which a response is considered
        not resolved.
      on_aliasing: What to do if a response is not resolved: ``"raise"`` an error, or
        ``"report"`` the verdict with the result.

    Raises:
      ArgumentError: An attribute has an invalid value.

    Example:
      >>> from symjax.metrics import Grid
      >>> Grid().of_degree(6).degree
      13
    """

    rule: int | Quadrature | None = None
    tolerance: float = 0.05
    on_aliasing: str = "raise"

    def __post_init__(self) -> None:
        rule = self.rule
        if rule is not None and not (
            arguments.is_integer(rule) or isinstance(rule, Quadrature)
        ):
            raise ArgumentError(
                "rule",
                rule,
                "is neither a degree nor a rule",
                "Use Grid(13), or Adaptive() to let it be chosen",
            )
        arguments.check_choice("on_aliasing", self.on_aliasing, arguments.ALIASING)
        arguments.check_fractions(self, "tolerance")

    def of_degree(self, max_degree: int) -> Quadrature:
        """The rule for a measurement with some ``max_degree``.

        Raises:
          GridError: The rule is too coarse to project through this degree, or there is
            no rule of the requested degree.
        """
        rule = 2 * max_degree + 1 if self.rule is None else self.rule
        if not isinstance(rule, Quadrature):
            rule = quadrature(rule)
        if rule.degree < 2 * max_degree:
            raise GridError(
                "grid",
                rule.degree,
                f"is too coarse to project to max_degree={max_degree}: products of "
                f"two such sectors have degree {2 * max_degree}",
                f"Use Grid({2 * max_degree + 1}), or max_degree={rule.degree // 2}",
            )
        return rule


@run.register
def _(over: Grid, prepared: Prepared, max_degree: int) -> Measurement:
    rule = over.of_degree(max_degree)
    given = rule if isinstance(over.rule, Quadrature) else rule.degree
    return on_rule(over, given, prepared, verify(prepared), max_degree)


@run.register
def _(over: Adaptive, prepared: Prepared, max_degree: int) -> Measurement:
    verified = verify(prepared)
    grid = Grid(tolerance=over.content_tolerance, on_aliasing="report")
    drawn: list[Checks] = []

    def rung(degree: int, projected: int, draw: int) -> Measurement:
        if draw == len(drawn):
            seed = 1000 * over.seed + draw
            random = Rotation.random(over.samples, random_state=seed)
            drawn.append(Checks(random.as_matrix()))
        return on_rule(grid, degree, prepared, verified, projected, drawn[draw])

    return climb(over, rung, max_degree)


def on_rule(
    grid: Grid,
    rule: int | Quadrature,
    prepared: Prepared,
    verified: "Verified | None",
    max_degree: int,
    checks: Checks | None = None,
) -> Measurement:
    """Measures on one rule, which replaces that of ``grid``.

    Rules of an adaptive measurement share their ``checks``.
    """
    leaves, progress = prepared.leaves, prepared.execution.progress
    reduced = None
    symmetric = {}
    if verified is not None:
        reduced = reduce_rule(rule, verified.elements)
        symmetric = verified.on(reduced)
    full = rule if isinstance(rule, Quadrature) else quadrature(rule)
    elements = Elements(full, reduced, checks)
    passes = plan_passes(prepared, elements, max_degree, divisible=not symmetric)
    total = elements.num_elements * len(passes)
    gathered: dict[str, list[tuple[int, Streamed]]] = {name: [] for name in leaves}
    responses: dict[str, list[ResponseSpectrum]] = {}
    for number, (pieces, plan) in enumerate(passes):
        sums_of = {
            piece.name: ResponseSums(
                piece.whole,
                _new_samples(prepared, piece, gathered[piece.name]),
                max_degree,
                symmetric.get(piece.name),
            )
            for piece in pieces
            if piece.name in prepared.outputs
        }
        watch = None
        if progress is not None:
            done = number * elements.num_elements
            watch = functools.partial(_report_progress, progress, done, total)
        streamed = stream(prepared, pieces, elements, symmetric, plan, watch, sums_of)
        for piece, sums in zip(pieces, streamed, strict=True):
            gathered[piece.name].append((piece.start, sums))
        for name, response_sums in sums_of.items():
            spectrum = response_sums.finish(name, prepared.outputs[name])
            responses.setdefault(name, []).append(spectrum)
    ordered = {}
    for name, parts in gathered.items():
        sums = join(parts)
        if not sums.is_finite:
            _check_finite(prepared, elements, name)
        ordered[name] = conclude(
            name, leaves[name], sums, prepared.masks[name], elements, grid.tolerance
        )
    for name, spectra in responses.items():
        variance = float(ordered[name].totals().variance.sum())
        response = dataclasses.replace(add_spectra(spectra), variance=variance)
        ordered[name] = dataclasses.replace(ordered[name], response=response)
    if grid.on_aliasing == "raise":
        for name, leaf in ordered.items():
            if leaf.convergence is not None and not leaf.convergence.resolved:
                raise convergence.refuse(name, elements.rule.degree, leaf.convergence)
    return Measurement(
        ordered,
        elements.rule.name,
        elements.rule.degree,
        elements.num_elements,
        max_degree,
    )


def _new_samples(
    prepared: Prepared, piece: Piece, before: list[tuple[int, Streamed]]
) -> np.ndarray:
    """Which real samples of a piece were in no earlier piece."""
    real = prepared.masks[piece.name].reshape(-1)
    index = np.arange(len(real))
    first = piece.start
    if before:
        start, last = before[-1]
        first = max(first, start + len(last.power))
    return real & (index >= first) & (index < piece.start + piece.num_samples)


def _report_progress(progress: Progress, before: int, total: int, done: int) -> None:
    progress(before + done, total)


@dataclasses.dataclass(frozen=True)
class Verified:
    """A symmetry that the function was found to obey."""

    elements: np.ndarray
    permutations: dict[str, np.ndarray]
    deviations: dict[str, float]

    def on(self, reduced: ReducedRule) -> dict[str, LeafSymmetry]:
        """The part of the symmetry that a reduced rule uses, by name of the output."""
        used = self.elements[reduced.index]
        return {
            name: LeafSymmetry(
                reduced, used, permutation[reduced.index], self.deviations[name]
            )
            for name, permutation in self.permutations.items()
        }


def verify(prepared: Prepared) -> Verified | None:
    """Checks u(g h) = u(g)[p] for every output; see ``metrics.stabilizer``."""
    symmetry, leaves = prepared.symmetry, prepared.leaves
    if symmetry is None or symmetry.order <= 1:
        return None
    permutations = {
        name: symmetry.of_leaf(name, leaf.num_samples) for name, leaf in leaves.items()
    }
    epsilon = max(leaf.epsilon for leaf in leaves.values())
    elements, chosen = stabilizer.probe(symmetry.elements, epsilon)
    responses = prepared.respond(elements, leaves.values(), len(elements))
    deviations = {}
    for (name, leaf), values in zip(leaves.items(), responses, strict=True):
        admitted = max(1e-5, 1e3 * leaf.epsilon)
        deviations[name] = stabilizer.check_responses(
            name,
            spherical_values(leaf.compact, np.asarray(values)),
            permutations[name],
            chosen,
            prepared.masks[name].reshape(-1),
            symmetry.tolerance or admitted,
        )
    return Verified(symmetry.elements, permutations, deviations)


def _check_finite(prepared: Prepared, elements: Elements, name: str) -> None:
    """Raises with the first element at which an output is not finite."""
    leaf = prepared.leaves[name]
    places = [elements.place(elements.rule.rotations)]
    checks = elements.checks
    places.append(check_rotations(elements) if checks is None else checks.rotations)
    proper = np.concatenate(places)
    both = orbit.with_negatives(proper)
    batch = prepared.execution.batch_size or 32
    for start in range(0, len(both), batch):
        chunk = both[start : start + batch]
        (values,) = prepared.respond(chunk, [leaf], batch, in_batches=True)
        orbit.check_finite(name, np.asarray(values), chunk)
    raise ArgumentError(
        name,
        float("nan"),
        "the function returned values that are not finite, but finite ones when called "
        "again at the same elements",
        "Make the function deterministic",
    )
