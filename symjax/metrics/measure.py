"""The measurement: orbit responses in, moments and spectra out.

Arguments are checked and described, the elements chosen, the stream planned and run
(:mod:`symjax.metrics.streaming`), and its sums turned into results with a verdict.
Memory does not grow with the number of elements. Where the coefficients of all
leaves together would exceed the memory budget, leaves are measured in several passes
over the orbit, large ones in pieces.
"""

import dataclasses
import functools
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from scipy.spatial.transform import Rotation

from symjax.errors import AliasingError, ArgumentError, GridError
from symjax.metrics import convergence, inputs, orbit, preflight
from symjax.metrics import symmetry as symmetries
from symjax.metrics.adaptive import Adaptive, climb
from symjax.metrics.finishing import Coarser, Streamed
from symjax.metrics.leaves import Leaf, Piece, spherical_values
from symjax.metrics.moments import Moments
from symjax.metrics.planning import DEFAULT_MEMORY, Checks, Elements, plan_passes
from symjax.metrics.problem import (
    Execution,
    Prepared,
    Problem,
    Progress,
    as_problem,
    check_degree,
    is_integer,
    prepare,
    run,
)
from symjax.metrics.response_spectrum import (
    ResponseSpectrum,
    ResponseSums,
    add_spectra,
)
from symjax.metrics.results import (
    LeafMeasurement,
    Measurement,
    RandomCheck,
    RuleTotals,
    Totals,
    unflatten_mean,
)
from symjax.metrics.streaming import check_rotations, stream
from symjax.metrics.symmetry import LeafSymmetry
from symjax.so3.quadrature import Quadrature, quadrature
from symjax.so3.reduction import ReducedRule, reduce_rule
from symjax.so3.representations import VECTOR

# Relative errors of which it is asked whether something does not turn that should.
_LARGE_ERROR = 1e-2
_METHODS = ("factorised", "dense")
# Relative error, in epsilon, below which that of a fixed grid may be round-off.
CANCELLED = 1e3
_ALIASING = ("raise", "report")


def measure(
    problem: Problem | Callable[..., Any] | orbit.HostFunction,
    x: Any = None,
    *,
    representations: Any = None,
    action: Any = VECTOR,
    args: tuple[Any, ...] = (),
    over: Any = None,
    max_degree: int = 6,
    memory: int = DEFAULT_MEMORY,
    batch_size: int | None = None,
    progress: Progress | None = None,
    devices: Sequence[jax.Device] | None = None,
    **unknown: Any,
) -> Any:
    """Measures how equivariant a function is, and which irreps its outputs carry.

    For every output leaf with representation rho: the mean, the variance V and the
    equivariance error A of the back-rotated response z(g) = rho(g)^-1 f(g x), and
    the content B_{l,sigma} of the direct response u(g) = f(g x) in every sector of
    O(3) through ``max_degree``; definitions in :mod:`symjax.metrics.results`, from
    Domina et al., arXiv:2603.24638.

    Args:
      problem: A :class:`~symjax.metrics.Problem`. Or, for short, a function ``f(x,
        *args)`` with its ``x`` and ``representations``; see there.
      x: Input pytree of a function.
      representations: For every output leaf of a function the representation it
        carries: one representation, or a pytree prefix of the output. ``FEATURE`` for
        features.
      action: How O(3) acts on the ``x`` of a function.
      args: Further arguments of a function that do not transform.
      over: What to integrate over: :class:`~symjax.metrics.Grid`, of degree ``2 *
        max_degree + 1`` by default; :class:`~symjax.metrics.Adaptive` to climb until a
        requested accuracy is certified; :class:`~symjax.metrics.HaarSamples` for
        unbiased estimates with standard errors; or a finite group of
        :func:`symjax.so3.finite_group`.
      max_degree: Largest degree L of the projected sectors; not used by a finite group,
        which has irreps of its own.
      memory: Budget in bytes for responses, coefficients and intermediates.
      batch_size: Elements evaluated at once on each device; chosen from the budget
        by default.
      progress: Called with the number of elements done and their total.
      devices: Devices that share the elements, for instance ``jax.devices()``; the
        sums stay on the first. JAX's default device if not given.
      **unknown: None; the error says what is meant.

    Returns:
      The measurement, a mapping from output names to leaves: a
      :class:`~symjax.metrics.Measurement`, over a finite group a
      :class:`~symjax.metrics.FiniteMeasurement`. An output that is a single array is
      named ``"output"``; others have the path of their key.

    Raises:
      ArgumentError: An argument has an impossible value.
      RepresentationError: A representation does not fit its output.
      GridError: The grid is too coarse for ``max_degree``.
      AliasingError: The grid does not resolve the response.

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.metrics import measure
      >>> from symjax.so3 import VECTOR
      >>> x = jnp.array([[1.0, 0.0, 0.0], [0.0, 2.0, 0.5]])
      >>> result = measure(lambda x: x.sum(0), x, representations=VECTOR, max_degree=2)
      >>> result["output"].relative_error < 1e-6
      True
      >>> round(result["output"].content_of("1+"), 5)
      1.0
    """
    inputs.check_known(unknown)
    check_degree(max_degree)
    execution = Execution(memory, batch_size, progress, devices)
    given = as_problem(problem, x, representations, action, args)
    prepared = prepare(given, execution, representations)
    try:
        measured = run(Grid() if over is None else over, prepared, max_degree)
    except AliasingError as error:
        hint = _hint_of_cell(prepared, prepared.args)
        if not hint:
            raise
        remedy = f"{hint} If it does: {error.remedy}"
        raise AliasingError(
            error.argument, error.value, error.problem, remedy
        ) from error
    for leaf in measured.values() if isinstance(measured, Measurement) else ():
        hint = leaf.hint
        if not hint and leaf.relative_error > _LARGE_ERROR:
            refused = leaf.convergence and not leaf.convergence.resolved
            hint = _hint_of_cell(prepared, prepared.args if refused else ())
        if hint:
            warnings.warn(f"{leaf.name}: {hint}", stacklevel=2)
    return measured


def _hint_of_cell(prepared: Prepared, args: tuple[Any, ...]) -> str:
    """A question, where a response is not equivariant and something does not turn."""
    names = preflight.unmoved(prepared.action, prepared.x, args)
    if not names:
        return ""
    return f"Does the cell turn too? {', '.join(names)} is not moved by the action."


@dataclasses.dataclass(frozen=True)
class Grid:
    """A quadrature over O(3), exact to its degree.

    Attributes:
      rule: Degree of the quadrature, ``2 * max_degree + 1`` if None, or a
        :class:`~symjax.so3.Quadrature`.
      tolerance: Change of B between nested grids above which a response counts as
        not resolved.
      on_aliasing: ``"raise"``, or ``"report"`` to return the verdict instead.
      method: ``"factorised"`` (in-plane transform first) or ``"dense"``.

    Raises:
      ArgumentError: An attribute has an impossible value.

    Example:
      >>> from symjax.metrics import Grid
      >>> Grid().of_degree(6).degree
      13
    """

    rule: int | Quadrature | None = None
    tolerance: float = 0.05
    on_aliasing: str = "raise"
    method: str = "factorised"

    def __post_init__(self) -> None:
        rule = self.rule
        if rule is not None and not (is_integer(rule) or isinstance(rule, Quadrature)):
            raise ArgumentError(
                "rule",
                rule,
                "is neither a degree nor a rule",
                "Use Grid(13), or Adaptive() to let it be chosen",
            )
        if self.method not in _METHODS:
            raise ArgumentError(
                "method", self.method, "is unknown", f"Use one of {', '.join(_METHODS)}"
            )
        if self.on_aliasing not in _ALIASING:
            raise ArgumentError(
                "on_aliasing",
                self.on_aliasing,
                "is unknown",
                "Use 'raise' or 'report'",
            )
        if not 0 < self.tolerance < 1:
            raise ArgumentError(
                "tolerance",
                self.tolerance,
                "is not between 0 and 1",
                "Use for instance 0.05",
            )

    def of_degree(self, max_degree: int) -> Quadrature:
        """The rule that projects through a degree.

        Args:
          max_degree: Largest degree of the projected sectors.

        Returns:
          The rule.

        Raises:
          GridError: It is too coarse.
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
    chosen = rule if isinstance(over.rule, Quadrature) else rule.degree
    return on_rule(over, chosen, prepared, verify(prepared), max_degree)


@run.register
def _(over: Adaptive, prepared: Prepared, max_degree: int) -> Measurement:
    verified = verify(prepared)
    how = Grid(tolerance=over.content_tolerance, on_aliasing="report")
    drawn: list[Checks] = []

    def rung(degree: int, projected: int, draw: int) -> Measurement:
        if draw == len(drawn):
            seed = 1000 * over.seed + draw
            random = Rotation.random(over.samples, random_state=seed)
            drawn.append(Checks(random.as_matrix()))
        return on_rule(how, degree, prepared, verified, projected, drawn[draw])

    return climb(over, rung, max_degree)


def on_rule(
    how: Grid,
    chosen: int | Quadrature,
    prepared: Prepared,
    verified: "Verified | None",
    max_degree: int,
    checks: Checks | None = None,
) -> Measurement:
    """Measures on one rule; ``checks`` are shared with the other rules of a climb."""
    function, action, x, args, leaves = (
        *(prepared.function, prepared.action, prepared.x, prepared.args),
        prepared.leaves,
    )
    execution = prepared.execution
    reduced = None
    symmetric = {}
    if verified is not None:
        reduced = reduce_rule(chosen, verified.elements)
        symmetric = verified.on(reduced)
    full = chosen if isinstance(chosen, Quadrature) else quadrature(chosen)
    grid = Elements(full, reduced, checks)
    passes = plan_passes(
        function,
        action,
        x,
        args,
        leaves,
        grid,
        max_degree,
        method=how.method,
        memory=execution.memory,
        batch_size=execution.batch_size,
        divisible=not symmetric,
        devices=prepared.devices,
    )
    total = grid.num_elements * len(passes)
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
        if execution.progress is not None:
            watch = functools.partial(
                _report_progress, execution.progress, number * grid.num_elements, total
            )
        streamed = stream(
            function,
            action,
            x,
            args,
            pieces,
            tuple(leaves[piece.name].index for piece in pieces),
            grid,
            symmetric,
            plan,
            watch,
            sums_of,
        )
        for piece, sums in zip(pieces, streamed, strict=True):
            gathered[piece.name].append((piece.start, sums))
        for name, one in sums_of.items():
            found = one.finish(name, prepared.outputs[name])
            responses.setdefault(name, []).append(found)
    rule = grid.rule
    joined = {name: _joined(parts) for name, parts in gathered.items()}
    for name, sums in joined.items():
        if not sums.is_finite:
            _check_finite(prepared, grid, name)
    ordered = {
        name: _conclude(
            *(name, leaf, joined[name], prepared.masks[name]),
            *(grid, how.tolerance),
        )
        for name, leaf in leaves.items()
    }
    for name, parts in responses.items():
        variance = float(ordered[name].totals().variance.sum())
        whole = dataclasses.replace(add_spectra(parts), variance=variance)
        ordered[name] = dataclasses.replace(ordered[name], response=whole)
    if how.on_aliasing == "raise":
        for name, leaf in ordered.items():
            if leaf.convergence is not None and not leaf.convergence.resolved:
                raise convergence.refuse(name, rule.degree, leaf.convergence)
    return Measurement(ordered, rule.name, rule.degree, grid.num_elements, max_degree)


def _new_samples(
    prepared: Prepared, piece: Piece, before: list[tuple[int, Streamed]]
) -> np.ndarray:
    """Real samples of a piece that no piece before it has."""
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
    """A symmetry that the function was seen to obey."""

    elements: np.ndarray
    permutations: dict[str, np.ndarray]
    deviations: dict[str, float]

    def on(self, reduced: ReducedRule) -> dict[str, LeafSymmetry]:
        """What a rule makes use of."""
        used = self.elements[reduced.index]
        return {
            name: LeafSymmetry(
                reduced, used, permutation[reduced.index], self.deviations[name]
            )
            for name, permutation in self.permutations.items()
        }


_spherical_values = jax.jit(spherical_values, static_argnums=0)


def verify(prepared: Prepared) -> Verified | None:
    """Checks u(g h) = u(g)[p] for every leaf; see ``metrics.symmetry``."""
    symmetry, leaves = prepared.symmetry, prepared.leaves
    if symmetry is None or symmetry.order <= 1:
        return None
    permutations = {
        name: symmetry.of_leaf(name, leaf.num_samples) for name, leaf in leaves.items()
    }
    epsilon = max(float(np.finfo(leaf.compute_dtype).eps) for leaf in leaves.values())
    elements, chosen = symmetries.probe(symmetry.elements, epsilon)
    responses = orbit.respond(
        prepared.function,
        prepared.action,
        prepared.x,
        elements,
        args=prepared.args,
        keep=tuple(leaf.index for leaf in leaves.values()),
        batch_size=len(elements),
    )
    deviations = {}
    for (name, leaf), values in zip(leaves.items(), responses, strict=True):
        admitted = max(1e-5, 1e3 * float(np.finfo(leaf.compute_dtype).eps))
        deviations[name] = symmetries.check_responses(
            name,
            np.asarray(_spherical_values(leaf.compact, values)),
            permutations[name],
            chosen,
            prepared.masks[name].reshape(-1),
            symmetry.tolerance or admitted,
        )
    return Verified(symmetry.elements, permutations, deviations)


def _joined(pieces: list[tuple[int, Streamed]]) -> Streamed:
    """One leaf from its pieces; a piece may repeat samples of the one before."""
    if len(pieces) == 1:
        return pieces[0][1]

    def join(field: Callable[[Streamed], np.ndarray], axis: int = 0) -> np.ndarray:
        parts: list[np.ndarray] = []
        known = 0
        for start, piece in pieces:
            part = field(piece)
            parts.append(np.take(part, range(known - start, part.shape[axis]), axis))
            known = start + part.shape[axis]
        return np.concatenate(parts, axis)

    def moments_of(field: Callable[[Streamed], Moments]) -> Moments:
        def column(index: int) -> np.ndarray:
            return join(lambda piece: field(piece)[index])

        return Moments(*map(column, range(len(Moments._fields))))

    def coarser_of(rule: int) -> Coarser:
        def column(index: int) -> np.ndarray:
            return join(lambda piece: piece.coarser[rule][index])

        return Coarser(*map(column, range(len(Coarser._fields))))

    return Streamed(
        moments_of(lambda piece: piece.fine),
        join(lambda piece: piece.power),
        tuple(map(coarser_of, range(len(pieces[0][1].coarser)))),
        join(lambda piece: piece.misfit, axis=1),
        join(lambda piece: piece.overlap, axis=1),
        join(lambda piece: piece.spread, axis=1),
        join(lambda piece: piece.round_off),
    )


def _conclude(
    name: str,
    leaf: Leaf,
    sums: Streamed,
    mask: np.ndarray,
    elements: Elements,
    tolerance: float,
) -> LeafMeasurement:
    """Ratios, clamped round-off, and the verdict."""
    representation = leaf.representation
    samples, _, channels = leaf.axes
    epsilon = float(np.finfo(leaf.compute_dtype).eps)
    fine, power, degree = sums.fine, sums.power, elements.rule.degree
    max_degree = power.shape[2] - 1
    # Sums over the real samples decide; padding must not.
    real = mask.reshape(-1)
    _check_signs(name, elements, fine, real)
    variance = float(fine.variance[real].sum())
    norm = float(fine.norm[real].sum())
    check = None
    if norm > 0:
        misfit = sums.misfit[:, real].sum(axis=1)
        spread = sums.spread[:, real].sum(axis=1)
        missing = norm - float(power[real].sum())
        nested = sums.coarser[0]
        above = float(misfit.mean()) / max(2 * variance, 1e-300)
        off = abs(float(spread.mean()) - variance)
        off_error = float(spread.std(ddof=1)) / np.sqrt(len(spread))
        # A rule may be exact for the squares of what is not projected, and noise is
        # above every degree: that V is wrong, random elements must say.
        agrees = off <= max(6 * off_error, variance / 2)
        # Sums that cancel within a function leave hundreds of epsilon of noise, and a
        # grid may meet less of it than random elements do.
        if variance <= (CANCELLED * epsilon) ** 2 * norm or agrees:
            above = 0.0
        # The degrees for which the nested rule is exact if the response is resolved.
        comparable = max(min(max_degree, elements.nested[0][0] - max_degree) + 1, 0)
        verdict = convergence.judge(
            content=power[real].sum(axis=(0, 1)) / norm,
            coarse_content=nested.power[real].sum(axis=(0, 1))[:comparable] / norm,
            error=float(np.sqrt(max(variance, 0.0))),
            coarse_error=float(np.sqrt(max(nested.variance[real].sum(), 0.0))),
            variance=variance,
            noise=float(fine.noise[real].sum()),
            excess=(float(misfit.mean()) - missing) / norm,
            excess_error=float(misfit.std(ddof=1)) / np.sqrt(len(misfit)) / norm,
            error_uncertainty=above,
            degree=degree,
            tolerance=tolerance,
        )
        check = _random_check(
            misfit / norm,
            missing / norm,
            2 * sums.overlap[:, real].sum(axis=1) / norm,
            spread / max(variance, epsilon**2 * norm),
            max(epsilon, 0.1 * float(np.sqrt(sums.round_off[real].sum() / norm))),
        )
    else:
        verdict = convergence.Convergence(True, 0.0, 0.0, 0.0, degree)
    # Otherwise JAX would round the mean to float32.
    with jax.enable_x64(True):
        mean = unflatten_mean(representation, fine.mean, samples)
    return LeafMeasurement(
        name,
        representation,
        mean,
        np.maximum(fine.variance, 0.0).reshape(*samples, -1),
        np.maximum(fine.norm, 0.0).reshape(*samples, -1),
        power.reshape(*samples, *power.shape[1:]),
        mask,
        channels,
        verdict,
        check=check,
        coarser=_coarser(leaf, sums, real, elements),
    )


def _coarser(
    leaf: Leaf, sums: Streamed, real: np.ndarray, elements: Elements
) -> tuple[RuleTotals, ...]:
    """Totals under the nested rules, the coarsest first."""
    if elements.climbing:
        return ()
    sizes = np.array([irrep.dimension for irrep in leaf.representation.irreps], float)
    count = sizes * int(real.sum()) * leaf.axes[2]
    found = [
        RuleTotals(
            degree,
            elements.num_nested_elements(weights),
            Totals(
                np.maximum(part.variance[real].sum(axis=0), 0.0),
                part.norm[real].sum(axis=0),
                part.power[real].sum(axis=0),
                count,
            ),
        )
        for part, (degree, weights) in zip(sums.coarser, elements.nested, strict=True)
    ]
    return tuple(found[::-1])


def _random_check(
    misfit: np.ndarray,
    missing: float,
    overlap: np.ndarray,
    spread: np.ndarray,
    epsilon: float,
) -> RandomCheck:
    """Means over the random elements and their standard errors."""

    def error(values: np.ndarray) -> float:
        return float(values.std(ddof=1)) / float(np.sqrt(len(values)))

    return RandomCheck(
        num=len(misfit),
        misfit=float(misfit.mean()),
        misfit_error=error(misfit),
        excess=float(misfit.mean()) - missing,
        excess_error=error(misfit),
        overlap=float(overlap.mean()),
        overlap_error=error(overlap),
        spread=float(spread.mean()) - 1.0,
        spread_error=error(spread),
        round_off=epsilon,
    )


def _check_signs(
    name: str, elements: Elements, fine: Moments, real: np.ndarray
) -> None:
    """Raises where a mean of squares is negative beyond round-off: it is no number."""
    if elements.rule.sphere_weights.min() >= 0:
        return
    noise = fine.noise[real]
    # The norm is a sum of squares around 0, whose round-off is relative to all of it.
    bounds = (
        ("variance", fine.variance[real], -noise),
        ("norm", fine.norm[real], -noise - 1e-12 * np.abs(fine.norm[real])),
    )
    for quantity, values, bound in bounds:
        if (values < bound).any():
            raise AliasingError(
                "rule",
                elements.full.name,
                f"gives {name!r} a {quantity} of {float((values - bound).min()):.1e}, "
                "below 0 by more than round-off: some of its weights are negative",
                f"Use the default rule, Grid({elements.full.degree})",
            )


def _check_finite(prepared: Prepared, elements: Elements, name: str) -> None:
    """Raises with the first element at which an output is not finite."""
    leaf = prepared.leaves[name]
    places = [elements.place(elements.rule.rotations)]
    checks = elements.checks
    places.append(check_rotations(elements) if checks is None else checks.rotations)
    proper = np.concatenate(places)
    both = np.stack([proper, -proper], axis=1).reshape(-1, 3, 3)
    batch = prepared.execution.batch_size or 32
    for start in range(0, len(both), batch):
        chunk = both[start : start + batch]
        (values,) = orbit.respond_in_batches(
            prepared.function,
            prepared.action,
            prepared.x,
            chunk,
            args=prepared.args,
            keep=(leaf.index,),
            batch_size=batch,
        )
        orbit.check_finite(name, np.asarray(values), chunk)
    raise ArgumentError(
        name,
        float("nan"),
        "the function returned values that are not finite, and not again at the same "
        "elements",
        "Let it return the same numbers for the same input",
    )
