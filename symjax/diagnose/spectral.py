"""Checks of the content of layers, one function for each failure mode.

Each function takes the spectra of all layers and outputs and what each output reads,
and returns findings and a :class:`Check`. Layers that the grid does not resolve are
left out, as their content depends on the grid.
"""

from collections.abc import Mapping, Sequence

from symjax.diagnose.findings import Check, Figure, Finding, Kind, not_looked_at
from symjax.diagnose.parity import is_blind, structurally_absent
from symjax.diagnose.paths import Readout, main_path
from symjax.diagnose.spectra import Spectrum
from symjax.report.leaves import Leaf
from symjax.report.schema import Report
from symjax.so3.irreps import Irrep

Spectra = Mapping[str, Spectrum]
Result = tuple[list[Finding], Check]


def _content(spectrum: Spectrum, irrep: Irrep) -> Figure:
    return Figure(f"B({irrep})", spectrum.of(irrep), spectrum.uncertainty_of(irrep))


def _resolved(spectra: Spectra, names: Sequence[str]) -> list[Spectrum]:
    return [spectra[name] for name in names if spectra[name].resolved]


def _wanted(
    readouts: Sequence[Readout], spectra: Spectra
) -> list[tuple[Readout, Irrep]]:
    """Pairs of a readout and an irrep that it needs, up to the projected degree."""
    sizes = [len(spectrum.content) for spectrum in spectra.values()]
    largest = min(sizes, default=0) - 1
    return [
        (readout, irrep)
        for readout in readouts
        for irrep in readout.irreps
        if irrep.degree <= largest
    ]


def missing_irreps(
    report: Report, spectra: Spectra, readouts: Sequence[Readout]
) -> Result:
    """Finds irreps that an output needs but that its features lack.

    A linear readout with invariant weights takes the content of an output in
    (l, sigma) from the same irrep of the features, with a relative error of
    eta / sqrt(B) if these have noise eta.
    """
    findings = []
    wanted = _wanted(readouts, spectra)
    looked, left_out = 0, []
    blind = is_blind(spectra)
    for readout, irrep in wanted:
        if structurally_absent(report, irrep):
            left_out.append(f"{irrep} vanishes in structures this small")
            continue
        layers = _resolved(spectra, readout.layers)
        if not layers or (blind and irrep.sigma == -1):
            continue
        looked += 1
        if not all(layer.starved(irrep) for layer in layers):
            continue
        best = max(layers, key=lambda layer: layer.of(irrep))
        absent = not any(layer.present(irrep) for layer in layers)
        effect = 1.0 if absent else best.readout_error(irrep)
        state = (
            f"not above their noise of relative amplitude {best.noise:.0e}"
            if effect >= 1.0
            else f"so small that their noise of relative amplitude {best.noise:.0e} "
            f"leaves an error of {effect:.0e}"
        )
        # It is unknown whether heads follow, which may be nonlinear.
        ending = (
            ""
            if readout.before
            else "; only a nonlinear head could make it from other irreps"
        )
        findings.append(
            Finding.of(
                Kind.MISSING_IRREP,
                effect,
                layer=best.name,
                irrep=str(irrep),
                figure=_content(best, irrep),
                outputs=(readout.output,),
                sentence=f"{readout.output} needs {irrep}, but in the features that it "
                f"reads the content of {irrep} is {state}{ending}.",
                remedy=_remedy(irrep),
            )
        )
    unprojected = [
        f"{irrep} of {readout.output} is above the projected degrees"
        for readout in readouts
        for irrep in readout.irreps
        if (readout, irrep) not in wanted
    ]
    note = _pairs_note(readouts) + not_looked_at(left_out + unprojected)
    return findings, Check(Kind.MISSING_IRREP, looked, note)


def _pairs_note(readouts: Sequence[Readout]) -> str:
    parts = [
        f"{'+'.join(map(str, readout.irreps)) or 'nothing'} of {readout.output} in "
        f"{', '.join(readout.layers)}"
        for readout in readouts
    ]
    return "; ".join(parts) or "no output reads the layers that were measured"


def bottlenecks(
    spectra: Spectra, readouts: Sequence[Readout], leaves: Mapping[str, Leaf]
) -> Result:
    """Finds irreps that an output needs but that are lost between two layers.

    An irrep is lost if the first layer has it above its noise, and if its content in
    the second is below the floor, or below eta times that in the first.
    """
    found: dict[tuple[str, str, Irrep], Finding] = {}
    looked = 0
    for readout, irrep in _wanted(readouts, spectra):
        restored = any(
            not layer.starved(irrep) for layer in _resolved(spectra, readout.layers)
        )
        for first, second in main_path(readout, leaves):
            before, after = spectra[first], spectra[second]
            if not (before.resolved and after.resolved):
                continue
            looked += 1
            limit = max(after.noise * before.of(irrep), after.floor_of(irrep))
            if before.starved(irrep) or after.upper_of(irrep) > limit:
                continue
            effect = after.readout_error(irrep)
            if restored and readout.measured:
                # Later layers restore it as well as the error of the output shows.
                effect = spectra[readout.output].relative_error
            ending = (
                "; later layers make it again from other irreps"
                if restored
                else " and does not come back"
            )
            known = found.get((first, second, irrep))
            outputs = (*(known.outputs if known else ()), readout.output)
            found[first, second, irrep] = Finding.of(
                Kind.BOTTLENECK,
                max(effect, known.effect if known else 0.0),
                layer=second,
                irrep=str(irrep),
                figure=_content(after, irrep),
                outputs=outputs,
                sentence=f"{irrep}, needed by {', '.join(outputs)}, is lost between "
                f"{first} (B = {before.of(irrep):.1e}) and {second}{ending}.",
                remedy=f"Let {second} pass {irrep} on: a residual connection around "
                "it, more width, or a layer that mixes channels within an irrep only",
            )
    note = f"{looked} pairs of consecutive layers for irreps that outputs need"
    return list(found.values()), Check(Kind.BOTTLENECK, looked, note)


def late_emergence(spectra: Spectra, readouts: Sequence[Readout]) -> Result:
    """Finds irreps that only appear in the heads, after the last message passing.

    Heads act on one atom or edge at a time. An irrep is late if its content in all
    layers before the heads is below the floor, or below eta times that in the heads.
    """
    findings = []
    looked = 0
    for readout, irrep in _wanted(readouts, spectra):
        heads = [
            layer
            for layer in _resolved(spectra, readout.layers)
            if not layer.starved(irrep)
        ]
        before = _resolved(spectra, readout.before)
        if not heads or not before:
            continue
        looked += 1
        best = max(heads, key=lambda layer: layer.of(irrep))
        # It may have appeared in a layer that is not resolved.
        hidden = len(before) < len(readout.before)
        late = all(
            layer.upper_of(irrep)
            <= max(layer.noise * best.of(irrep), layer.floor_of(irrep))
            for layer in before
        )
        if not late or hidden:
            continue
        error = spectra[readout.output].relative_error if readout.measured else 0.0
        findings.append(
            Finding.of(
                Kind.LATE_EMERGENCE,
                error,
                layer=best.name,
                irrep=str(irrep),
                figure=_content(best, irrep),
                outputs=(readout.output,),
                sentence=f"{irrep} only appears in {best.name}; no layer up to "
                f"{before[-1].name} carries it, so that {readout.output} obtains it "
                "from products within one atom or edge, not from its neighborhood.",
                remedy=_remedy(irrep),
            )
        )
    irreps = "irrep" if looked == 1 else "irreps"
    note = f"{looked} {irreps} of outputs with layers before their heads"
    return findings, Check(Kind.LATE_EMERGENCE, looked, note)


def _remedy(irrep: Irrep) -> str:
    """How to add an irrep to an output whose features lack it.

    :func:`~symjax.diagnose.recommend` puts the same into a configuration.
    """
    if irrep == Irrep(0, 1):
        return "Add invariant channels, such as distances and angles between edges"
    return (
        "Read the output with an equivariant readout beside its own, which makes "
        f'{irrep} of the directions of edges (readout = "sum" in [model.biases])'
    )
