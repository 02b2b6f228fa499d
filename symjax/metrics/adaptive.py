"""Rules of growing degree, until the result is certified to a requested accuracy.

At degree d the response is projected through d // 2, but not beyond the larger of
max_degree and 12. Six quantities are compared for every output:

- *change*: how much each B, and A, differ from those of the previous rule. This is
  about the error of the previous rule; twice the change is taken as the uncertainty of
  the present one. Two changes are needed; if they grow, their sum is used instead.
- *nested*: the same between the rule and a coarser one on a subset of its nodes,
  for the sectors that the coarser one should resolve.
- *tail*: the mean squared difference between the response and its projected sectors at
  Haar-random elements that no rule contains. It estimates, without bias, the content
  above the projected degrees plus what was aliased. Sectors that were not projected are
  reported as 0, with the tail as the uncertainty of each. What the rule aliases into V
  is of the same size, which bounds the uncertainty of A from below. All rules are
  compared with the same elements, which are evaluated once. If only these elements
  contradict a rule, new ones are drawn for the next rule, so that a chance fluctuation
  does not persist.
- *excess*: the difference between the tail at random elements and that on the rule,
  which does not see what it has aliased.
- *overlap*: twice the inner product of the projected sectors with what they miss, at
  the random elements; 0 unless aliased content interferes with a sector.
- *spread*: the mean of ||z - mean||^2 at the same elements, an unbiased estimate of
  V + ||error of mean||^2.

The uncertainties are estimates. The measurement ends when each is within its tolerance
and neither excess, overlap nor spread contradicts the rule beyond chance.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping

import numpy as np

from symjax.errors import AliasingError, ArgumentError
from symjax.metrics import arguments
from symjax.metrics.planning import Checks
from symjax.metrics.results import LeafMeasurement, Measurement, RuleTotals
from symjax.metrics.verdicts import CONFIDENCE, Certificate, RandomCheck
from symjax.so3.quadratures import quadrature
from symjax.so3.sampling import check_rotations_fit

_LADDER = (5, 7, 9, 11, 15, 19, 23, 29, 35, 47, 59, 77, 95, 125)
# Random elements contradict a rule beyond this many standard errors. With a comparison
# for every output and rule, 3 would be exceeded by chance.
_SIGNIFICANCE = 4.0
# Factor on the last change, which is the error of the previous rule.
_SAFETY = 2.0
# Sectors through this degree are projected even if they are not requested, because the
# content above them determines the uncertainty of A.
_LEAST_PROJECTED = 12
ROUND_OFF = 30.0
"""A relative error below this multiple of the round-off of the response counts as 0."""


@dataclasses.dataclass(frozen=True)
class Adaptive:
    """Rules of growing degree, until a requested accuracy is certified.

    Attributes:
      content_tolerance: Accepted error of each B.
      error_tolerance: Accepted relative error of A.
      limit: Largest degree of a rule that is tried.
      samples: Number of random rotations R, paired with -R, at which every rule is
        checked; they bound what a certificate can have missed. The function is
        evaluated there once and its outputs are kept; for a large layer only as many
        as fit into 16 MiB, at least 32.
      seed: Seed of the random rotations.
      outputs: Names of the outputs that must reach the tolerances; None for all.
      on_aliasing: What to do if the limit is reached before the tolerances: ``"raise"``
        an error, or ``"report"`` the result with its certificates.

    Raises:
      ArgumentError: An attribute has an invalid value.

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.metrics import Adaptive, measure
      >>> from symjax.so3 import VECTOR
      >>> x = jnp.array([[1.0, 0.0, 0.0], [0.0, 2.0, 0.5]])
      >>> f = lambda x: x.sum(0) + 0.1 * jnp.sin(x[0])
      >>> result = measure(f, x, representations=VECTOR, over=Adaptive())
      >>> result["output"].certificate.certified
      True
    """

    content_tolerance: float = 1e-3
    error_tolerance: float = 1e-2
    limit: int = 59
    samples: int = 600
    seed: int = 0
    outputs: tuple[str, ...] | None = None
    on_aliasing: str = "raise"

    def __post_init__(self) -> None:
        arguments.check_choice("on_aliasing", self.on_aliasing, arguments.ALIASING)
        arguments.check_fractions(self, "content_tolerance", "error_tolerance")
        arguments.check_integers(self, limit=5, samples=8, seed=0)
        check_rotations_fit("samples", self.samples)
        if self.outputs is not None:
            remedy = "Pass ('energy',), or leave it out for all outputs"
            arguments.check_type("outputs", self.outputs or None, tuple | list, remedy)

    @property
    def ladder(self) -> tuple[int, ...]:
        """Degrees of the rules; each costs 1.5 to 2.5 times as much as the previous."""
        known = tuple(degree for degree in _LADDER if degree <= self.limit)
        while (following := round(1.3 * known[-1]) | 1) <= self.limit and (
            known[-1] >= _LADDER[-1]
        ):
            known += (following,)
        return known

    @property
    def most_elements(self) -> int:
        """Evaluations if all rules through ``limit`` are used, without symmetry."""
        rules = sum(quadrature(degree).num_rotations for degree in self.ladder)
        return 2 * (rules + self.samples + Checks.NUM_TURNED)


def climb(
    adaptive: Adaptive,
    rung: Callable[[int, int, int], Measurement],
    max_degree: int,
) -> Measurement:
    """Measures on rules of growing degree until the tolerances are reached.

    Args:
      adaptive: Tolerances and limits.
      rung: Function of (degree of the rule, largest projected degree, number of the
        draw of random elements) that measures on one rule and reports its verdicts
        without raising.
      max_degree: Largest degree of the requested sectors.

    Returns:
      The measurement on the last rule, with a certificate for every output.

    Raises:
      ArgumentError: ``adaptive.outputs`` contains a name that is not an output.
      AliasingError: The limit was reached before the tolerances.
    """
    history: list[Measurement] = []
    evaluations = draw = 0
    certificates: dict[str, Certificate] = {}
    for degree in adaptive.ladder:
        projected = min(max(max_degree, _LEAST_PROJECTED), degree // 2)
        history.append(rung(degree, projected, draw))
        evaluations += history[-1].num_elements
        chosen = _chosen(adaptive, history[-1])
        certificates = {
            name: certify(adaptive, [m[name] for m in history[-3:]], degree, max_degree)
            for name in history[-1]
        }
        if all(certificates[name].certified for name in chosen):
            break
        if all(is_within(adaptive, certificates[name]) for name in chosen):
            draw += 1
    last = history[-1]
    leaves = {
        name: dataclasses.replace(
            leaf,
            power=_padded(leaf.power, max_degree),
            certificate=certificates[name],
            coarser=tuple(_rung(one, name, max_degree) for one in history[:-1]),
        )
        for name, leaf in last.items()
    }
    failed = [name for name in chosen if not certificates[name].certified]
    if failed and adaptive.on_aliasing == "raise":
        worst = certificates[failed[0]]
        raise AliasingError(
            "grid",
            adaptive,
            f"{failed[0]!r} is not certified at degree {worst.degree}: the uncertainty "
            f"of each B is {worst.content_uncertainty:.1e}, that of A "
            f"{worst.error_uncertainty:.1%} ({worst.reason})",
            f"Try Adaptive(limit={worst.degree_to_try}), looser tolerances, or "
            "Adaptive(on_aliasing='report')",
        )
    return dataclasses.replace(
        last,
        leaves=leaves,
        grid=f"adaptive: {last.grid}",
        num_elements=evaluations,
        max_degree=max_degree,
    )


def _rung(measurement: Measurement, name: str, max_degree: int) -> RuleTotals:
    """A point of the convergence curve, through the requested degrees."""
    totals = measurement[name].totals()
    power = totals.power[:, : max_degree + 1]
    assert measurement.degree is not None
    return RuleTotals(
        measurement.degree, measurement.num_elements, totals._replace(power=power)
    )


def _chosen(adaptive: Adaptive, measurement: Mapping[str, object]) -> list[str]:
    if adaptive.outputs is None:
        return list(measurement)
    for name in adaptive.outputs:
        if name not in measurement:
            raise ArgumentError(
                "outputs",
                name,
                "is not the name of an output",
                f"Use one of {', '.join(measurement)}",
            )
    return list(adaptive.outputs)


def is_within(adaptive: Adaptive, certificate: Certificate) -> bool:
    """Whether both uncertainties of a certificate are within the tolerances."""
    return (
        certificate.content_uncertainty <= adaptive.content_tolerance
        and certificate.error_uncertainty <= adaptive.error_tolerance
    )


def _padded(power: np.ndarray, max_degree: int) -> np.ndarray:
    """Power through ``max_degree``, with zeros for sectors that were not projected."""
    missing = max_degree + 1 - power.shape[-2]
    return np.pad(power, [(0, 0)] * (power.ndim - 2) + [(0, max(missing, 0)), (0, 0)])[
        ..., : max_degree + 1, :
    ]


def _remaining(changes: list[float]) -> float:
    """Estimated error after the last of a sequence of changes."""
    if len(changes) < 2:
        return math.inf
    return _SAFETY * (changes[-1] if changes[-1] < changes[-2] else sum(changes[-2:]))


def certify(
    adaptive: Adaptive,
    leaves: list[LeafMeasurement],
    degree: int,
    max_degree: int,
) -> Certificate:
    """The certificate of an output, from its measurements on up to 3 last rules."""
    leaf = leaves[-1]
    verdict, check = leaf.convergence, leaf.check
    assert verdict is not None
    if check is None:
        # The response vanishes on this rule; the change shows whether on others too.
        check = RandomCheck(adaptive.samples, *(9 * [0.0]))
    contents = [_padded(one.content, max_degree) for one in leaves]
    errors = [one.relative_error for one in leaves]
    # A mean of squares: unlike 1 - sum of B, it is accurate even if it is tiny.
    tail = check.misfit + 2 * check.misfit_error
    floor = ROUND_OFF * check.round_off

    content_changes = [
        float(np.abs(b - a).max()) for a, b in itertools.pairwise(contents)
    ]
    content_uncertainty = _remaining(content_changes)
    projected = leaf.content.shape[0] - 1
    if len(leaf.content) <= max_degree:
        content_uncertainty = max(content_uncertainty, tail)

    error_changes = [
        abs(b - a) / max(a, b, floor, 1e-300) for a, b in itertools.pairwise(errors)
    ]
    error_uncertainty = _remaining(error_changes)
    # A at the random elements, in case the rule only shows round-off.
    at_random = math.sqrt(max(1 + check.spread, 0)) * max(errors[-1], check.round_off)
    vanishes = max(errors[-2:]) <= floor
    if vanishes:
        error_uncertainty = 0.0
    elif errors[-1] > 0:
        # What the rule aliases into V is of the size of the tail; half of that in A.
        error_uncertainty = max(error_uncertainty, tail / errors[-1] ** 2 / 2)

    reason = ""
    if len(leaves) < 2:
        reason = "a single rule does not show its error"
    elif not verdict.resolved:
        reason = verdict.reason
    elif vanishes and at_random > floor:
        reason = "A vanishes on the rule, but not at random elements"
    elif check.excess > _SIGNIFICANCE * check.excess_error + floor:
        reason = "random elements show content that the rule has aliased"
    elif abs(check.overlap) > _SIGNIFICANCE * check.overlap_error + floor:
        reason = "at random elements the sectors overlap with what they should miss"
    elif errors[-1] > floor and abs(check.spread) > max(
        _SIGNIFICANCE * check.spread_error, 2 * adaptive.error_tolerance
    ):
        reason = "the variance at random elements differs from that of the rule"
    elif content_uncertainty > adaptive.content_tolerance:
        reason = f"each B is only known to {content_uncertainty:.1e}"
    elif error_uncertainty > adaptive.error_tolerance:
        reason = f"A is only known to {error_uncertainty:.1%}"
    following = next((d for d in _LADDER if d > degree), round(1.3 * degree) | 1)
    return Certificate(
        certified=not reason,
        degree=degree,
        projected_degree=projected,
        content_uncertainty=content_uncertainty,
        error_uncertainty=error_uncertainty,
        tail=tail,
        reason=reason,
        degree_to_try=degree if not reason else following,
        excluded=verdict.excluded,
        confidence=CONFIDENCE,
        noise=floor if vanishes and errors[-1] > 0 else 0.0,
    )
