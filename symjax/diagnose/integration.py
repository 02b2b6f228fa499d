"""Checks as in :mod:`~symjax.diagnose.spectral`: cancellation, unresolved responses."""

import math
from collections.abc import Mapping, Sequence

from scipy import special

from symjax.diagnose.findings import Check, Figure, Finding, Kind
from symjax.diagnose.paths import Readout
from symjax.diagnose.spectra import FALSE_ALARM, Spectrum
from symjax.report.leaves import Leaf
from symjax.so3.irreps import Irrep

_INVARIANT = Irrep(0, 1)


def leakage(
    spectra: Mapping[str, Spectrum], readouts: Sequence[Readout]
) -> tuple[list[Finding], Check]:
    """Finds outputs that are invariant only because errors of features cancel.

    The relative equivariance error of features is sqrt(1 - B(0+)). Without
    cancellation, a sum over n samples has 1 / sqrt(n) of it. An output with a much
    smaller error, but a larger one than round-off leaves of an exactly invariant
    readout, relies on cancellation, which a small change of the weights or of the
    structure can destroy.
    """
    findings = []
    invariant = [
        readout
        for readout in readouts
        if readout.measured
        and readout.irreps == (_INVARIANT,)
        and spectra[readout.output].resolved
    ]
    for readout in invariant:
        output = spectra[readout.output]
        layers = [spectra[name] for name in readout.layers if spectra[name].resolved]
        layers = [layer for layer in layers if layer.content.sum() > 0]
        if not layers or not output.content.sum() > 0:
            continue
        # Of node and edge features, that with the smaller error has to cancel least.
        source = min(layers, key=lambda layer: _passed_on(layer, output))
        expected = _passed_on(source, output)
        share = source.of(_INVARIANT)
        terms = source.channels * max(source.samples / output.samples, 1.0)
        exact = source.noise * math.sqrt(terms / max(share, source.noise))
        error = output.relative_error
        by_chance = expected / _luck(source, max(len(invariant), 1))
        if not exact < error < by_chance:
            continue
        findings.append(
            Finding.of(
                Kind.LEAKAGE,
                expected,
                layer=source.name,
                irrep=str(_INVARIANT),
                figure=Figure("B(0+)", share, source.uncertainty_of(_INVARIANT)),
                outputs=(readout.output,),
                sentence=f"{readout.output} is invariant to {error:.1e} although only "
                f"{share:.2g} of what it reads is: it relies on cancellation by a "
                f"factor of {expected / error:.0f}. Without it the relative error "
                f"would be {expected:.1e}.",
                remedy="Read invariants only: average the features over a finite group "
                "of rotations before the readout, or read norms within each irrep",
            )
        )
    names = ", ".join(readout.output for readout in invariant) or "none"
    return findings, Check(
        Kind.LEAKAGE, len(invariant), f"invariant outputs that read layers: {names}"
    )


def _passed_on(layer: Spectrum, output: Spectrum) -> float:
    """Relative error of a sum of features over samples whose errors do not cancel."""
    samples = max(layer.samples / max(output.samples, 1e-300), 1.0)
    return layer.relative_error / math.sqrt(samples)


def _luck(layer: Spectrum, num_tests: int) -> float:
    """Factor by which the error of a random readout can be below its expectation.

    The 2 l + 1 components of the strongest non-invariant sector are read with
    independent random weights, a chi-squared variable with 2 l + 1 degrees of freedom.
    """
    power = layer.content.copy()
    power[0, 0] = 0.0
    degree = int(power.sum(axis=1).argmax())
    freedom = 2 * degree + 1
    quantile = 2 * float(special.gammaincinv(freedom / 2, FALSE_ALARM / num_tests))
    return math.sqrt(freedom / quantile)


def aliasing(
    leaves: Mapping[str, Leaf], tolerance: float
) -> tuple[list[Finding], Check]:
    """Finds responses that the grid, or the largest projected degree, does not resolve.

    Of all layers and outputs; a remainder of B up to the tolerance is accepted.
    """
    findings = []
    for leaf in leaves.values():
        verdict = leaf.convergence
        if verdict is None or not leaf.totals.norm.sum() > 0:
            continue
        remainder = leaf.totals.remainder
        wrong = max(verdict.content_change, verdict.excess, -remainder, 0.0)
        if not leaf.resolved:
            # A change of B, which is a square, is that of an amplitude squared.
            effect = math.sqrt(wrong) if wrong > 0 else 1.0
            # Two estimates of the same: by nested grids and by random elements.
            spread = abs(verdict.content_change - max(verdict.excess, 0.0))
            figure = Figure("change of B", wrong, spread)
            sentence = (
                f"{leaf.name} is not resolved: {verdict.reason}. Its "
                "numbers say nothing about the model, and it was left out of all other "
                "checks."
            )
        elif remainder > tolerance:
            share = remainder / max(leaf.totals.relative_error**2, remainder)
            effect = 0.5 * share
            figure = Figure("B above", remainder, verdict.content_change)
            degree = len(leaf.totals.content) - 1
            sentence = (
                f"{remainder:.0%} of {leaf.name} is above the largest projected degree "
                f"{degree}, and was not examined."
            )
        else:
            continue
        findings.append(
            Finding.of(
                Kind.ALIASING,
                effect,
                layer=leaf.name,
                irrep="",
                figure=figure,
                outputs=(leaf.name,) if leaf.kind == "output" else (),
                sentence=sentence,
                remedy=_finer(leaf),
            )
        )
    note = f"{len(leaves)} responses, with the tolerance {tolerance:g} of the report"
    return findings, Check(Kind.ALIASING, len(leaves), note)


def _finer(leaf: Leaf) -> str:
    if leaf.resolved or leaf.convergence is None:
        return f"Measure to degree {2 * (len(leaf.totals.content) - 1)} or more"
    number = leaf.convergence.degree_to_try
    if leaf.certificate is not None and leaf.certificate.samples:
        return f"Measure again with {number} random rotations, or a grid"
    return f"Measure again with a grid of degree {number}"
