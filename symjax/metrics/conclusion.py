"""From the results of a stream to a measurement with its verdict."""

import dataclasses

import jax
import numpy as np

from symjax.errors import AliasingError
from symjax.metrics import convergence
from symjax.metrics.finishing import Streamed
from symjax.metrics.moments import Moments
from symjax.metrics.pieces import Leaf
from symjax.metrics.planning import Elements
from symjax.metrics.results import LeafMeasurement, RuleTotals, Totals, unflatten_mean
from symjax.metrics.verdicts import RandomCheck, excluded_part

CANCELLED = 1e3
"""Relative error, in epsilon, below which A on a fixed grid may be round-off."""


def join(pieces: list[tuple[int, Streamed]]) -> Streamed:
    """Joins the pieces of a leaf; a piece may repeat samples of the previous one."""

    def joined(*parts: np.ndarray) -> np.ndarray:
        kept, known = [], 0
        for (start, _), part in zip(pieces, parts, strict=True):
            kept.append(part[known - start :])
            known = start + len(part)
        return np.concatenate(kept)

    out: Streamed = jax.tree.map(joined, *(piece for _, piece in pieces))
    return out


def conclude(
    name: str,
    leaf: Leaf,
    sums: Streamed,
    mask: np.ndarray,
    elements: Elements,
    tolerance: float,
) -> LeafMeasurement:
    """The measurement of one output: clamps round-off, and adds the verdict."""
    representation = leaf.representation
    samples, _, channels = leaf.axes
    epsilon = leaf.epsilon
    fine, power, degree = sums.fine, sums.power, elements.rule.degree
    max_degree = power.shape[2] - 1
    # Only sums over the real samples enter the verdict.
    real = mask.reshape(-1)
    _check_signs(name, elements, fine, real)
    variance = float(fine.variance[real].sum())
    norm = float(fine.norm[real].sum())
    check = None
    misfit = sums.misfit[real].sum(axis=0)
    spread = sums.spread[real].sum(axis=0)
    verdict = convergence.Convergence(True, 0.0, 0.0, 0.0, degree)
    if norm > 0:
        missing = norm - float(power[real].sum())
        nested = sums.coarser[0]
        largest = max(variance, float(spread.mean()))
        above = float(misfit.mean()) / max(2 * largest, 1e-300)
        off = abs(float(spread.mean()) - variance)
        off_error = float(spread.std(ddof=1)) / np.sqrt(len(spread))
        # A rule may be exact for the squares of what is not projected, and noise has
        # content at every degree. So V only counts as uncertain if random elements
        # disagree with it. By chance, a mean of squares exceeds 100 V in less than 1 %
        # of cases.
        agrees = off <= max(6 * off_error, variance / 2) and largest <= 100 * variance
        # Cancellation within a function leaves hundreds of epsilon of noise, of which a
        # grid may see less than random elements do.
        if largest <= (CANCELLED * epsilon) ** 2 * norm or agrees:
            above = 0.0
        # The degrees for which the nested rule is exact if the response is resolved.
        comparable = max(min(max_degree, elements.nested[0][0] - max_degree) + 1, 0)
        evidence = convergence.Evidence(
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
        )
        verdict = convergence.judge(evidence, tolerance)
        check = _random_check(
            misfit / norm,
            missing / norm,
            2 * sums.overlap[real].sum(axis=0) / norm,
            spread / max(variance, epsilon**2 * norm),
            max(epsilon, 0.1 * float(np.sqrt(sums.round_off[real].sum() / norm))),
        )
    elif misfit.any():
        verdict = convergence.Convergence(
            *(False, 0.0, 0.0, 0.0, 2 * degree),
            "the response vanishes on the grid, but not at random elements",
        )
    verdict = dataclasses.replace(verdict, excluded=excluded_part(len(misfit)))
    return LeafMeasurement(
        name,
        representation,
        unflatten_mean(representation, fine.mean, samples),
        np.maximum(fine.variance, 0.0).reshape(*samples, -1),
        np.maximum(fine.norm, 0.0).reshape(*samples, -1),
        power.reshape(*samples, *power.shape[1:]),
        mask,
        channels,
        epsilon,
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
    """Raises if a mean of squares is negative beyond round-off."""
    if elements.rule.sphere_weights.min() >= 0:
        return
    noise = fine.noise[real]
    # The norm is a sum of squares around 0; its round-off is relative to its size.
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
