"""Whether the layers of a model tell mirror images apart."""

from collections.abc import Mapping, Sequence

from symjax.diagnose.findings import Check, Figure, Finding, Kind
from symjax.diagnose.paths import Readout
from symjax.diagnose.spectra import Spectrum
from symjax.report.schema import Report
from symjax.so3.irreps import Irrep, all_irreps


def structurally_absent(report: Report, irrep: Irrep) -> bool:
    """Whether the structures are too small to show an irrep.

    Up to three atoms lie in a plane, whose mirror maps every sample onto itself:
    nothing can carry 0-. Two atoms lie on a line: nothing can carry any pseudotensor.

    Args:
      report: The report.
      irrep: The irrep.

    Returns:
      True if no model could put it into any feature of these structures.

    Example:
      >>> from symjax.diagnose.parity import structurally_absent
      >>> from symjax.report import schema
      >>> from symjax.so3 import Irrep
      >>> water = schema.StructureReport("water", "H2O", 3, "ab")
      >>> report = schema.Report(
      ...     schema.Software("0.1.0", "0.10", "cpu"), schema.ModelInfo("pet", "ab"),
      ...     schema.Settings(6, "lebedev 13 x 14", 13, 2072, "all", "float32", 0.05),
      ...     (water,))
      >>> [structurally_absent(report, Irrep(l, -1)) for l in (0, 1)]
      [True, False]
    """
    if irrep.sigma == 1:
        return False
    enough = 4 if irrep.degree == 0 else 3
    return all(s.num_atoms < enough for s in report.overview if s.failure is None)


def _layers(spectra: Mapping[str, Spectrum]) -> list[Spectrum]:
    return [s for s in spectra.values() if s.kind != "output" and s.resolved]


def is_blind(spectra: Mapping[str, Spectrum]) -> bool:
    """Whether no resolved layer holds a pseudotensor beyond noise.

    Args:
      spectra: Spectra of all leaves.

    Returns:
      True if there is a resolved layer and none has a sector with sigma = -1 above its
      floor.

    Example:
      >>> from symjax.diagnose.parity import is_blind
      >>> is_blind({})
      False
    """
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
    """Whether the layers hold pseudotensors only as far as noise puts them there.

    Noise that breaks the inversion fills the sectors of sigma = -1 as white noise
    does, (2 l + 1)^2 to the degree l; the floor of a spectrum is measured there.

    Args:
      report: The report.
      spectra: Spectra of all leaves.
      readouts: What the outputs read.

    Returns:
      The findings, and what was looked at.

    Example:
      >>> from symjax.diagnose.parity import parity_blindness
      >>> from symjax.report import schema
      >>> report = schema.Report(
      ...     schema.Software("0.1.0", "0.10", "cpu"), schema.ModelInfo("pet", "ab"),
      ...     schema.Settings(6, "lebedev 13 x 14", 13, 2072, "all", "float32", 0.05),
      ...     ())
      >>> parity_blindness(report, {}, [])[1].looked_at
      0
    """
    layers = _layers(spectra)
    if structurally_absent(report, Irrep(1, -1)) or not layers:
        why = "structures of two atoms show no pseudotensors" if layers else "no layer"
        return [], Check(Kind.PARITY_BLINDNESS, 0, why)
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
        else "nothing that was measured needs them"
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
        "products of edge vectors (0-), and the products of it with proper tensors",
    )
    return [finding], check
