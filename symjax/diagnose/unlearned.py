"""Whether the outputs are as symmetric as they should be: what is judged first."""

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

That of ``pet-ethanol`` on frames that it was not trained on: by its model card A is
0.0021 eV/angstrom, and the root mean square of the forces 1.27 eV/angstrom.
"""

# Structures with labels from which an error on them is a scale.
_LEAST_LABELLED = 3
SHARE_OF_ERROR = 1 / 3
"""Largest A over the error on labels that is fine: a ninth of the squared error.

Against equivariant labels, the mean over the group of the squared error is that of the
symmetrised model plus A squared.
"""

# Features nearer to invariance than this are those of a model that has learned it:
# random weights leave 0.4 to 0.8, the model that ships 0.008.
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
    """Outputs whose equivariance error is too large for what they are.

    A is compared with what the report has: the size of tensors, the spread of
    invariants over structures, kT at 300 K for energies of one structure
    (:mod:`symjax.report.scales`); of an invariant without any of these, the smaller of
    its own relative error and that of the features that it reads stands in. Where the
    error on labels is given, A may be a third of it. Otherwise it may be 0.01 of the
    scale, of kT 0.1. An A of 0.1 of the size of a response is too much whatever the
    labels say.

    Args:
      leaves: All leaves over all structures.
      spectra: Spectra of all leaves.
      readouts: What the outputs read.
      dtype: Precision of the model.
      energy: The output whose derivatives are forces and stress; empty for none.
      label_errors: Root-mean-square error on labels of an output, by name, in its
        unit, as A is: of a whole structure for an energy. By default that of the
        report, where three structures or more had labels.
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
            # Its zero is arbitrary, and features may cancel: both have to be off.
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
        worst = SHARE_OF_ERROR if name in errors else _admitted(against)
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
    """Of the layers that an output reads, the nearest to invariance and its error."""
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
    """A over its scale; forces near a minimum are compared with thermal ones.

    Forces vanish in relaxed structures, and an error that is small beside the forces of
    any other structure would be all of them. Whether the model has learned the
    symmetry shows in its features.
    """
    ratio = against.ratio if against.ratio is not None else 0.0
    learned = features.get(name, ("", 1.0))[1] < _LEARNED
    if leaf.unit == "eV/angstrom" and against.scale == "RMS" and learned:
        return against.error / max(against.size or 0.0, _THERMAL_FORCE)
    return ratio


def _admitted(against: Comparison) -> float:
    """The largest ratio that is fine: of a Boltzmann factor one digit, else two."""
    return 0.1 if against.scale == "kT" else 0.01


def _why_not(against: Comparison) -> str:
    return {
        "zero": "vanishes",
        "forbidden by symmetry": "the symmetry of the structures allows nothing else "
        "than zero; compare with other structures",
        "one value": "one value, and nothing to compare its error with; measure "
        "several structures",
    }[against.scale]


def _sentence(
    name: str, leaf: Leaf, against: Comparison, label_error: float | None
) -> str:
    error, unit = leaf.totals.equivariance_error, f" {leaf.unit}" if leaf.unit else ""
    parts = [f"turning the input changes {name} by {error:.2g}{unit}"]
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
    return f"{ratio} of its size, as far as one value and the {against.scale} say"


def _remedy(of_energy: bool, effect: float, relative_error: float) -> str:
    average = "average predictions over rotations and reflections, "
    if of_energy:
        average += 'as SymjaxCalculator(model, average="Oh") does, '
    average += "which needs no training"
    # More wrong than right in square: the mean over orientations is the smaller part.
    if Severity.of(min(effect, relative_error)) is Severity.CRITICAL:
        return (
            f"{_TRAIN}. Averaging over orientations does not help before then: the "
            "mean is the smaller part of what the model predicts"
        )
    if Severity.of(min(effect, 1.0)) >= Severity.SEVERE:
        return f"{_TRAIN}; until then {average}"
    # It has been learnt: a penalty would keep a network from beginning.
    return (
        "Train on with random rotations and reflections, and a penalty on what outputs "
        f"differ by between orientations ([penalty] of symjax train); or {average}"
    )


_TRAIN = (
    "Train it, or train it longer, with random rotations and reflections (augmentation "
    '= "O(3)" of symjax train) until A, which the section [monitor] follows, no longer '
    "falls"
)
