"""Check whether layers tell mirror images apart, as in :mod:`.spectral`."""

from collections.abc import Mapping, Sequence

from symjax.diagnose.findings import Check, Figure, Finding, Kind
from symjax.diagnose.paths import Readout
from symjax.diagnose.spectra import Spectrum
from symjax.report.schema import Report
from symjax.so3.irreps import Irrep, all_irreps


def structurally_absent(report: Report, irrep: Irrep) -> bool:
    """Whether the structures are too small to have content in an irrep.

    The plane of up to three atoms is a mirror that maps each sample onto itself, so
    that 0- vanishes. For two atoms, on a line, all pseudotensors vanish.
    """
    if irrep.sigma == 1:
        return False
    enough = 4 if irrep.degree == 0 else 3
    return all(s.num_atoms < enough for s in report.overview if s.failure is None)


def _layers(spectra: Mapping[str, Spectrum]) -> list[Spectrum]:
    return [s for s in spectra.values() if s.kind != "output" and s.resolved]


def is_blind(spectra: Mapping[str, Spectrum]) -> bool:
    """Whether no resolved layer, of at least one, has pseudotensors above its noise."""
    layers = _layers(spectra)
    return bool(layers) and not any(
        layer.present(irrep)
        for layer in layers
        for irrep in all_irreps(len(layer.content) - 1)
        if irrep.sigma == -1
    )


def parity_blindness(
    report: Report, spectra: Mapping[str, Spectrum], readouts: Sequence[Readout]
) -> tuple[list[Finding], Check]:
    """Finds models whose layers have no pseudotensors above their noise.

    White noise that breaks the inversion adds content proportional to (2 l + 1)^2 to
    the sectors sigma = -1, from which the floor of a spectrum is estimated.
    """
    layers = _layers(spectra)
    if structurally_absent(report, Irrep(1, -1)) or not layers:
        note = "structures of two atoms have no pseudotensors" if layers else "no layer"
        return [], Check(Kind.PARITY_BLINDNESS, 0, note)
    check = Check(
        Kind.PARITY_BLINDNESS, len(layers), f"sigma = -1 in {len(layers)} layers"
    )
    if not is_blind(spectra):
        return [], check
    needing = {
        readout.output: irrep
        for readout in readouts
        for irrep in readout.irreps
        if irrep.sigma == -1
    }
    shares = {layer.name: float(layer.content[:, 1].sum()) for layer in layers}
    best = spectra[max(shares, key=lambda name: shares[name])]
    uncertainty = float(best.floor[:, 1].sum())
    use = (
        f"{', '.join(needing)} cannot be read from them"
        if needing
        else "no measured output needs pseudotensors"
    )
    finding = Finding.of(
        Kind.PARITY_BLINDNESS,
        1.0 if needing else 0.0,
        layer=best.name,
        irrep=str(next(iter(needing.values()))) if needing else "",
        figure=Figure("B(sigma=-)", shares[best.name], uncertainty),
        outputs=tuple(needing),
        sentence="No layer carries pseudotensors (sigma = -) beyond noise of relative "
        f"amplitude {best.noise:.0e}: mirror images look alike, and {use}.",
        remedy="Add a channel that changes sign under the inversion, such as triple "
        "products of edge vectors (0-), and its products with proper tensors",
    )
    return [finding], check
