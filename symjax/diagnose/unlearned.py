"""Check whether the equivariance error of outputs is small enough."""

from collections.abc import Mapping, Sequence

from symjax.data.quantities import DERIVATIVES
from symjax.diagnose.findings import (
    Check,
    Figure,
    Finding,
    Kind,
    Severity,
    not_looked_at,
)
from symjax.diagnose.paths import Readout
from symjax.diagnose.spectra import Spectrum
from symjax.errors import ArgumentError
from symjax.report.leaves import Leaf
from symjax.report.scales import TEMPERATURE, Comparison

WELL_TRAINED = 0.002
"""Relative equivariance error of the forces of a well-trained model.

That of ``pet-ethanol`` on test frames: by its model card A is 0.0021 eV/angstrom, and
the root mean square of the forces 1.27 eV/angstrom.
"""

# Number of structures with labels from which their error is used as a scale.
_LEAST_LABELLED = 3
SHARE_OF_ERROR = 1 / 3
"""Largest accepted A divided by the error on labels: a ninth of the squared error.

For equivariant labels, the squared error, averaged over the group, is that of the
symmetrised model plus A squared.
"""

# Relative error of features below which a model has learned the symmetry: 0.4 to 0.8
# for random weights, 0.008 for the model that ships.
_LEARNED = 0.05
# Root-mean-square force of a soft bond, 1 eV/angstrom^2, at 300 K: sqrt(k kT).
_THERMAL_FORCE = 0.16


def unlearned(
    leaves: Mapping[str, Leaf],
    spectra: Mapping[str, Spectrum],
    readouts: Sequence[Readout],
    *,
    dtype: str,
    energy: str = "",
    label_errors: Mapping[str, float] | None = None,
) -> tuple[list[Finding], Check]:
    """Finds outputs whose equivariance error A is too large.

    A is compared with a scale (:mod:`symjax.report.scales`): the root mean square of
    tensors, the spread of invariants over structures, or kT at 300 K for the energy of
    a single structure. For other invariants, the smaller of their own relative error
    and that of the features they read is taken. If the error on labels is known, A may
    be up to a third of it; otherwise up to 0.01 of its scale, or 0.1 kT. In any case, A
    must be below 0.1 of its scale, unless that is kT.

    Args:
      leaves: All layers and outputs over all structures.
      spectra: Spectra of all layers and outputs.
      readouts: What each output reads.
      dtype: Precision of the model.
      energy: The output whose derivatives are forces and stress; empty for none.
      label_errors: Root-mean-square errors on labels by output, in its unit, of whole
        structures for an energy. By default those of the report, where at least three
        structures have labels.

    Raises:
      ArgumentError: ``label_errors`` names no output, or an error is not positive.
    """
    outputs = {name: leaf for name, leaf in leaves.items() if leaf.kind == "output"}
    _check_errors(label_errors or {}, outputs)
    errors = {
        name: leaf.labels.error
        for name, leaf in outputs.items()
        if leaf.labels is not None
        and len(leaf.labels.sums) >= _LEAST_LABELLED
        and leaf.labels.usable
        and leaf.labels.error > 0
    }
    errors |= label_errors or {}
    features = _features_read(readouts, spectra, outputs, energy)
    findings, looked, left_out = [], [], []
    for name, leaf in outputs.items():
        against = leaf.comparison(dtype)
        if against.scale == "one value" and name in features:
            # Its zero is arbitrary, and features may cancel: both must be too large.
            layer, error = features[name]
            error = min(error, leaf.totals.relative_error)
            against = Comparison(f"features of {layer}", 1.0, error)
        if against.scale == "round-off":
            looked.append(name)
            continue
        if against.ratio is None and name not in errors:
            left_out.append(f"{name} ({_why_not(against)})")
            continue
        looked.append(name)
        effect = _effect(name, leaf, against, features)
        # One digit of a Boltzmann factor, two digits of others.
        admitted = 0.1 if against.scale == "kT" else 0.01
        worst = SHARE_OF_ERROR if name in errors else admitted
        measured = (
            leaf.totals.equivariance_error / errors[name] if name in errors else effect
        )
        too_large = effect >= 0.1 and against.scale != "kT"
        if measured < worst and not too_large:
            continue
        uncertainty = spectra[name].relative_error_uncertainty
        relative = leaf.totals.relative_error
        findings.append(
            Finding.of(
                Kind.UNLEARNED,
                max(effect, min(measured, 1.0) if name in errors else 0.0),
                layer=name,
                irrep="",
                figure=Figure(
                    f"A of {name}",
                    leaf.totals.equivariance_error,
                    leaf.totals.equivariance_error * uncertainty / max(relative, 1e-30),
                    leaf.unit,
                ),
                outputs=(name,),
                sentence=_sentence(name, leaf, against, errors.get(name)),
                remedy=_remedy(
                    name in ("energy", energy, *DERIVATIVES),
                    effect,
                    leaf.totals.relative_error,
                ),
            )
        )
    names = ", ".join(looked) or "no output"
    note = f"equivariance error of {names}{not_looked_at(left_out)}"
    return findings, Check(Kind.UNLEARNED, len(looked), note)


def _check_errors(errors: Mapping[str, float], outputs: Mapping[str, Leaf]) -> None:
    for name, error in errors.items():
        if name not in outputs:
            raise ArgumentError(
                "label_errors",
                name,
                "is no output of the report",
                f"Use {', '.join(outputs) or 'none: it has no outputs'}",
            )
        if not 0 < error < float("inf"):
            raise ArgumentError(
                "label_errors",
                f"{name}={error}",
                "is not a positive error",
                "Pass a root-mean-square error in the unit of the output",
            )


def _features_read(
    readouts: Sequence[Readout],
    spectra: Mapping[str, Spectrum],
    outputs: Mapping[str, Leaf],
    energy: str,
) -> dict[str, tuple[str, float]]:
    """The layer closest to invariance that each output reads, and its error."""
    found = {}
    for readout in readouts:
        layers = [spectra[name] for name in readout.layers if name in spectra]
        if layers:
            best = min(layers, key=lambda layer: layer.relative_error)
            found[readout.output] = (best.name, best.relative_error)
    for name in DERIVATIVES:
        if name in outputs and name not in found and energy in found:
            found[name] = found[energy]
    return found


def _effect(
    name: str,
    leaf: Leaf,
    against: Comparison,
    features: Mapping[str, tuple[str, float]],
) -> float:
    """A divided by its scale, which for forces is at least a thermal force.

    Forces vanish in relaxed structures, so that A may seem large beside them although
    it is small in others. The thermal force only applies if features show that the
    model has learned the symmetry.
    """
    ratio = against.ratio if against.ratio is not None else 0.0
    learned = features.get(name, ("", 1.0))[1] < _LEARNED
    if leaf.unit == "eV/angstrom" and against.scale == "RMS" and learned:
        return against.error / max(against.size or 0.0, _THERMAL_FORCE)
    return ratio


def _why_not(against: Comparison) -> str:
    return {
        "zero": "vanishes",
        "forbidden by symmetry": "the symmetry of the structures only allows zero; "
        "measure other structures",
        "one value": "a single value has no scale; measure several structures",
    }[against.scale]


def _sentence(
    name: str, leaf: Leaf, against: Comparison, label_error: float | None
) -> str:
    error, unit = leaf.totals.equivariance_error, f" {leaf.unit}" if leaf.unit else ""
    parts = [f"rotating the input changes {name} by {error:.2g}{unit}"]
    if against.ratio is not None:
        parts.append(_against(against, leaf.unit))
    if label_error is not None:
        parts.append(f"{error / label_error:.2g} of the error on labels")
    text = ", ".join(parts)
    if against.scale == "RMS" and leaf.irreps != ("0+",):
        text += f"; a well-trained model has about {WELL_TRAINED:g} in forces"
    if not leaf.resolved:
        text += ". The grid does not resolve it, so that A is approximate"
    return text[0].upper() + text[1:] + "."


def _against(against: Comparison, unit: str) -> str:
    ratio = f"{float(f'{against.ratio or 0.0:.2g}'):g}"
    if against.scale == "RMS":
        return f"{ratio} of its size (root mean square)"
    if against.scale == "kT":
        return f"{ratio} times kT at {TEMPERATURE:g} K"
    if against.scale == "spread":
        each = (
            f" per atom ({against.error:.2g} {unit}/atom)" if against.per_atom else ""
        )
        return f"{ratio} of its spread over structures{each}"
    return f"{ratio} of its size, judged by one value and the {against.scale}"


def _remedy(of_energy: bool, effect: float, relative_error: float) -> str:
    average = "average predictions over rotations and reflections, "
    if of_energy:
        average += 'as SymjaxCalculator(model, average="Oh") does, '
    average += "which needs no training"
    # The mean over orientations is less than half of the square.
    if Severity.of(min(effect, relative_error)) is Severity.CRITICAL:
        return (
            f"{_TRAIN}. Averaging over orientations does not help before then, as the "
            "mean is the smaller part of the predictions"
        )
    if Severity.of(min(effect, 1.0)) >= Severity.SEVERE:
        return f"{_TRAIN}; until then {average}"
    # A penalty helps a model that has learned; earlier it would hinder training.
    return (
        "Continue training with random rotations and reflections, and a penalty on "
        "differences between orientations ([penalty] of symjax train); or "
        f"{average}"
    )


_TRAIN = (
    "Train it, or train it longer, with random rotations and reflections (augmentation "
    '= "O(3)" of symjax train) until A, which the section [monitor] records, no longer '
    "falls"
)
